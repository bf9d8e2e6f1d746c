//! A router node by script: speaks the real link, carries no media.

use std::collections::BTreeMap;

use duocast_wire::v1;
use duocast_wire::v1::node_service_client::NodeServiceClient;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use v1::control_to_node::Kind as Told;
use v1::node_to_control::Kind as Says;

use super::{PATIENCE, Wire, in_time, with_token};

/// How the node treats offers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Habit {
    /// Answers, and says that the leg is connected.
    Answer,
    /// Refuses with this reason.
    Refuse(&'static str),
    /// Says nothing.
    Ignore,
}

/// What the node knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// By call.
    pub(crate) plans: BTreeMap<String, v1::RoutePlan>,
    /// Calls that were named before Synced.
    pub(crate) synced: Option<Vec<String>>,
    /// Offers that came for a leg which no plan had: must stay 0.
    pub(crate) offers_before_plan: usize,
    pub(crate) offers: usize,
    /// How the link ended.
    pub(crate) end: Option<Result<(), (tonic::Code, String)>>,
}

pub(crate) struct Node {
    pub(crate) say: mpsc::Sender<v1::NodeToControl>,
    pub(crate) seen: watch::Receiver<Seen>,
    pub(crate) habit: watch::Sender<Habit>,
    running: tokio::task::JoinHandle<()>,
}

impl Node {
    /// Links and waits until it is synced.
    pub(crate) async fn link(api: NodeServiceClient<Wire>, token: &str, name: &str, boot: &str) -> Self {
        let hello = v1::Hello {
            node_id: name.into(),
            boot_id: boot.into(),
            version: "test".into(),
            leg_capacity: 1000,
        };
        let mut node = Self::start(api, token, Says::Hello(hello)).await;
        node.until("synced", |seen| seen.synced.is_some()).await;
        node
    }

    /// Opens the stream and says this first.
    pub(crate) async fn start(mut api: NodeServiceClient<Wire>, token: &str, first: Says) -> Self {
        let (say, words) = mpsc::channel(64);
        say.send(v1::NodeToControl { kind: Some(first) }).await.unwrap();
        let told =
            in_time(api.link(with_token(ReceiverStream::new(words), token))).await.unwrap().into_inner();
        let (habit, habits) = watch::channel(Habit::Answer);
        let (show, seen) = watch::channel(Seen::default());
        let running = tokio::spawn(live(told, say.clone(), habits, show));
        Self { say, seen, habit, running }
    }

    /// Waits until the node saw this.
    pub(crate) async fn until(&mut self, what: &str, is_so: impl FnMut(&Seen) -> bool) -> Seen {
        match tokio::time::timeout(PATIENCE, self.seen.wait_for(is_so)).await {
            Ok(Ok(seen)) => seen.clone(),
            Ok(Err(_)) => panic!("the node ended before: {what}"),
            Err(_) => panic!("never happened: {what}"),
        }
    }

    pub(crate) async fn says(&self, kind: Says) {
        self.say.send(v1::NodeToControl { kind: Some(kind) }).await.unwrap();
    }

    pub(crate) async fn leg(&self, call: &v1::Call, leg_id: &str, state: v1::LegState) {
        let (call_id, leg_id) = (call.call_id.clone(), leg_id.to_owned());
        let (state, without_pictures) = (state.into(), false);
        self.says(Says::LegChanged(v1::LegChanged { call_id, leg_id, state, without_pictures })).await;
    }

    /// A leg is connected, and its client's way carries no picture.
    pub(crate) async fn leg_without_pictures(&self, call: &v1::Call, leg_id: &str) {
        let (call_id, leg_id) = (call.call_id.clone(), leg_id.to_owned());
        let (state, without_pictures) = (v1::LegState::Connected.into(), true);
        self.says(Says::LegChanged(v1::LegChanged { call_id, leg_id, state, without_pictures })).await;
    }

    /// The connection breaks.
    pub(crate) async fn cut(self) {
        self.running.abort();
        let _ = self.running.await;
    }
}

async fn live(
    mut told: Streaming<v1::ControlToNode>,
    say: mpsc::Sender<v1::NodeToControl>,
    habits: watch::Receiver<Habit>,
    show: watch::Sender<Seen>,
) {
    let end = loop {
        match told.message().await {
            Ok(Some(message)) => hear(message, &say, &habits, &show).await,
            Ok(None) => break Ok(()),
            Err(status) => break Err(failure(&status)),
        }
    };
    show.send_modify(|seen| seen.end = Some(end));
    // Keeps what was seen readable.
    show.closed().await;
}

fn failure(status: &Status) -> (tonic::Code, String) {
    (status.code(), duocast_wire::error::reason(status).unwrap_or_else(|| status.message().into()))
}

async fn hear(
    message: v1::ControlToNode,
    say: &mpsc::Sender<v1::NodeToControl>,
    habits: &watch::Receiver<Habit>,
    show: &watch::Sender<Seen>,
) {
    match message.kind.expect("control says something") {
        Told::Welcome(welcome) => assert!(welcome.stats_interval_ms > 0),
        Told::Synced(_) => show.send_modify(|seen| seen.synced = Some(seen.plans.keys().cloned().collect())),
        Told::Plan(plan) => show.send_modify(|seen| {
            let known = seen.plans.get(&plan.call_id).map_or(0, |plan| plan.generation);
            assert!(plan.generation > known, "generations rise");
            seen.plans.insert(plan.call_id.clone(), plan);
        }),
        Told::LegOffer(offer) => {
            let has_leg = |plan: &v1::RoutePlan| plan.legs.iter().any(|leg| leg.leg_id == offer.leg_id);
            show.send_modify(|seen| {
                seen.offers += 1;
                seen.offers_before_plan += usize::from(!seen.plans.get(&offer.call_id).is_some_and(has_leg));
            });
            let habit = habits.borrow().clone();
            answer(offer, habit, say).await;
        }
    }
}

async fn answer(offer: v1::LegOffer, habit: Habit, say: &mpsc::Sender<v1::NodeToControl>) {
    use v1::leg_answer::Result as Answer;
    let result = match habit {
        Habit::Answer => Answer::SdpAnswer(format!("v=0 answer to {}", offer.sdp_offer)),
        Habit::Refuse(reason) => {
            let message = "this offer will not do, send another one".into();
            Answer::Refused(v1::LegRefused { reason: reason.into(), message })
        }
        Habit::Ignore => return,
    };
    let connected = matches!(result, Answer::SdpAnswer(_));
    let answer = v1::LegAnswer { request_id: offer.request_id, result: Some(result) };
    let _ = say.send(v1::NodeToControl { kind: Some(Says::LegAnswer(answer)) }).await;
    if connected {
        let state = v1::LegState::Connected.into();
        let changed =
            v1::LegChanged { call_id: offer.call_id, leg_id: offer.leg_id, state, without_pictures: false };
        let _ = say.send(v1::NodeToControl { kind: Some(Says::LegChanged(changed)) }).await;
    }
}
