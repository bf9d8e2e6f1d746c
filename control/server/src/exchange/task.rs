//! The exchange's loop: wait in one place, take a batch, ask the switchboard, write, then tell.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use duocast_control_core::call::CallRecord;
use duocast_control_core::session::{Person, Sequenced, StreamId};
use duocast_control_core::switchboard::{LegReport, NodeUp, StreamEnd, Subscribe, SubscribeError};
use duocast_control_core::{Effect, Limits, Switchboard};
use duocast_model::{AccountId, CallId, NodeId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::links::{ClosedLeg, LegAnswer, LinkEnd, LinkId, Links, Offer};
use super::outlet::{Outlet, PushError, outlet};
use super::presence::{Presence, Told};
use super::{Command, ConnectLeg, Gone, LinkOpened, NodeSaid, Opened, Reply, StreamClose, Tuning};
use crate::clock::Clock;
use crate::metrics;
use crate::store::{RefusedCall, Store, StoreError, Watch, Watched};

/// Commands taken at once. Higher makes larger transactions and later answers; lower writes more often.
const BATCH: usize = 256;

/// How long after a failed write the next one is tried, if no command comes first.
const WRITE_RETRY: Duration = Duration::from_secs(1);

/// What the task reads.
pub(super) struct Inputs {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) noticed: mpsc::UnboundedReceiver<Gone>,
    pub(super) stop: CancellationToken,
}

/// Something to tell, once what came before it is written.
enum Output {
    Effect(Effect),
    Reply(Reply),
    Offer(Offer),
}

/// The exchange's state.
pub(super) struct Task {
    board: Switchboard,
    clock: Clock,
    store: Store,
    streams: BTreeMap<StreamId, Outlet<Sequenced, StreamClose>>,
    links: Links,
    presence: Presence,
    told: Told,
    notices: mpsc::UnboundedSender<Gone>,
    outbox: VecDeque<Output>,
    /// The newest state of each call that is not written yet.
    unwritten: BTreeMap<CallId, CallRecord>,
    inputs: Inputs,
    tuning: Tuning,
}

impl Task {
    /// Takes up every call that the store has open.
    pub(super) async fn restore(
        store: Store,
        limits: Limits,
        tuning: Tuning,
        inputs: Inputs,
        notices: mpsc::UnboundedSender<Gone>,
    ) -> Result<Self, StoreError> {
        let clock = Clock::start();
        let mut board = Switchboard::new(limits);
        let open = store.open_calls().await?;
        tracing::info!(calls = open.len(), "calls were taken up from the database");
        for call in open {
            board.handle_restore(clock.now(), call);
        }
        Ok(Self {
            board,
            clock,
            presence: Presence::new(store.clone(), clock),
            store,
            streams: BTreeMap::new(),
            links: Links::new(tuning.offer_timeout),
            told: Told::default(),
            notices,
            outbox: VecDeque::new(),
            unwritten: BTreeMap::new(),
            inputs,
            tuning,
        })
    }

