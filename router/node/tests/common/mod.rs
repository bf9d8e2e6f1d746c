//! Control's end of the link, served on real doors, and peers on real sockets.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod log;
pub mod peer;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use duocast_model::{CallId, Generation, LegId, NodeId, Route, RoutePlan};
use duocast_router::{Router, RouterConfig, RouterError, TokenSource};
use duocast_transport::client::{ChannelConfig, Roots};
use duocast_transport::guard::{GuardConfig, guard};
use duocast_transport::identity::Identity;
use duocast_transport::server::{Limits, Server, ServerConfig, loopback};
use duocast_wire::v1;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use v1::control_to_node::Kind as ToNode;
use v1::node_service_server::{NodeService, NodeServiceServer};
use v1::node_to_control::Kind as ToControl;

/// No step of a test takes nearly as long; reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const TOKEN: &str = "the-node-token";

pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("it took too long: {what}"))
}

/// Waits, without a clock of its own, until something outside has happened.
pub async fn eventually(what: &str, done: impl Fn() -> bool) {
    in_time(what, async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Hands each link that a node opens to the test.
struct Links(mpsc::Sender<Link>);

/// One life of a node's link, from control's side.
pub struct Link {
    pub hello: v1::Hello,
    from_node: Streaming<v1::NodeToControl>,
    to_node: mpsc::Sender<Result<v1::ControlToNode, Status>>,
    /// What came while the test waited for something else.
    unread: Vec<ToControl>,
    next_request: u64,
}

#[tonic::async_trait]
impl NodeService for Links {
    type LinkStream = ReceiverStream<Result<v1::ControlToNode, Status>>;

    async fn link(
        &self,
        request: Request<Streaming<v1::NodeToControl>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let bearer = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if bearer != Some(&format!("Bearer {TOKEN}")) {
            return Err(Status::unauthenticated("not the node's token"));
        }
        let mut from_node = request.into_inner();
        let (to_node, queue) = mpsc::channel(64);
        let links = self.0.clone();
        tokio::spawn(async move {
            let Ok(Some(v1::NodeToControl { kind: Some(ToControl::Hello(hello)) })) =
                from_node.message().await
            else {
                return;
            };
            let link = Link { hello, from_node, to_node, unread: Vec::new(), next_request: 0 };
            let _ = links.send(link).await;
        });
        Ok(Response::new(ReceiverStream::new(queue)))
    }
}

/// Control's doors, without control behind them.
pub struct Control {
    links: mpsc::Receiver<Link>,
    config: ChannelConfig,
    shutdown: CancellationToken,
    _certificates: tempfile::TempDir,
}

impl Control {
    pub async fn start() -> Self {
        let certificates = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_create_self_signed(certificates.path(), &[]).unwrap();
        let config = ServerConfig {
            listen: loopback(0),
            plain: Vec::new(),
            identity: identity.clone(),
            limits: Limits::default(),
            reset_secret: None,
            drain_timeout: Duration::from_secs(1),
        };
        let server = Server::bind(config).await.unwrap();
        let url = format!("https://localhost:{}", server.listen_addrs()[0].port());
        let (sender, links) = mpsc::channel(8);
        let app = Routes::new(NodeServiceServer::new(Links(sender))).into_axum_router();
        let shutdown = CancellationToken::new();
        let app = guard(app, GuardConfig { draining: shutdown.clone(), ..GuardConfig::default() });
        tokio::spawn(server.serve(app, shutdown.clone()));
        let config = ChannelConfig::new(url, Roots::Pem(identity.cert_pem().to_owned()));
        Self { links, config, shutdown, _certificates: certificates }
    }

    /// The next link, welcomed.
    pub async fn link(&mut self) -> Link {
        let link = in_time("a node links", self.links.recv()).await.unwrap();
        let welcome = v1::Welcome { version: "test".into(), stats_interval_ms: 300 };
        link.send(ToNode::Welcome(welcome)).await;
        link
    }

    pub fn no_link_waits(&mut self) -> bool {
        self.links.try_recv().is_err()
    }
}

impl Link {
    pub async fn send(&self, kind: ToNode) {
        self.to_node.send(Ok(v1::ControlToNode { kind: Some(kind) })).await.unwrap();
    }

    /// The next message that `pick` wants; the others are kept.
    pub async fn receive<T>(&mut self, what: &str, pick: impl Fn(&ToControl) -> Option<T>) -> T {
        if let Some(index) = self.unread.iter().position(|kind| pick(kind).is_some()) {
            return pick(&self.unread.remove(index)).unwrap();
        }
        in_time(what, async {
            loop {
                let message = self.from_node.message().await.unwrap().expect("the link is up");
                let kind = message.kind.expect("a message says something");
                match pick(&kind) {
                    Some(found) => return found,
                    None => self.unread.push(kind),
                }
            }
        })
        .await
    }

    pub async fn plan(&mut self, plan: &RoutePlan) -> v1::PlanResult {
        self.send(ToNode::Plan(plan.into())).await;
        let call = plan.call().to_string();
        self.receive("a plan's result", |kind| match kind {
            ToControl::PlanResult(result) if result.call_id == call => Some(result.clone()),
            _ => None,
        })
        .await
    }

    pub async fn offer(&mut self, call: CallId, leg: LegId, sdp: &str) -> Result<String, v1::LegRefused> {
        self.next_request += 1;
        let request_id = self.next_request;
        let (call_id, leg_id) = (call.to_string(), leg.to_string());
        self.send(ToNode::LegOffer(v1::LegOffer { request_id, call_id, leg_id, sdp_offer: sdp.into() }))
            .await;
        let answer = self
            .receive("an answer", |kind| match kind {
                ToControl::LegAnswer(answer) if answer.request_id == request_id => answer.result.clone(),
                _ => None,
            })
            .await;
        match answer {
            v1::leg_answer::Result::SdpAnswer(sdp) => Ok(sdp),
            v1::leg_answer::Result::Refused(refused) => Err(refused),
        }
    }

    pub async fn leg_is(&mut self, leg: LegId, state: v1::LegState) {
        let leg = leg.to_string();
        self.receive(&format!("a leg is {state:?}"), |kind| match kind {
            ToControl::LegChanged(changed) => {
                (changed.leg_id == leg && changed.state() == state).then_some(())
            }
            _ => None,
        })
        .await;
    }

    /// The node says goodbye; `moved` happens before control answers it.
    pub async fn goodbye(mut self, moved: impl FnOnce()) {
        self.receive("a goodbye", |kind| matches!(kind, ToControl::Goodbye(_)).then_some(())).await;
        moved();
    }

    /// Statistics that show this.
    pub async fn stats_until(&mut self, done: impl Fn(&v1::NodeStats) -> bool) {
        self.receive("statistics", |kind| match kind {
            ToControl::Stats(stats) => done(stats).then_some(()),
            _ => None,
        })
        .await;
    }
}

fn config(control: &Control, workers: usize, listen: Vec<IpAddr>) -> RouterConfig {
    RouterConfig {
        node_id: NodeId::new("node-1").unwrap(),
        control: control.config.clone(),
        token: TokenSource::Given(TOKEN.into()),
        listen,
        port_base: 0,
        media_tcp: true,
        announce: Vec::new(),
        workers,
        realtime: false,
        leg_capacity: 64,
    }
}

/// A running node.
pub struct Node {
    pub addresses: Vec<SocketAddr>,
    pub tcp_addresses: Vec<SocketAddr>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), RouterError>>,
}

impl Node {
    pub fn start(control: &Control, workers: usize, listen: Vec<IpAddr>) -> Self {
        Self::start_with_token(control, workers, listen, TokenSource::Given(TOKEN.into()))
    }

    pub fn start_with_token(
        control: &Control,
        workers: usize,
        listen: Vec<IpAddr>,
        token: TokenSource,
    ) -> Self {
        Self::start_as(RouterConfig { token, ..config(control, workers, listen) })
    }

    /// One worker with room for so many legs.
    pub fn start_with_capacity(control: &Control, listen: Vec<IpAddr>, leg_capacity: u32) -> Self {
        Self::start_as(RouterConfig { leg_capacity, ..config(control, 1, listen) })
    }

    fn start_as(config: RouterConfig) -> Self {
        assert!(!format!("{config:?}").contains(TOKEN));
        let router = Router::bind(config).unwrap();
        let addresses = router.media_addrs();
        let tcp_addresses = router.media_tcp_addrs();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(router.run(shutdown.clone()));
        Self { addresses, tcp_addresses, shutdown, running }
    }

    /// SIGTERM: the node begins to stop.
    pub fn leave(&self) {
        self.shutdown.cancel();
    }

    pub fn has_stopped(&self) -> bool {
        self.running.is_finished()
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        in_time("the node stops", self.running).await.unwrap().unwrap();
    }
}

/// A call of two legs.
#[derive(Clone, Copy)]
pub struct TestCall {
    pub id: CallId,
    pub legs: [LegId; 2],
}

impl TestCall {
    pub fn new(n: u128) -> Self {
        Self { id: CallId::from_u128(n), legs: [LegId::from_u128(2 * n), LegId::from_u128(2 * n + 1)] }
    }

    /// Both legs, not routed.
    pub fn ringing(&self, generation: u64) -> RoutePlan {
        RoutePlan::new(self.id, Generation(generation), self.legs.to_vec(), Vec::new()).unwrap()
    }

    /// Both legs, each hearing the other.
    pub fn talking(&self, generation: u64) -> RoutePlan {
        let [a, b] = self.legs;
        let routes = vec![Route { from: a, to: b }, Route { from: b, to: a }];
        RoutePlan::new(self.id, Generation(generation), self.legs.to_vec(), routes).unwrap()
    }

    pub fn over(&self, generation: u64) -> RoutePlan {
        RoutePlan::teardown(self.id, Generation(generation))
    }
}

/// Two peers whose legs are connected through the node.
pub async fn connect_two(link: &mut Link, call: TestCall) -> [peer::Peer; 2] {
    assert!(link.plan(&call.ringing(1)).await.applied);
    let mut peers = Vec::new();
    for leg in call.legs {
        let offered = peer::Offered::new("127.0.0.1".parse().unwrap());
        let answer = link.offer(call.id, leg, &offered.sdp).await.unwrap();
        peers.push(offered.answered(&answer));
    }
    for (leg, peer) in call.legs.into_iter().zip(&peers) {
        link.leg_is(leg, v1::LegState::Connected).await;
        eventually("a peer connects", || peer.seen().connected).await;
    }
    peers.try_into().unwrap_or_else(|_| unreachable!("there are two legs"))
}
