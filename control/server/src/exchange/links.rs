//! The links to the router nodes, and the offers that wait for a node's answer.

use std::collections::BTreeMap;
use std::time::Duration;

use duocast_model::{CallId, LegId, NodeId, RoutePlan};
use duocast_wire::v1;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::outlet::{Inlet, Outlet, outlet};
use super::{ConnectError, Gone};
use crate::metrics;

/// Messages that wait for one node. At the bound the node does not read: its link is closed, and when it comes back it gets
/// every plan anew. Higher hides a stuck node for longer, lower cuts nodes off in a burst of calls.
pub(crate) const LINK_QUEUE: usize = 4096;

/// Offers that wait for one node's answers. At the bound further ones answer UNAVAILABLE at once, so that a node in trouble
/// is not given more work than it can do within the time limit.
pub(crate) const OFFERS_MAX: usize = 2048;

/// One link of a node; a newer one has a higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(u64);

/// Why control ends a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkEnd {
    #[error("another process linked with this node_id: give each node its own")]
    TakenOver,
    #[error("the node did not read its link: check its load and link again")]
    SlowNode,
    /// The node said goodbye: the stream ends without an error.
    #[error("the node stops")]
    Left,
}

/// The reading end of a link.
pub(crate) type LinkInlet = Inlet<v1::ControlToNode, LinkEnd, Gone>;

/// What became of an offer.
pub(crate) type LegAnswer = Result<LegConnected, ConnectError>;

/// A node's answer to an offer.
#[derive(Debug)]
pub(crate) struct LegConnected {
    pub(crate) leg: LegId,
    pub(crate) sdp_answer: String,
}

/// Why an offer was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LegFailure {
    #[error("the router that carries this call is away: try again in a few seconds")]
    NodeAway,
    #[error("the router that carries this call is busy: try again in a few seconds")]
    NodeBusy,
    #[error("the router that carries this call did not answer in time: try again")]
    NodeSlow,
    #[error(
        "this leg was replaced, or its call ended, while it was connecting: look at the call, then connect again"
    )]
    LegChanged,
    /// The node's own reason and sentence.
    #[error("{message}")]
    Refused { reason: String, message: String },
}

/// An offer on its way to a node.
pub(crate) struct Offer {
    pub(crate) node: NodeId,
    pub(crate) call: CallId,
    pub(crate) leg: LegId,
    /// The leg was made for this offer: if the offer fails, the leg is no more.
    pub(crate) is_new: bool,
    pub(crate) sdp_offer: String,
    pub(crate) answer: oneshot::Sender<LegAnswer>,
}

/// A leg that is gone because its offer failed: the switchboard must hear of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ClosedLeg {
    pub(crate) node: NodeId,
    pub(crate) call: CallId,
    pub(crate) leg: LegId,
}

struct Waiting {
    call: CallId,
    leg: LegId,
    is_new: bool,
    due: Instant,
    answer: oneshot::Sender<LegAnswer>,
}

struct Link {
    id: LinkId,
    outlet: Outlet<v1::ControlToNode, LinkEnd>,
    /// By request id; ids only grow and all wait equally long, so the first is due first.
    offers: BTreeMap<u64, Waiting>,
}

/// All links. It has one owner, which passes every [`ClosedLeg`] on to the switchboard.
pub(crate) struct Links {
    links: BTreeMap<NodeId, Link>,
    last_link: u64,
    last_request: u64,
    offer_timeout: Duration,
}

impl Links {
    pub(crate) fn new(offer_timeout: Duration) -> Self {
        Self { links: BTreeMap::new(), last_link: 0, last_request: 0, offer_timeout }
    }

    /// A node linked. An older link of the same node ends, with everything that waits on it.
    pub(crate) fn open(
        &mut self,
        node: &NodeId,
        notices: &mpsc::UnboundedSender<Gone>,
    ) -> (LinkId, LinkInlet, Vec<ClosedLeg>) {
        let closed = self.end(node, LinkEnd::TakenOver);
        self.last_link += 1;
        let id = LinkId(self.last_link);
        let (outlet, inlet) = outlet(LINK_QUEUE, notices, Gone::Link(node.clone(), id));
        self.links.insert(node.clone(), Link { id, outlet, offers: BTreeMap::new() });
        (id, inlet, closed)
    }

    /// True if this is the node's present link.
    pub(crate) fn is_current(&self, node: &NodeId, id: LinkId) -> bool {
        self.links.get(node).is_some_and(|link| link.id == id)
    }

