//! One process owns a data directory, and owns it before it touches the calls in it.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

fn duocast(data: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_duocast"));
    command.args(words).arg("--data-dir").arg(data).env("XDG_CONFIG_HOME", data).stdin(Stdio::null());
    command
}

/// A running server, ended with the test.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(data: &Path) -> Self {
        let words = ["control", "--json", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
        let mut command = duocast(data, &words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not ready: {line:?}"));
        Self { url: ready["url"].as_str().unwrap().to_owned(), child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a server says that does not start. One that does is killed.
fn refused(data: &Path, words: &[&str]) -> String {
    let mut child = duocast(data, words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if !line.is_empty() {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert!(line.is_empty(), "it started: {line}");
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

const UP: [&str; 10] = [
    "up",
    "--json",
    "--listen",
    "127.0.0.1:0",
    "--http",
    "127.0.0.1:0",
    "--workers",
    "1",
    "--media-port",
    "0",
];

#[test]
fn a_second_server_on_one_data_directory_is_refused_until_the_first_is_gone() {
    let dir = TempDir::new().unwrap();
    let first = Server::start(dir.path());
    let said = refused(dir.path(), &UP);
    assert!(said.contains("another duocast uses") && said.contains("--data-dir"), "{said}");

    // Commands talk to the server that runs: they need no lock.
    let account = ["ctl", "account", "alice", "--json", "--url", &first.url];
    assert!(duocast(dir.path(), &account).output().unwrap().status.success());

    // However it ended.
    drop(first);
    Server::start(dir.path());
}

#[test]
fn a_server_whose_ports_are_taken_does_not_touch_the_database() {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = tcp.local_addr().unwrap().to_string();
    let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let media = udp.local_addr().unwrap().port().to_string();
    for (flag, value) in [("--listen", &taken), ("--http", &taken), ("--media-port", &media)] {
        let dir = TempDir::new().unwrap();
        let mut words = UP;
        let at = words.iter().position(|word| *word == flag).unwrap();
        words[at + 1] = value;
        let said = refused(dir.path(), &words);
        assert!(said.contains("already in use"), "{flag}: {said}");
        assert!(!dir.path().join("duocast.db").exists(), "{flag}: the database was opened");
    }
}
