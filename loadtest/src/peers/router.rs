//! Our own server, through its own control plane: `duocast up` with one media worker, and clients that sign in, ring, answer
//! and connect their legs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use duocast_client::media::{candidates, choose_target};
use duocast_client::{ChannelConfig, Roots};
use tokio::sync::oneshot;

use super::generator::{End, Link};
use super::measure::wait_connected;
use super::process::{self, Cost, Process};
use super::wire::Routed;
use super::{Peer, PeersError, Setup};
use crate::lane::clock;
use crate::lane::socket::local_towards;
use crate::peer::{Session, SessionConfig};
use crate::run::{
    Account, CERT_FILE, DEV_KEY_FILE, Device, Failure, Live, Residence, Source, Stage, Wanted, Watch,
    prepare_accounts,
};

/// How reports call it.
pub(super) const NAME: &str = "duocast";

/// From PlaceCall to the callee's ringing, and from AcceptCall to the caller's knowledge of it.
const TOLD_MAX: Duration = Duration::from_secs(5);

/// Tokens outlive the steady phase by at least this.
const TOKEN_SLACK: Duration = Duration::from_secs(600);

/// Our server, ready for calls.
pub(super) struct Router {
    process: Process,
    server: ChannelConfig,
    accounts: Vec<Vec<Account>>,
    /// Parties stay signed in.
    devices: Vec<Device>,
    live: Arc<Live>,
    metrics: Watch,
    facts: Vec<LegFacts>,
}

/// What somebody may know of a leg who is not part of it.
#[derive(Debug, Clone)]
pub(super) struct LegFacts {
    pub(super) router: SocketAddr,
    /// The router's ICE user name for it.
    pub(super) user: String,
    /// Of the client's audio.
    pub(super) ssrc: u32,
}

impl LegFacts {
    fn of(offer: &str, answer: &str) -> Option<Self> {
        let value = |sdp: &str, name: &str| {
            sdp.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
        };
        let ssrc = value(offer, "a=ssrc:")?.split(' ').next()?.parse().ok()?;
        let router = choose_target(&candidates(answer), true)?;
        Some(Self { router, user: value(answer, "a=ice-ufrag:")?, ssrc })
    }
}

impl Router {
    /// Of every leg so far.
    pub(super) fn facts(&self) -> &[LegFacts] {
        &self.facts
    }

    /// The page of metrics.
    pub(super) async fn metrics(&self) -> Result<String, PeersError> {
        Ok(self.metrics.page().await?)
    }

    pub(super) async fn start(setup: &Setup) -> Result<Self, PeersError> {
        let failed = |why: String| PeersError::Start { name: NAME, why };
        let folder = process::folder()?;
        let data: PathBuf = folder.path().join("data");
        let args = "up --json --listen 127.0.0.1:0 --http 127.0.0.1:0 --media-port 0 --workers 1 --log-level warn --data-dir";
        let mut args: Vec<String> = args.split(' ').map(str::to_owned).collect();
        args.push(data.display().to_string());
        args.extend(setup.realtime.then(|| "--realtime".to_owned()));
        let program = std::path::absolute(&setup.duocast).map_err(|error| failed(error.to_string()))?;
        if !program.is_file() {
            let path = program.display();
            return Err(failed(format!("{path} is no program: build it, or name it with --duocast")));
        }
        let mut process = Process::start(NAME, &program, &args, setup.server_core, folder)?;
        let (url, page) = process.ready(async |out| ready(out)).await?;
        let metrics = Watch::new(&format!("{page}/metrics"), None)?;
        let roots =
            std::fs::read_to_string(data.join(CERT_FILE)).map_err(|error| failed(error.to_string()))?;
        let server = ChannelConfig::new(url, Roots::Pem(roots));
        let source = Source::DevKey(data.join(DEV_KEY_FILE));
        let time = setup.load.duration + TOKEN_SLACK;
        let wanted: Vec<Wanted> = (0..setup.load.calls).map(Wanted::pair).collect();
        let accounts = prepare_accounts(&source, &server, &wanted, time).await;
        let accounts = accounts.map_err(|error| failed(error.to_string()))?;
        let (devices, live, facts) = (Vec::new(), Arc::default(), Vec::new());
        Ok(Self { process, server, accounts, devices, live, metrics, facts })
    }

    async fn join(&self, account: &Account) -> Result<Device, Failure> {
        Ok(Device::join(self.server.clone(), account, Arc::clone(&self.live)).await?.0)
    }