    pub(super) async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = self.inputs.stop.cancelled() => break,
                Some(gone) = self.inputs.noticed.recv() => self.gone(gone),
                watched = self.presence.next() => self.tell_watchers(watched),
                taken = self.inputs.commands.recv_many(&mut batch, BATCH) => match taken {
                    0 => break,
                    _ => batch.drain(..).for_each(|command| self.apply(command)),
                },
                () = sleep_until(deadline) => {}
            }
            self.handle_timeouts();
            self.settle().await;
        }
    }

    /// When there is something to do even if nobody says anything.
    fn deadline(&self) -> Instant {
        let board = self.board.poll_timeout().map(|(at, _)| self.clock.instant(at));
        let retry = (!self.unwritten.is_empty()).then(|| Instant::now() + WRITE_RETRY);
        let hour = Instant::now() + Duration::from_secs(3600);
        [board, self.links.poll_timeout(), retry].into_iter().flatten().fold(hour, Instant::min)
    }

    fn handle_timeouts(&mut self) {
        let now = self.clock.now();
        contain(|| self.board.handle_timeout(now));
        let closed = self.links.handle_timeout(Instant::now());
        self.legs_closed(closed);
    }

    /// Writes what was decided and tells it. Telling may close streams and links, which is decided upon in turn: each round
    /// closes at least one, so the rounds end.
    async fn settle(&mut self) {
        self.collect();
        while !self.outbox.is_empty() || !self.unwritten.is_empty() {
            let written = self.write().await;
            while let Some(output) = self.outbox.pop_front() {
                self.tell(output);
            }
            self.collect();
            if !written {
                break;
            }
        }
    }

    /// Sorts the switchboard's effects: what is to be written, and what is to be told after it.
    fn collect(&mut self) {
        while let Some(effect) = self.board.poll_effect() {
            match effect {
                Effect::Record(call) => {
                    metrics::call_recorded(&call);
                    self.unwritten.insert(call.id, *call);
                }
                effect => self.outbox.push_back(Output::Effect(effect)),
            }
        }
    }

    /// Writes in one transaction. If the store fails, calls go on: people who talk are worth more than the record that they
    /// did. What was not written stays here, one record for each call, and is tried again.
    async fn write(&mut self) -> bool {
        if self.unwritten.is_empty() {
            return true;
        }
        let calls = Arc::new(self.unwritten.values().cloned().collect::<Vec<_>>());
        let started = Instant::now();
        let result = self.store.save_calls(calls.clone()).await;
        metrics::store_batch(started.elapsed(), result.is_ok());
        match result {
            Ok(refused) => {
                self.unwritten.clear();
                // Trying again would be refused again. The call goes on, and its next change is tried.
                for RefusedCall { call, error } in refused {
                    metrics::call_record_refused();
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(%call, error, "the database refuses this call's record; please report it");
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, calls = calls.len(), "calls could not be written; trying again");
                return false;
            }
        }
        true
    }

    /// One command. A panic in it ends it and nothing else: its answer is dropped, and who asked is told so.
    fn apply(&mut self, command: Command) {
        contain(|| match command {
            Command::Ask(question) => {
                let reply = question(&mut self.board, self.clock.now());
                self.reply(reply);
            }
            Command::Subscribe(ask, answer) => self.subscribe(ask, answer),
            Command::ConnectLeg(ask, answer) => self.connect_leg(ask, answer),
            Command::LinkUp(up, answer) => self.link_up(up, answer),
            Command::NodeSaid(node, link, said) => self.node_said(&node, link, said),
            Command::Changed(watches) => watches.into_iter().for_each(|watch| self.changed(watch)),
        });
    }

    /// Queues an answer behind the effects that came with it.
    fn reply(&mut self, reply: Reply) {
        self.collect();
        self.outbox.push_back(Output::Reply(reply));
    }

    fn subscribe(&mut self, ask: Subscribe, answer: oneshot::Sender<Result<Opened, SubscribeError>>) {
        let opened = self.board.handle_subscribe(self.clock.now(), ask).map(|subscribed| {
            let gone = Gone::Stream(subscribed.session, subscribed.stream);
            let (outlet, events) = outlet(self.tuning.stream_queue, &self.notices, gone);
            self.streams.insert(subscribed.stream, outlet);
            Opened { subscribed, events }
        });
        // If nobody waits any more, the stream's reader is dropped with the answer and noticed as gone.
        self.reply(Box::new(move || drop(answer.send(opened))));
    }

    fn connect_leg(&mut self, ask: ConnectLeg, answer: oneshot::Sender<LegAnswer>) {
        let ConnectLeg { account, session, call, present, fresh, sdp_offer } = ask;
        let now = self.clock.now();
        match self.board.handle_connect_leg(now, &account, session, call, present, fresh) {
            Err(error) => self.reply(Box::new(move || drop(answer.send(Err(error.into()))))),
            Ok(order) => {
                // The plan that has the leg goes into the same queue before the offer.
                self.collect();
                let is_new = order.leg == fresh;
                let offer = Offer { node: order.node, call, leg: order.leg, is_new, sdp_offer, answer };
                self.outbox.push_back(Output::Offer(offer));
            }
        }
    }

    fn link_up(&mut self, up: NodeUp, answer: oneshot::Sender<LinkOpened>) {
        tracing::info!(node = %up.node, legs = up.leg_capacity, "node linked");
        let (id, messages, closed) = self.links.open(&up.node, &self.notices);
        self.legs_closed(closed);
        // What is queued for the node by now belongs to its older link: the plans that it gets here are newer.
        self.collect();
        let node = up.node.clone();
        self.outbox.retain(
            |output| !matches!(output, Output::Effect(Effect::SendPlan { node: to, .. }) if *to == node),
        );
        let plans = self.board.handle_node_up(self.clock.now(), up);
        self.reply(Box::new(move || drop(answer.send(LinkOpened { id, plans, messages }))));
    }

    fn node_said(&mut self, node: &NodeId, link: LinkId, said: NodeSaid) {
        if !self.links.is_current(node, link) {
            return;
        }
        match said {
            NodeSaid::LegAnswer { request_id, answer } => {
                let closed = self.links.answer(node, request_id, answer);
                self.legs_closed(closed);
            }
            NodeSaid::LegReport { call, leg, report } => {
                self.board.handle_leg_report(self.clock.now(), node, call, leg, report);
            }
            NodeSaid::Load(load) => self.board.handle_node_load(node, load),
            NodeSaid::PlanRefused { call, node_has } => {
                metrics::plan_refused();
                self.board.handle_plan_refused(self.clock.now(), node, call, node_has);
                tracing::warn!(%node, %call, %node_has, "the node refused a plan that is not newer than its own");
            }
            NodeSaid::Goodbye => {
                // Who waits for an answer of this node hears first that it is away; then the call asks for a new leg.
                let closed = self.links.end(node, LinkEnd::Left);
                self.legs_closed(closed);
                let moved = self.board.handle_node_leaving(self.clock.now(), node);
                tracing::info!(%node, moved, "node stops as planned; its calls were moved to other nodes");
            }
        }
    }

    fn gone(&mut self, gone: Gone) {
        match gone {
            Gone::Stream(session, stream) => {
                self.streams.remove(&stream);
                self.board.handle_stream_closed(self.clock.now(), session, stream);
            }
            Gone::Link(node, link) => {
                if self.links.is_current(&node, link) {
                    tracing::warn!(%node, "node link lost");
                    self.link_down(&node, LinkEnd::TakenOver);
                }
            }
        }
    }

    fn link_down(&mut self, node: &NodeId, why: LinkEnd) {
        let closed = self.links.end(node, why);
        self.board.handle_node_down(self.clock.now(), node);
        self.legs_closed(closed);
    }

    fn legs_closed(&mut self, closed: impl IntoIterator<Item = ClosedLeg>) {
        for ClosedLeg { node, call, leg } in closed {
            self.board.handle_leg_report(self.clock.now(), &node, call, leg, LegReport::Closed);
        }
    }

    /// Of accounts that are not here, and that nobody thinks to be here, there is nothing to tell.
    fn changed(&mut self, watch: Watch) {
        let is_here = |account| self.board.is_online(account) || self.told.is_online(account);
        let matters = match &watch {
            Watch::Account(account) | Watch::Both(account) => is_here(account),
            Watch::Pair(one, other) => is_here(one) || is_here(other),
        };
        if matters {
            self.presence.changed(watch);
        }
    }

    fn tell_watchers(&mut self, watched: Vec<Watched>) {
        for Watched { account, person, is_whole, by, of } in watched {
            let online = self.board.is_online(&account);
            for (watcher, may_know) in by {
                self.tell_presence(&watcher, &account, &person, may_know && online);
            }
            if is_whole {
                self.told.settle(&account, &person, online);
            }
            for contact in of {
                let online = contact.visible && self.board.is_online(&contact.account);
                self.tell_presence(&account, &contact.account, &contact.person, online);
            }
        }
    }

    fn tell_presence(&mut self, watcher: &AccountId, who: &AccountId, person: &Person, online: bool) {
        if self.told.is_news(watcher, who, person, online) {
            self.board.handle_contact(self.clock.now(), watcher, person, online);
        }
    }

    fn tell(&mut self, output: Output) {
        match output {
            Output::Reply(reply) => reply(),
            Output::Offer(offer) => {
                let node = offer.node.clone();
                match self.links.offer(Instant::now(), offer) {
                    Ok(closed) => self.legs_closed(closed),
                    Err(why) => self.link_down(&node, why),
                }
            }
            Output::Effect(Effect::Deliver { session, stream, event }) => {
                let Some(outlet) = self.streams.get(&stream) else { return };
                let Err(error) = outlet.push(event) else { return };
                if error == PushError::Full {
                    self.close_stream(stream, StreamClose::SlowConsumer);
                }
                self.gone(Gone::Stream(session, stream));
            }
            Output::Effect(Effect::CloseStream { stream, why, .. }) => {
                let why = match why {
                    StreamEnd::TakenOver => StreamClose::TakenOver,
                    StreamEnd::Evicted => StreamClose::Evicted,
                };
                self.close_stream(stream, why);
            }
            Output::Effect(Effect::SendPlan { node, plan }) => {
                if let Err(why) = self.links.send_plan(&node, &plan) {
                    self.link_down(&node, why);
                }
            }
            Output::Effect(Effect::Presence { account, .. }) => {
                self.presence.changed(Watch::Account(account))
            }
            Output::Effect(Effect::Record(_)) => unreachable!("collect() takes records out"),
        }
    }

    fn close_stream(&mut self, stream: StreamId, why: StreamClose) {
        if let Some(outlet) = self.streams.remove(&stream) {
            metrics::stream_closed(why);
            outlet.end(why);
        }
    }
}

/// Runs a step of the switchboard. A panic ends the step, not the process: other calls must not pay for it.
fn contain(step: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(step)).is_err() {
        metrics::panicked();
        tracing::error!("a step of the switchboard panicked; it was given up");
    }
}
