use std::net::UdpSocket;

use duocast_client::audio::FRAME;
use str0m::change::SdpOffer;
use str0m::{Candidate, RtcConfig};

use super::*;
use crate::net::{Conditions, Path};
use crate::peer::{Direction, SessionConfig, Speech};

/// A socket in the place of a router's, and what that router answers to this offer.
fn router_for(offer: &str) -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut rtc = RtcConfig::new().set_ice_lite(true).build(Instant::now());
    rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
    let answer = rtc.sdp_api().accept_offer(SdpOffer::from_sdp_string(offer).unwrap()).unwrap();
    (socket, answer.to_sdp_string())
}

#[tokio::test]
async fn what_conditions_hold_back_is_sent_at_a_legs_end() {
    let (session, offer) =
        Session::offer(Instant::now(), SessionConfig { video: false, only_receives: false });
    let (router, answer) = router_for(&offer);
    let slow = Conditions { delay: Duration::from_secs(3600), ..Conditions::default() };
    let network = NetworkConfig { path: Arc::new(Path { up: slow, ..Path::default() }), seed: 1 };
    let config = LegConfig {
        speech: Arc::new(Speech::encode(None).unwrap()),
        video: None,
        direction: Direction::Both,
        receivers_within: Duration::ZERO,
        decodes: false,
        records: false,
        groups: None,
    };
    let lane = Lane::start(0, OverTime::default()).unwrap();
    let new = NewLeg {
        session: Box::new(session),
        answer,
        config,
        server_is_loopback: true,
        network: Some(network),
    };
    let leg = lane.link().add(new).await.unwrap_or_else(|error| panic!("{error}"));
    // Time for the first connectivity checks.
    tokio::time::sleep(5 * FRAME).await;
    leg.close().await;
    let mut bytes = [0; 1500];
    let len = router.recv(&mut bytes).expect("a connectivity check that was under way");
    assert!(len >= 20 && bytes[..2] == [0, 1], "a binding request (RFC 8489 section 5)");
    assert_eq!(lane.finish().unsent, 0);
}
