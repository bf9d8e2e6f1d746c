//! Janus with its VideoRoom plugin, driven by its HTTP API: a room for each call, and for each party a publisher and a
//! subscriber, which are two connections.

mod api;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Instant;

use api::{Api, ApiError};
use duocast_client::media::{
    LocalCandidate, Peer as Leg, PeerConfig, candidates, choose_target, local_address_towards,
};
use serde_json::json;

use super::generator::{End, Link, Spot};
use super::measure::wait_connected;
use super::process::{self, Cost, Process};
use super::wire::WebRtc;
use super::{Peer, PeersError, Setup};
use crate::lane::clock;

/// Debian's package, its program, and how reports call it.
pub(super) const PACKAGE: &str = "janus";
pub(super) const PROGRAM: &str = "janus";
pub(super) const NAME: &str = "Janus";

/// ICE-lite and no TCP candidates, as our router has it. Sessions are not ended for not polling. One thread for each
/// connection is Janus's default.
const JANUS_CONFIG: &str = "general: { session_timeout = 0; debug_level = 3; }\n\
    nat: { ice_lite = true; ice_tcp = false; }\n\
    plugins: { disable = \"libjanus_audiobridge.so,libjanus_duktape.so,libjanus_echotest.so,libjanus_lua.so,\
    libjanus_nosip.so,libjanus_recordplay.so,libjanus_sip.so,libjanus_streaming.so,libjanus_textroom.so,\
    libjanus_videocall.so,libjanus_voicemail.so\"; }\n\
    transports: { disable = \"libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so,\
    libjanus_websockets.so\"; }\n\
    events: { broadcast = false; }\n";

/// Janus, ready for calls.
pub(super) struct Janus {
    process: Process,
    api: SocketAddr,
}

/// A party's connection to the API, and the number of what it publishes.
struct Party {
    api: Api,
    feed: u64,
}

/// Why a call did not come up.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Leg(#[from] duocast_client::media::PeerError),
    #[error(
        "its description names no UDP address: it uses no loopback, so the machine needs a network interface that is up"
    )]
    NoCandidate,
    #[error("no socket: {0}")]
    Socket(#[from] std::io::Error),
    #[error(transparent)]
    Generator(#[from] PeersError),
}

impl Janus {
    pub(super) async fn start(setup: &Setup) -> Result<Self, PeersError> {
        let api = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr())?;
        let folder = process::folder()?;
        let http = format!(
            "general: {{ json = \"compact\"; base_path = \"/janus\"; http = true; port = {}; ip = \"{}\"; https = false; }}\n\
             admin: {{ admin_http = false; admin_https = false; }}\n",
            api.port(),
            api.ip()
        );
        for (file, text) in [
            ("janus.jcfg", JANUS_CONFIG),
            ("janus.transport.http.jcfg", &http),
            ("janus.plugin.videoroom.jcfg", "general: { }\n"),
        ] {
            std::fs::write(folder.path().join(file), text).map_err(PeersError::Folder)?;
        }
        let args = ["-F".into(), folder.path().display().to_string()];
        let mut process = Process::start(NAME, Path::new(PROGRAM), &args, setup.server_core, folder)?;
        process.ready(async |_| Api::connect(api).await.ok()).await?;
        Ok(Self { process, api })
    }

    async fn call(&self, call: usize, generator: &Link) -> Result<(), CallError> {
        let room = call as u64 + 1;
        let mut parties =
            [self.publish(room, true, generator).await?, self.publish(room, false, generator).await?];
        for party in 0..2 {
            let feed = parties[1 - party].feed;
            subscribe(&mut parties[party], room, feed, generator).await?;
        }
        Ok(())
    }

    /// Joins the room and sends to it. A publisher can be subscribed to once its connection is up.
    async fn publish(&self, room: u64, creates: bool, generator: &Link) -> Result<Party, CallError> {
        let mut api = Api::connect(self.api).await?;
        let publisher = api.attach().await?;
        if creates {
            let create = json!({ "request": "create", "room": room, "publishers": 2, "audiocodec": "opus", "videocodec": "vp8" });
            api.ask(publisher, create).await?;
        }
        let config = PeerConfig { video: true, stats_interval: None, ..PeerConfig::default() };
        let (mut leg, offer) = Leg::offer(Instant::now(), config);
        let join = json!({ "request": "joinandconfigure", "ptype": "publisher", "room": room });
        let joined = api.tell(publisher, join, Some(("offer", &offer))).await?;
        let answer = joined.sdp()?;
        let feed = joined.number("id")?;
        let spot = spot_towards(answer, generator).await?;
        leg.accept_answer(clock::moment().now, answer, spot.local())?;
        let end = End { wire: Box::new(WebRtc::new(leg)), spot, sends: true };
        wait_connected(generator.add(end)).await?;
        api.told(publisher, |event| event.kind() == "webrtcup").await?;
        Ok(Party { api, feed })
    }
}

/// Receives the other party.
async fn subscribe(party: &mut Party, room: u64, feed: u64, generator: &Link) -> Result<(), CallError> {
    let api = &mut party.api;
    let subscriber = api.attach().await?;
    let join =
        json!({ "request": "join", "ptype": "subscriber", "room": room, "streams": [{ "feed": feed }] });
    let offered = api.tell(subscriber, join, None).await?;
    let offer = offered.sdp()?;
    let spot = spot_towards(offer, generator).await?;
    let config = PeerConfig { video: true, stats_interval: None, ..PeerConfig::default() };
    let local = LocalCandidate { base: spot.local(), mapped: None };
    let (leg, answer) = Leg::answer_direct(clock::moment().now, config, &as_dtls_client(offer), &[local])?;
    let connected = generator.add(End { wire: Box::new(WebRtc::new(leg)), spot, sends: false });
    api.tell(subscriber, json!({ "request": "start" }), Some(("answer", &answer))).await?;
    Ok(wait_connected(connected).await?)
}

/// The offer as from one who will be the DTLS client. Janus leaves the choice to us, drops a ClientHello that arrives before
/// its own ICE is done, and would get it again after a second: two for each call.
fn as_dtls_client(offer: &str) -> String {
    offer.replace("a=setup:actpass", "a=setup:active")
}

/// It is reached at the machine's own address and not on the loopback, so that its parties share no socket. What they send leaves at the same
/// turns all the same.
async fn spot_towards(description: &str, generator: &Link) -> Result<Spot, CallError> {
    let target = choose_target(&candidates(description), false).ok_or(CallError::NoCandidate)?;
    Ok(generator.reserve(local_address_towards(target)?).await?)
}

impl Peer for Janus {
    async fn connect(&mut self, call: usize, generator: &Link) -> Result<(), PeersError> {
        let placed = self.call(call, generator).await;
        placed.map_err(|error| PeersError::Call { name: NAME, why: error.to_string() })
    }

    fn cost(&self) -> Result<Cost, PeersError> {
        self.process.cost()
    }
}