    /// Gives the two devices, and what waits for their legs.
    async fn call(&mut self, call: usize, generator: &Link) -> Result<([Device; 2], Waiting), CallError> {
        let (caller_account, callee_account) = (&self.accounts[call][0], &self.accounts[call][1]);
        let (caller, callee) = tokio::try_join!(self.join(caller_account), self.join(callee_account))?;
        let call_id = caller.place(callee_account, true).await.map_err(|s| Failure::of(Stage::Place, &s))?;
        callee.wait(TOLD_MAX, Stage::Ring, "DID_NOT_RING", |state| state.rang_at.is_some()).await?;
        let waiting = [
            self.connect_leg(&caller, &call_id, generator).await?,
            self.connect_leg(&callee, &call_id, generator).await?,
        ];
        callee.accept(&call_id).await.map_err(|s| Failure::of(Stage::Accept, &s))?;
        let is_told = |state: &crate::run::DeviceState| {
            state.call.as_ref().is_some_and(duocast_client::CallInfo::carries_media)
        };
        caller.wait(TOLD_MAX, Stage::Accept, "CALLER_NOT_TOLD", is_told).await?;
        Ok(([caller, callee], waiting))
    }

    async fn connect_leg(
        &mut self,
        device: &Device,
        call_id: &str,
        generator: &Link,
    ) -> Result<oneshot::Receiver<()>, CallError> {
        let config = SessionConfig { video: true, only_receives: false };
        let (mut session, sdp_offer) = Session::offer(Instant::now(), config);
        let answer = device.connect_leg(call_id, sdp_offer.clone()).await;
        let answer = answer.map_err(|s| Failure::of(Stage::Leg, &s))?;
        let spot = generator.reserve(local_towards(&answer, true)?).await?;
        session.accept_answer(clock::moment().now, &answer, spot.local())?;
        self.facts.extend(LegFacts::of(&sdp_offer, &answer));
        Ok(generator.add(End { wire: Box::new(Routed::new(session)), spot, sends: true }))
    }
}

type Waiting = [oneshot::Receiver<()>; 2];

/// Why a call did not come up.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("{0}")]
    Failed(Failure),
    #[error(transparent)]
    Leg(#[from] duocast_client::media::PeerError),
    #[error(transparent)]
    Socket(#[from] crate::lane::LegError),
    #[error(transparent)]
    Generator(#[from] PeersError),
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Peer for Router {
    async fn connect(&mut self, call: usize, generator: &Link) -> Result<(), PeersError> {
        let placed = self.call(call, generator).await;
        let (devices, waiting) =
            placed.map_err(|error| PeersError::Call { name: NAME, why: error.to_string() })?;
        self.devices.extend(devices);
        for connected in waiting {
            wait_connected(connected).await?;
        }
        Ok(())
    }

    fn cost(&self) -> Result<Cost, PeersError> {
        self.process.cost()
    }

    async fn residence(&self) -> Option<Residence> {
        Residence::read(&self.metrics().await.ok()?)
    }
}

/// The addresses of the API and of the page from the line of JSON that the server writes when calls can be placed.
fn ready(out: &str) -> Option<(String, String)> {
    let ready: serde_json::Value = serde_json::from_str(out.trim()).ok()?;
    (ready["ready"] == true).then_some(())?;
    let text = |key: &str| ready[key].as_str().map(str::to_owned);
    Some((text("url")?, text("page")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legs_facts_are_in_its_descriptions() {
        let offer = "v=0\r\na=ice-ufrag:mine\r\na=ssrc:77 cname:x\r\na=ssrc:78 cname:x\r\n";
        let answer = "v=0\r\na=ice-ufrag:user\r\na=candidate:1 1 udp 1 192.0.2.1 4000 typ host\r\n\
            a=candidate:2 1 udp 1 127.0.0.1 4000 typ host\r\n";
        let facts = LegFacts::of(offer, answer).unwrap();
        assert_eq!((facts.router, &*facts.user, facts.ssrc), ("127.0.0.1:4000".parse().unwrap(), "user", 77));
        assert!(LegFacts::of(answer, offer).is_none());
    }

    #[test]
    fn a_server_is_ready_when_its_whole_line_is_there() {
        let line = r#"{"ready":true,"url":"https://localhost:4433","page":"http://localhost:8080","ca":"x"}"#;
        let found = ready(line).unwrap();
        assert_eq!((&*found.0, &*found.1), ("https://localhost:4433", "http://localhost:8080"));
        assert_eq!(ready(&line[..20]), None);
        assert_eq!(ready(&line.replace("true", "false")), None);
    }
}
