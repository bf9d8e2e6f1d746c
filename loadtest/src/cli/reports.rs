//! Where reports are written to.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

/// Where a report goes, besides standard output.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write the report as one HTML page with plots, which needs nothing else.
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
}

/// The files that a report goes to. They are made before the run: one that cannot be kept is known then.
pub(super) struct Reports {
    pub(super) json: Option<Output>,
    /// HTML or SVG.
    pub(super) page: Option<Output>,
}

impl Reports {
    pub(super) fn create(args: ReportArgs) -> Result<Self, String> {
        Ok(Self { json: Output::create(args.json)?, page: Output::create(args.html)? })
    }

    pub(super) fn write(
        self,
        json: impl FnOnce() -> serde_json::Value,
        page: impl FnOnce() -> String,
    ) -> Result<(), String> {
        if let Some(output) = self.json {
            output.write_json(&json())?;
        }
        self.page.map_or(Ok(()), |output| output.write(page().as_bytes()))
    }
}

/// A file that is open for writing.
pub(super) struct Output {
    file: std::fs::File,
    path: PathBuf,
}

impl Output {
    pub(super) fn create(path: Option<PathBuf>) -> Result<Option<Self>, String> {
        let open = |path: PathBuf| match std::fs::File::create(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(error) => Err(unwritable(&path, &error)),
        };
        path.map(open).transpose()
    }

    fn write(mut self, bytes: &[u8]) -> Result<(), String> {
        self.file.write_all(bytes).map_err(|error| unwritable(&self.path, &error))
    }

    pub(super) fn write_json(self, value: &serde_json::Value) -> Result<(), String> {
        self.write(format!("{value:#}\n").as_bytes())
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> String {
    format!("{}: cannot be written ({error}): name a file in a folder that exists", path.display())
}
