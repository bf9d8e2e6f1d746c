//! The program, as tests run it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The program, with no configuration but what is in `home`.
pub fn duocast(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_duocast"));
    command.env("HOME", home).env("XDG_CONFIG_HOME", home).env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

/// A running server, ended with the test, whatever becomes of it.
pub struct Server(Child, Value);

impl Server {
    /// Starts a command with `--json`, and waits until it is ready.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not ready: {line:?}"));
        Self(child, ready)
    }

    pub fn url(&self) -> &str {
        self.1["url"].as_str().unwrap()
    }

    /// Where the page and the metrics are.
    pub fn page(&self) -> &str {
        self.1["page"].as_str().unwrap()
    }

    /// SIGTERM, and its end.
    pub fn stop(&mut self) {
        assert!(Command::new("kill").arg(self.0.id().to_string()).status().unwrap().success());
        self.0.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
