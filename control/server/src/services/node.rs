//! The link to a router node.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use duocast_control_core::switchboard::{LegReport, NodeUp};
use duocast_model::{Generation, InvalidId, NodeId};
use duocast_wire::v1;
use futures_util::{Stream, stream};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Code, Request, Response, Status, Streaming};
use v1::control_to_node::Kind as ToNode;
use v1::node_to_control::Kind as FromNode;

use super::errors::{self, IntoStatus};
use super::{Reason, Services, fields, observe, status};
use crate::auth::{Refusal, Scope};
use crate::exchange::{Exchange, ExchangeError, LegFailure, LinkId, LinkInlet, LinkOpened, Next, NodeSaid};
use crate::metrics;

/// How long after it linked a node may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a node says how busy it is. Shorter reacts faster to load and costs a message a time.
const STATS_INTERVAL_MS: u32 = 2_000;

/// Longest boot id and version, in bytes.
const TEXT_MAX: usize = 64;

/// Longest sentence of a node that is passed on to a client, in characters; the rest is cut.
const SENTENCE_MAX: usize = 300;

type LinkStream = Pin<Box<dyn Stream<Item = Result<v1::ControlToNode, Status>> + Send>>;

#[tonic::async_trait]
impl v1::node_service_server::NodeService for Services {
    type LinkStream = LinkStream;

    async fn link(
        &self,
        request: Request<Streaming<v1::NodeToControl>>,
    ) -> Result<Response<LinkStream>, Status> {
        observe("Link", async {
            let caller = self.0.caller(request.metadata(), Scope::Node)?;
            let (open, opened) = oneshot::channel();
            let gone = CancellationToken::new();
            // The node's words are read beside the stream that answers them; either end stops the other.
            tokio::spawn(listen(self.0.exchange.clone(), request.into_inner(), open, gone.clone()));
            let expired = sleep(caller.expiry.duration_since(SystemTime::now()).unwrap_or_default());
            let state = NodeStream {
                opening: Some(opened),
                first: VecDeque::new(),
                messages: None,
                expired: Box::pin(expired),
                draining: self.0.draining.clone(),
                is_over: false,
                _gone: gone.drop_guard(),
                _open: self.0.open_streams.token(),
            };
            let messages = stream::unfold(state, |mut state| async { Some((state.next().await?, state)) });
            Ok(Box::pin(messages) as LinkStream)
        })
        .await
    }
}

/// What a node is told: Welcome, its plans, Synced, then whatever comes.
struct NodeStream {
    opening: Option<oneshot::Receiver<Result<LinkOpened, Status>>>,
    first: VecDeque<ToNode>,
    messages: Option<LinkInlet>,
    expired: Pin<Box<Sleep>>,
    draining: CancellationToken,
    is_over: bool,
    _gone: DropGuard,
    _open: TaskTrackerToken,
}

impl NodeStream {
    async fn next(&mut self) -> Option<Result<v1::ControlToNode, Status>> {
        if self.is_over {
            return None;
        }
        let next = tokio::select! {
            biased;
            () = &mut self.expired => Err(Refusal::Expired.status()),
            () = self.draining.cancelled() => Err(ExchangeError::Stopped.status()),
            next = message(&mut self.opening, &mut self.first, &mut self.messages) => next.transpose()?,
        };
        self.is_over = next.is_err();
        Some(next)
    }
}

/// The next message of a link; `None` after the node's goodbye. Cancel-safe.
async fn message(
    opening: &mut Option<oneshot::Receiver<Result<LinkOpened, Status>>>,
    first: &mut VecDeque<ToNode>,
    messages: &mut Option<LinkInlet>,
) -> Result<Option<v1::ControlToNode>, Status> {
    if let Some(opened) = opening {
        let LinkOpened { plans, messages: rest, .. } =
            opened.await.unwrap_or_else(|_| Err(ExchangeError::Stopped.status()))?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        first.push_back(ToNode::Welcome(v1::Welcome { version, stats_interval_ms: STATS_INTERVAL_MS }));
        first.extend(plans.iter().map(|plan| ToNode::Plan(plan.into())));
        first.push_back(ToNode::Synced(v1::Synced {}));
        (*opening, *messages) = (None, Some(rest));
    }
    if let Some(kind) = first.pop_front() {
        return Ok(Some(v1::ControlToNode { kind: Some(kind) }));
    }
    let Some(inlet) = messages else { return Err(ExchangeError::Stopped.status()) };
    match inlet.next().await {
        Next::Item(message) => Ok(Some(message)),
        Next::End(why) => errors::link_end(why).map_or(Ok(None), Err),
        Next::Closed => Err(ExchangeError::Stopped.status()),
    }
}