    /// Ends the node's present link, if there is one.
    pub(crate) fn end(&mut self, node: &NodeId, why: LinkEnd) -> Vec<ClosedLeg> {
        let Some(link) = self.links.remove(node) else { return Vec::new() };
        link.outlet.end(why);
        link.offers.into_values().filter_map(|waiting| fail(node, waiting, LegFailure::NodeAway)).collect()
    }

    /// Queues a plan for a node, if it is linked. Offers for legs that the plan no longer has are answered.
    /// `Err`: the node does not read and its link must end.
    pub(crate) fn send_plan(&mut self, node: &NodeId, plan: &RoutePlan) -> Result<(), LinkEnd> {
        let Some(link) = self.links.get_mut(node) else { return Ok(()) };
        let dropped = |waiting: &Waiting| waiting.call == plan.call() && !plan.legs().contains(&waiting.leg);
        for (_, waiting) in link.offers.extract_if(.., |_, waiting| dropped(waiting)) {
            // The switchboard took this leg out itself.
            let _ = waiting.answer.send(Err(LegFailure::LegChanged.into()));
        }
        push(link, v1::control_to_node::Kind::Plan(plan.into()))
    }

    /// Queues an offer behind the plans that were sent before it.
    pub(crate) fn offer(&mut self, now: Instant, offer: Offer) -> Result<Option<ClosedLeg>, LinkEnd> {
        let Offer { node, call, leg, is_new, sdp_offer, answer } = offer;
        let waiting = Waiting { call, leg, is_new, due: now + self.offer_timeout, answer };
        let Some(link) = self.links.get_mut(&node) else {
            return Ok(fail(&node, waiting, LegFailure::NodeAway));
        };
        if link.offers.len() >= OFFERS_MAX {
            return Ok(fail(&node, waiting, LegFailure::NodeBusy));
        }
        self.last_request += 1;
        let request_id = self.last_request;
        link.offers.insert(request_id, waiting);
        let (call_id, leg_id) = (call.to_string(), leg.to_string());
        let message = v1::LegOffer { request_id, call_id, leg_id, sdp_offer };
        push(link, v1::control_to_node::Kind::LegOffer(message)).map(|()| None)
    }

    /// A node answered an offer. Answers that nobody waits for any more are dropped.
    pub(crate) fn answer(
        &mut self,
        node: &NodeId,
        request_id: u64,
        answer: Result<String, LegFailure>,
    ) -> Option<ClosedLeg> {
        let waiting = self.links.get_mut(node)?.offers.remove(&request_id)?;
        match answer {
            Ok(sdp_answer) => {
                let _ = waiting.answer.send(Ok(LegConnected { leg: waiting.leg, sdp_answer }));
                None
            }
            Err(failure) => fail(node, waiting, failure),
        }
    }

    /// When the next offer has waited long enough.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.links.values().filter_map(|link| link.offers.values().next()).map(|waiting| waiting.due).min()
    }

    /// Answers the offers that have waited long enough.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<ClosedLeg> {
        let mut closed = Vec::new();
        for (node, link) in &mut self.links {
            while let Some(first) = link.offers.first_entry().filter(|first| first.get().due <= now) {
                closed.extend(fail(node, first.remove(), LegFailure::NodeSlow));
            }
        }
        closed
    }
}

fn push(link: &Link, kind: v1::control_to_node::Kind) -> Result<(), LinkEnd> {
    use super::outlet::PushError;
    match link.outlet.push(v1::ControlToNode { kind: Some(kind) }) {
        Ok(()) => Ok(()),
        Err(PushError::Full) => Err(LinkEnd::SlowNode),
        // The notice that the reader is gone is on its way and does the rest.
        Err(PushError::Gone) => Ok(()),
    }
}

/// Answers a failed offer. A leg that was new, or that the node does not know, is gone with it.
fn fail(node: &NodeId, waiting: Waiting, failure: LegFailure) -> Option<ClosedLeg> {
    metrics::leg_failed(&failure);
    let unknown = matches!(&failure, LegFailure::Refused { reason, .. } if reason == "LEG_UNKNOWN");
    let _ = waiting.answer.send(Err(failure.into()));
    (waiting.is_new || unknown).then(|| ClosedLeg {
        node: node.clone(),
        call: waiting.call,
        leg: waiting.leg,
    })
}
