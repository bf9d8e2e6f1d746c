//! A server under test: a child process on a core of its own, in a folder of its own, that ends with this program.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::PeersError;
use crate::run::{cpu_seconds, resident_bytes};

/// How long a server may take to start.
const READY_MAX: Duration = Duration::from_secs(20);

/// How often its readiness is looked at.
const READY_EVERY: Duration = Duration::from_millis(50);

/// Lines of a server's log that are shown when it does not start.
const LOG_LINES: usize = 4;

/// A running server. Dropping it ends it and removes its folder.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    folder: TempDir,
    /// Held open: some servers end when it closes.
    stdin: Option<ChildStdin>,
}

/// CPU time and memory of a process at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    /// User and system time of all threads, in seconds.
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: f64,
}

/// A folder that only we can read.
pub(super) fn folder() -> Result<TempDir, PeersError> {
    tempfile::Builder::new().prefix("duocast-peers-").tempdir().map_err(PeersError::Folder)
}

/// Whether a command is installed.
pub(super) fn is_installed(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(command).is_file())
}

impl Process {
    /// Starts a program on this core. It gets the folder as its working directory and writes `out` and `log` there.
    pub(super) fn start(
        name: &'static str,
        program: &Path,
        args: &[String],
        core: usize,
        folder: TempDir,
    ) -> Result<Self, PeersError> {
        let failed = |error: io::Error| PeersError::Start { name, why: error.to_string() };
        let file = |name: &str| File::create(folder.path().join(name)).map_err(failed);
        // setpriv: even if this program is killed, no server stays behind on the core.
        let mut command = Command::new("setpriv");
        // A configuration of this machine's own must not change what is measured.
        command.env("XDG_CONFIG_HOME", folder.path());
        let settings = std::env::vars_os().map(|(name, _)| name);
        for name in settings.filter(|name| name.to_string_lossy().starts_with("DUOCAST_")) {
            command.env_remove(name);
        }
        let mut child = command
            .args(["--pdeathsig", "KILL", "taskset", "-c", &core.to_string()])
            .arg(program)
            .args(args)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(file("out")?)
            .stderr(file("log")?)
            .spawn()
            .map_err(failed)?;
        let stdin = child.stdin.take();
        Ok(Self { name, child, folder, stdin })
    }

    pub(super) fn stdin(&mut self) -> Option<&mut ChildStdin> {
        self.stdin.as_mut()
    }

    /// Waits until `is_ready` gives something; it gets what the server wrote to its standard output so far.
    pub(super) async fn ready<T>(
        &mut self,
        mut is_ready: impl AsyncFnMut(&str) -> Option<T>,
    ) -> Result<T, PeersError> {
        let until = Instant::now() + READY_MAX;
        loop {
            let out = self.read("out");
            if let Some(found) = is_ready(&out).await {
                return Ok(found);
            }
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() >= until {
                let how =
                    ended.map_or_else(|| "it is not ready".into(), |status| format!("it ended ({status})"));
                return Err(PeersError::Start {
                    name: self.name,
                    why: format!("{how}: {}", self.last_lines()),
                });
            }
            tokio::time::sleep(READY_EVERY).await;
        }
    }

    /// What it has cost so far.
    pub(super) fn cost(&self) -> Result<Cost, PeersError> {
        let pid = Some(self.child.id());
        let cost = cpu_seconds(pid).zip(resident_bytes(self.child.id()));
        let (cpu_seconds, resident_bytes) = cost.ok_or(PeersError::Died(self.name))?;
        Ok(Cost { cpu_seconds, resident_bytes })
    }

    fn read(&self, file: &str) -> String {
        let bytes = std::fs::read(self.folder.path().join(file)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn last_lines(&self) -> String {
        let text = [self.read("out"), self.read("log")].concat();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join(" / ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which leaves nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let args = ["-c".into(), script.into()];
        Process::start("sh", Path::new("sh"), &args, first_core(), folder().unwrap()).unwrap()
    }

    fn first_core() -> usize {
        super::super::machine::allowed_cores().unwrap()[0]
    }

    #[tokio::test]
    async fn a_server_is_ready_when_it_says_so_and_its_cost_is_seen() {
        let mut process = shell("echo listening on 7; exec sleep 30");
        let port =
            process.ready(async |out| out.strip_prefix("listening on ").map(str::to_owned)).await.unwrap();
        assert_eq!(port.trim(), "7");
        assert!(process.cost().unwrap().resident_bytes > 10_000.0);
        let (pid, folder) = (process.child.id(), process.folder.path().to_owned());
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists() && !folder.exists(), "nothing stays behind");
    }

    #[tokio::test]
    async fn a_server_that_ends_at_once_is_quoted() {
        let mut process = shell("echo cannot bind >&2; exit 3");
        let error = process.ready(async |_| None::<()>).await.unwrap_err().to_string();
        assert!(
            error.contains("sh") && error.contains("exit status: 3") && error.contains("cannot bind"),
            "{error}"
        );
    }

    #[test]
    fn commands_are_looked_for_in_the_path() {
        assert!(is_installed("sh"));
        assert!(!is_installed("duocast-no-such-command"));
    }
}
