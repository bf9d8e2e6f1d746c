//! One process owns a data directory, and owns it before it touches the calls in it.

mod support;

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use support::Server;
use tempfile::TempDir;

fn duocast(data: &Path, words: &[&str]) -> Command {
    let mut command = support::duocast(data);
    command.args(words).arg("--data-dir").arg(data);
    command
}

fn start(data: &Path) -> Server {
    let words = ["control", "--json", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    Server::start(duocast(data, &words).stderr(Stdio::null()))
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
    let first = start(dir.path());
    let said = refused(dir.path(), &UP);
    assert!(said.contains("another duocast uses") && said.contains("--data-dir"), "{said}");

    // Commands talk to the server that runs: they need no lock.
    let account = ["ctl", "account", "alice", "--json", "--url", first.url()];
    assert!(duocast(dir.path(), &account).output().unwrap().status.success());

    // However it ended.
    drop(first);
    start(dir.path());
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
