//! What a hostile client may offer, through the whole server: each offer is refused with its reason and a sentence that says
//! what to do, and neither a session nor a call nor a leg stays behind.

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use duocast_control::auth::{DevIssuer, Scope, dev_account_id};
use duocast_transport::client::{Channel, ChannelConfig, Roots};
use duocast_wire::v1;
use duocast_wire::v1::call_service_client::CallServiceClient;
use duocast_wire::v1::event::Kind;
use support::{Server, duocast};
use tonic::{Code, Request, Streaming};

/// What a browser would offer for an audio call, as short as it can be.
const GOOD: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
    a=fingerprint:sha-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF\r\n\
    a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=ssrc:1 cname:x\r\n";

fn without(prefix: &str) -> String {
    GOOD.lines().filter(|line| !line.starts_with(prefix)).map(|line| format!("{line}\r\n")).collect()
}

/// What must not grow, as `/metrics` has it: sessions, streams, calls; the router's calls and legs.
type Figures = [u64; 5];

/// `None` while a worker of the router has published nothing yet.
fn figures(page: &str) -> Option<Figures> {
    let mut stream = TcpStream::connect(page.trim_start_matches("http://")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let names = [
        "duocast_control_sessions",
        "duocast_control_streams",
        "duocast_control_calls",
        "duocast_router_calls",
        "duocast_router_legs",
    ];
    let sum = |name: &str| {
        let is_it = |line: &&str| line.split([' ', '{']).next() == Some(name);
        let values =
            text.lines().filter(is_it).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.reduce(|one, other| one + other)
    };
    let found: Vec<u64> = names.into_iter().map_while(sum).collect();
    found.try_into().ok()
}

/// Waits until they are so: the router's are published once a second.
async fn figures_become(page: &str, wanted: Figures) {
    let mut seen = None;
    for _ in 0..600 {
        seen = figures(page);
        if seen == Some(wanted) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{wanted:?} expected, {seen:?} seen");
}

/// A person's client with an open session.
struct Person {
    api: CallServiceClient<Channel>,
    token: String,
    session: String,
    events: Streaming<v1::Event>,
}

impl Person {
    async fn sign_in(handle: &str, data: &Path, url: &str) -> Self {
        let issuer = DevIssuer::load_or_create(data).unwrap();
        let id = dev_account_id(handle);
        let token = issuer.mint(id.expose(), handle, "", Scope::Client, Duration::from_secs(600)).unwrap();
        let roots = Roots::Pem(std::fs::read_to_string(data.join("cert.pem")).unwrap());
        let channel = Channel::connect(ChannelConfig::new(url, roots)).await.unwrap();
        let mut api = CallServiceClient::new(channel);
        let ask = v1::SubscribeRequest { device_id: format!("{handle}-1"), ..Default::default() };
        let mut events = api.subscribe(signed(ask, &token)).await.unwrap().into_inner();
        let first = events.message().await.unwrap().unwrap().kind;
        let Some(Kind::SessionStarted(started)) = first else { panic!("no session: {first:?}") };
        Self { api, token, session: started.session_id, events }
    }

    async fn until(&mut self, state: v1::CallState) {
        loop {
            let event = self.events.message().await.unwrap().expect("the stream goes on");
            if let Some(Kind::CallUpdated(updated)) = event.kind
                && updated.call.unwrap().state() == state
            {
                return;
            }
        }
    }

    async fn offer(&mut self, call: &v1::Call, sdp: &str) -> Result<v1::ConnectLegResponse, tonic::Status> {
        let message = v1::ConnectLegRequest {
            session_id: self.session.clone(),
            call_id: call.call_id.clone(),
            leg_id: String::new(),
            sdp_offer: sdp.into(),
        };
        self.api.connect_leg(signed(message, &self.token)).await.map(|answer| answer.into_inner())
    }
}

fn signed<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

#[tokio::test]
async fn each_hostile_offer_is_refused_with_its_reason_and_leaves_nothing_behind() {
    let dir = tempfile::TempDir::new().unwrap();
    let data = dir.path();
    let server = Server::start(
        duocast(data)
            .args(["up", "--demo", "--json", "--workers", "1", "--media-port", "0", "--http", "127.0.0.1:0"])
            .args(["--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .stderr(Stdio::null()),
    );
    let page = server.page();
    let mut alice = Person::sign_in("alice", data, server.url()).await;
    let mut bob = Person::sign_in("bob", data, server.url()).await;
    let ask = v1::PlaceCallRequest {
        session_id: alice.session.clone(),
        request_id: "r1".into(),
        callee_handle: "bob".into(),
        video: false,
    };
    let placed = alice.api.place_call(signed(ask, &alice.token)).await.unwrap();
    let call = placed.into_inner().call.unwrap();
    bob.until(v1::CallState::Ringing).await;
    // The router hears of a call with its first leg.
    let before = [2, 2, 1, 0, 0];
    figures_become(page, before).await;

    let sdes = without("a=fingerprint").replace("UDP/TLS/RTP/SAVPF", "RTP/SAVP")
        + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
    let sha1 = without("a=fingerprint")
        + "a=fingerprint:sha-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB\r\n";
    let media: String = (1..9).map(|n| format!("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:{n}\r\n")).collect();
    let table = [
        ("huge", format!("{GOOD}a=x:{}\r\n", "y".repeat(70_000)), "SDP_TOO_LARGE"),
        ("thousands of lines", format!("{GOOD}{}", "a=x\r\n".repeat(5_000)), "SDP_TOO_LARGE"),
        ("nothing", String::new(), "SDP_INVALID"),
        ("no SDP", "hello".into(), "SDP_INVALID"),
        ("a passive client", GOOD.replace("actpass", "passive"), "SDP_INVALID"),
        ("no ICE", without("a=ice-"), "SDP_NO_ICE"),
        ("media in the clear", GOOD.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), "SDP_NOT_DTLS_SRTP"),
        ("keys in the SDP", sdes, "SDP_NOT_DTLS_SRTP"),
        ("no certificate", without("a=fingerprint"), "SDP_NO_FINGERPRINT"),
        ("a SHA-1 fingerprint only", sha1, "SDP_NO_FINGERPRINT"),
        ("a foreign codec", GOOD.replace("opus/48000/2", "speex/8000"), "SDP_NO_COMMON_CODEC"),
        ("nine m-lines", format!("{GOOD}{media}"), "SDP_TOO_MANY_MEDIA"),
    ];
    for (what, sdp, reason) in table {
        let status = alice.offer(&call, &sdp).await.expect_err(what);
        let told = duocast_wire::error::reason(&status);
        assert_eq!((status.code(), told.as_deref()), (Code::InvalidArgument, Some(reason)), "{what}");
        assert!(status.message().split(' ').count() > 4, "{what}: {:?} is no sentence", status.message());
        assert!(sdp.is_empty() || !status.message().contains(&sdp), "{what}: nothing of it is repeated");
    }
    figures_become(page, before).await;

    // The offer that the others were made from is a good one, and its leg goes with the call.
    alice.offer(&call, GOOD).await.unwrap();
    figures_become(page, [2, 2, 1, 1, 1]).await;
    let hang_up = v1::CallCommand { session_id: alice.session.clone(), call_id: call.call_id.clone() };
    alice.api.hang_up(signed(hang_up, &alice.token)).await.unwrap();
    bob.until(v1::CallState::Ended).await;
    figures_become(page, [2, 2, 0, 0, 0]).await;
}
