//! A server that logs all it can, through a whole call, tells no address; nor does one in which media goes directly.

mod support;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::{Server, duocast};

/// Every word of the text that is an IP address, with or without a port.
fn addresses(text: &str) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_:.%".contains(c);
    let words = text.split(|c| !is_part(c)).map(|word| word.trim_matches('.'));
    let is_address = |word: &str| {
        let word = word.split_once('%').map_or(word, |(address, _interface)| address);
        let host = word.rsplit_once(':').map_or(word, |(host, _port)| host);
        [word, host].iter().any(|text| text.parse::<IpAddr>().is_ok())
    };
    words.filter(|word| is_address(word)).collect()
}

#[test]
fn an_address_in_a_text_is_found() {
    assert_eq!(
        addresses("from 192.0.2.1:443, [2001:db8::1]:5, ::1 and fe80::1%eth0."),
        ["192.0.2.1:443", "2001:db8::1", "::1", "fe80::1%eth0",]
    );
    assert!(addresses("duocast_core::demux 0.1.0 at 12:03:04.5 2026-11-22T09:00:00.123456Z").is_empty());
}

/// A server that logs all it can.
struct Story {
    dir: tempfile::TempDir,
    server: Server,
}

impl Story {
    fn new() -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        let data = dir.path();
        let server = Server::start(
            duocast(data)
                .args(["up", "--demo", "--json", "--workers", "1", "--media-port", "0", "--http"])
                .args(["127.0.0.1:0", "--listen", "127.0.0.1:0", "--log-level", "trace", "--data-dir"])
                .arg(data)
                .env("RUST_LOG", "trace")
                .env("DUOCAST_DRAIN_SECONDS", "1")
                .stderr(File::create(data.join("log")).unwrap()),
        );
        Self { dir, server }
    }

    fn spawn(&self, door: &str, words: &[&str]) -> Child {
        let mut command = duocast(self.dir.path());
        command.args(["call", "--json", "--door", door, "--url", self.server.url()]);
        command.args(words).arg("--data-dir").arg(self.dir.path());
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Alice calls Bob, who hangs up after a while. What he reports.
    fn call(&self, bobs: &[&str], alices: &[&str]) -> Value {
        let bob = self.spawn("h2", &[&["--as", "bob", "--answer"], bobs].concat());
        // Until Bob is online.
        let words = [&["--as", "alice", "--to", "bob"], alices].concat();
        let placed = || self.spawn("h3", &words).wait().unwrap().success();
        assert!((0..100).any(|_| placed() || {
            std::thread::sleep(Duration::from_millis(100));
            false
        }));
        let report: Value = serde_json::from_slice(&bob.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!(report["answered"], true, "{report}");
        report
    }

    fn ctl(&self, words: &str) -> String {
        let mut command = duocast(self.dir.path());
        command.arg("ctl").args(words.split(' ')).args(["--url", self.server.url(), "--data-dir"]);
        let output = command.arg(self.dir.path()).output().unwrap();
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn metrics(&self) -> String {
        let page = self.server.page().trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(page).unwrap();
        write!(stream, "GET /metrics HTTP/1.0\r\nHost: {page}\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// Stops the server; all that it logged.
    fn log(mut self) -> String {
        self.server.stop();
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
        assert!(log.contains("DEBUG") && log.contains("node linked"), "everything was logged:\n{log}");
        log
    }
}

#[track_caller]
fn assert_tells_no_address(text: &str) {
    let told = addresses(text);
    let lines: Vec<_> = text.lines().filter(|line| told.iter().any(|word| line.contains(word))).collect();
    assert!(told.is_empty(), "{told:?} in\n{}", lines.join("\n"));
}

#[test]
fn a_call_at_level_trace_tells_no_address() {
    let story = Story::new();
    story.call(&["--duration", "2s"], &[]);
    assert_tells_no_address(&story.log());
}

#[test]
fn a_direct_leg_at_level_trace_tells_no_address_in_log_ledger_or_metrics() {
    let story = Story::new();
    for who in ["alice", "bob"] {
        story.ctl(&format!("settings set --as {who} --enhanced-call-privacy off --direct ask"));
    }
    let report = story.call(&["--duration", "5s", "--direct"], &["--direct"]);
    // It may have been given up again by the end: the other party hangs up first.
    assert_eq!(report["stats"]["switches"][0]["to"], "direct", "the direct leg was in use: {report}");
    let ledger: Vec<String> =
        ["alice", "bob"].iter().map(|who| story.ctl(&format!("calls --as {who} --json"))).collect();
    for told in &ledger {
        assert!(told.contains("\"own_exposure\":{"), "the ledger knows of it: {told}");
        assert_tells_no_address(told);
    }
    let metrics = story.metrics();
    assert!(metrics.contains("method=\"SendDirect\""), "the steps were counted:\n{metrics}");
    // What follows the headers: they are this test's own words.
    assert_tells_no_address(metrics.split_once("\r\n\r\n").unwrap().1);
    assert_tells_no_address(&story.log());
}
