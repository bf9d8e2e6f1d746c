//! A server that logs all it can, through a whole call, tells no address.

mod support;

use std::fs::File;
use std::net::IpAddr;
use std::process::Stdio;
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

#[test]
fn a_call_at_level_trace_tells_no_address() {
    let dir = tempfile::TempDir::new().unwrap();
    let data = dir.path();
    let log = data.join("log");
    let mut server = Server::start(
        duocast(data)
            .args(["up", "--demo", "--json", "--workers", "1", "--media-port", "0", "--http", "127.0.0.1:0"])
            .args(["--listen", "127.0.0.1:0", "--log-level", "trace", "--data-dir"])
            .arg(data)
            .env("RUST_LOG", "trace")
            .env("DUOCAST_DRAIN_SECONDS", "1")
            .stderr(File::create(&log).unwrap()),
    );
    let call = |door: &str, words: &[&str]| {
        let mut command = duocast(data);
        command.args(["call", "--json", "--door", door, "--url", server.url()]);
        command.args(words).arg("--data-dir").arg(data).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let bob = call("h2", &["--as", "bob", "--answer", "--duration", "2s"]);
    // Until Bob is online.
    let placed = || call("h3", &["--as", "alice", "--to", "bob"]).wait().unwrap().success();
    assert!((0..100).any(|_| placed() || {
        std::thread::sleep(Duration::from_millis(100));
        false
    }));
    let bob = bob.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&bob.stdout).unwrap();
    assert_eq!(report["answered"], true, "{report}");
    server.stop();

    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("DEBUG") && log.contains("node linked"), "everything was logged:\n{log}");
    let told = addresses(&log);
    let lines: Vec<_> = log.lines().filter(|line| told.iter().any(|word| line.contains(word))).collect();
    assert!(told.is_empty(), "{told:?} in\n{}", lines.join("\n"));
}