/// Reads what the node says until it says no more, or nobody sends to it any more.
async fn listen(
    exchange: Exchange,
    mut words: Streaming<v1::NodeToControl>,
    open: oneshot::Sender<Result<LinkOpened, Status>>,
    gone: CancellationToken,
) {
    let up = match tokio::time::timeout(HELLO_TIMEOUT, hello(&mut words)).await {
        Ok(Ok(up)) => up,
        Ok(Err(failure)) => return drop(open.send(Err(failure))),
        Err(_) => return drop(open.send(Err(hello_expected()))),
    };
    let node = up.node.clone();
    let opened = match exchange.link_up(up).await {
        Ok(opened) => opened,
        Err(error) => return drop(open.send(Err(error.status()))),
    };
    let link = opened.id;
    if open.send(Ok(opened)).is_ok() {
        tokio::select! {
            () = gone.cancelled() => {}
            () = read(&exchange, &node, link, &mut words) => {}
        }
    }
    exchange.link_gone(node, link);
}

async fn hello(words: &mut Streaming<v1::NodeToControl>) -> Result<NodeUp, Status> {
    match words.message().await {
        Ok(Some(v1::NodeToControl { kind: Some(FromNode::Hello(hello)) })) => node_up(hello),
        Err(failure) if failure.code() != Code::Internal => Err(failure),
        // Something else, nothing, or what cannot be read.
        Ok(_) | Err(_) => Err(hello_expected()),
    }
}

fn hello_expected() -> Status {
    status(Reason::HelloExpected, "the first message of a node, within 10 s, must be its Hello")
}

fn node_up(hello: v1::Hello) -> Result<NodeUp, Status> {
    let node = fields::id("node_id", &hello.node_id)?;
    let boot_ok = !hello.boot_id.is_empty() && hello.boot_id.len() <= TEXT_MAX;
    if !boot_ok || !hello.boot_id.bytes().all(|byte| byte.is_ascii_graphic()) {
        let allowed = "1-64 printable ASCII characters, fresh for every start";
        return Err(fields::invalid("boot_id", &InvalidId { what: "boot id", allowed }));
    }
    Ok(NodeUp { node, boot: hello.boot_id, leg_capacity: hello.leg_capacity })
}

async fn read(exchange: &Exchange, node: &NodeId, link: LinkId, words: &mut Streaming<v1::NodeToControl>) {
    // How the stream ends makes no difference: the link is gone.
    while let Ok(Some(word)) = words.message().await {
        match word.kind.map(said) {
            Some(Ok(Some(said))) => {
                if exchange.node_said(node.clone(), link, said).await.is_err() {
                    return;
                }
            }
            Some(Ok(None)) => {}
            Some(Err(_)) | None => {
                metrics::node_message_invalid();
                tracing::warn!(%node, "a message of the node makes no sense and was dropped; do the versions match?");
            }
        }
    }
}

/// A node's message as the exchange knows it; `None` if there is nothing to do.
fn said(word: FromNode) -> Result<Option<NodeSaid>, InvalidId> {
    Ok(match word {
        FromNode::Hello(_) => return Err(InvalidId { what: "message", allowed: "one Hello" }),
        FromNode::LegAnswer(answer) => Some(leg_answer(answer)),
        FromNode::LegChanged(changed) => {
            let report = match changed.state() {
                v1::LegState::Connected if changed.without_pictures => LegReport::WithoutPictures,
                v1::LegState::Connected => LegReport::Connected,
                v1::LegState::Stalled => LegReport::Stalled,
                v1::LegState::Closed => LegReport::Closed,
                v1::LegState::Unspecified => {
                    return Err(InvalidId { what: "leg state", allowed: "a known state" });
                }
            };
            Some(NodeSaid::LegReport { call: changed.call_id.parse()?, leg: changed.leg_id.parse()?, report })
        }
        FromNode::Goodbye(_) => Some(NodeSaid::Goodbye),
        FromNode::Stats(stats) => Some(NodeSaid::Load(stats.load)),
        FromNode::PlanResult(result) if result.applied => None,
        FromNode::PlanResult(result) => {
            let node_has = Generation(result.generation);
            Some(NodeSaid::PlanRefused { call: result.call_id.parse()?, node_has })
        }
    })
}

fn leg_answer(answer: v1::LegAnswer) -> NodeSaid {
    use v1::leg_answer::Result as Wire;
    let result = match answer.result {
        Some(Wire::SdpAnswer(sdp)) if sdp.len() <= duocast_wire::MAX_SDP_BYTES => Ok(sdp),
        Some(Wire::Refused(refused)) => Err(refusal(&refused)),
        Some(Wire::SdpAnswer(_)) | None => Err(refusal(&v1::LegRefused::default())),
    };
    NodeSaid::LegAnswer { request_id: answer.request_id, answer: result }
}

/// A node's refusal, with a reason and a sentence that are fit to be passed on.
fn refusal(refused: &v1::LegRefused) -> LegFailure {
    let is_reason = |text: &str| {
        (1..=TEXT_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
    };
    if !is_reason(&refused.reason) || refused.message.is_empty() {
        let message = "the router failed on this offer: report it with the time it happened".into();
        return LegFailure::Refused { reason: "INTERNAL".into(), message };
    }
    let message = refused.message.chars().take(SENTENCE_MAX).collect();
    LegFailure::Refused { reason: refused.reason.clone(), message }
}
