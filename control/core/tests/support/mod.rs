//! A small world around the switchboard: accounts with devices that keep what they are told, one node that takes plans.
#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use duocast_control_core::broadcast::BroadcastView;
use duocast_control_core::call::{CallRecord, CallView};
use duocast_control_core::direct::{DirectSignal, DirectStep};
use duocast_control_core::policy::{self, Decision, Facts, Profile, Relation, Situation};
use duocast_control_core::session::{Event, Person, StreamId};
use duocast_control_core::switchboard::{
    CommandError, LegOrder, LegReport, NodeUp, PlaceCall, PlaceError, Recheck, Subscribe, SubscribeError,
};
use duocast_control_core::{Effect, Limits, Switchboard};
use duocast_model::{
    AccountId, CallId, DeviceId, Handle, LegId, NodeId, PrivacySettings, RoutePlan, SessionId, UnixMillis,
};

pub fn account(name: &str) -> AccountId {
    AccountId::new(name).unwrap()
}

pub fn person(name: &str) -> Person {
    Person { handle: Handle::new(name).unwrap(), display_name: name.into() }
}

pub fn node(name: &str) -> NodeId {
    NodeId::new(name).unwrap()
}

/// A device as its client would keep it: the last state of each call, and the last number it processed.
#[derive(Debug, Clone)]
pub struct Device {
    pub account: String,
    pub name: String,
    pub session: Option<SessionId>,
    pub stream: Option<StreamId>,
    pub last_seq: u64,
    pub calls: BTreeMap<CallId, CallView>,
    pub broadcast: Option<BroadcastView>,
    pub contacts: Vec<bool>,
    pub signals: Vec<(CallId, u32, DirectSignal)>,
}

pub struct World {
    pub now: UnixMillis,
    pub board: Switchboard,
    pub devices: BTreeMap<String, Device>,
    pub plans: BTreeMap<(NodeId, CallId), RoutePlan>,
    pub records: BTreeMap<CallId, CallRecord>,
    /// Which ids are broadcasts, of which nothing is recorded.
    pub broadcasts: BTreeSet<CallId>,
    /// Everybody's.
    pub settings: PrivacySettings,
    ids: u128,
}

impl World {
    pub fn new() -> Self {
        let mut world = Self::without_node(Limits::default());
        world.node_up("n1", "boot-1");
        world
    }

    pub fn without_node(limits: Limits) -> Self {
        Self {
            now: UnixMillis(1_000_000),
            board: Switchboard::new(limits),
            devices: BTreeMap::new(),
            plans: BTreeMap::new(),
            records: BTreeMap::new(),
            broadcasts: BTreeSet::new(),
            settings: PrivacySettings::DEFAULT,
            ids: 0,
        }
    }

    fn fresh(&mut self) -> u128 {
        self.ids += 1;
        self.ids
    }

    pub fn node_up(&mut self, name: &str, boot: &str) {
        let up = NodeUp { node: node(name), boot: boot.into(), leg_capacity: 1000 };
        let plans = self.board.handle_node_up(self.now, up);
        let named: Vec<CallId> = plans.iter().map(RoutePlan::call).collect();
        self.plans.retain(|(n, call), _| *n != node(name) || named.contains(call));
        plans.into_iter().for_each(|plan| self.take_plan(node(name), plan));
        self.settle();
    }

    pub fn node_down(&mut self, name: &str) {
        self.board.handle_node_down(self.now, &node(name));
        self.settle();
    }

    pub fn node_leaving(&mut self, name: &str) {
        self.board.handle_node_leaving(self.now, &node(name));
        self.settle();
    }

    /// `device` is `account` or `account/device`.
    pub fn online(&mut self, device: &str) -> Result<(), SubscribeError> {
        let (account_name, _) = device.split_once('/').unwrap_or((device, ""));
        let known = self.devices.get(device).cloned();
        let resume = known.as_ref().and_then(|d| Some((d.session?, d.last_seq)));
        let ask = Subscribe {
            account: account(account_name),
            device: DeviceId::new(&device.replace('/', "-")).unwrap(),
            resume,
            fresh: SessionId::from_u128(self.fresh()),
        };
        let got = self.board.handle_subscribe(self.now, ask)?;
        let mut kept = match known {
            Some(kept) if got.resumed => kept,
            _ => Device {
                account: account_name.into(),
                name: device.into(),
                session: None,
                stream: None,
                last_seq: got.seq,
                calls: BTreeMap::new(),
                broadcast: None,
                contacts: Vec::new(),
                signals: Vec::new(),
            },
        };
        kept.session = Some(got.session);
        kept.stream = Some(got.stream);
        if !got.resumed {
            kept.calls = got.calls.into_iter().map(|c| (c.id, c)).collect();
            kept.broadcast = got.broadcast;
        }
        self.devices.insert(device.into(), kept);
        for event in got.missed {
            self.deliver(device, event.seq, event.event);
        }
        self.settle();
        Ok(())
    }

    /// The stream breaks; the device keeps what it has and may come back.
    pub fn offline(&mut self, device: &str) {
        let kept = self.devices.get_mut(device).unwrap();
        let Some(stream) = kept.stream.take() else { return };
        let session = kept.session.unwrap();
        self.board.handle_stream_closed(self.now, session, stream);
        self.settle();
    }

    /// The client forgets everything but its device id, as after a reinstall or a crash.
    pub fn forget(&mut self, device: &str) {
        self.offline(device);
        self.devices.remove(device);
    }

    pub fn session(&self, device: &str) -> SessionId {
        self.devices[device].session.unwrap_or(SessionId::from_u128(u128::MAX))
    }

    pub fn place_as(&mut self, device: &str, callee: &str, request: &str) -> Result<CallView, PlaceError> {
        let caller = self.devices[device].account.clone();
        let settings = PrivacySettings { calling: true, ..self.settings };
        let situation = Situation { relation: Relation::MUTUAL, ..Situation::strangers(settings, settings) };
        let facts = Facts { caller: account(&caller), callee: account(callee), situation };
        let Decision::Allow(admission) = policy::decide(Profile::Default, &facts) else {
            panic!("mutual contacts may call");
        };
        let ask = PlaceCall {
            session: self.session(device),
            request: request.into(),
            admission,
            caller: person(&caller),
            callee: person(callee),
            fresh: CallId::from_u128(self.fresh()),
            video: false,
        };
        let placed = self.board.handle_place(self.now, ask);
        self.settle();
        placed
    }

    pub fn place(&mut self, device: &str, callee: &str) -> Result<CallView, PlaceError> {
        let request = format!("r{}", self.fresh());
        self.place_as(device, callee, &request)
    }

    fn command(
        &mut self,
        device: &str,
        call: CallId,
        f: fn(&mut Switchboard, UnixMillis, &AccountId, SessionId, CallId) -> Result<CallView, CommandError>,
    ) -> Result<CallView, CommandError> {
        let (who, session) = (account(&self.devices[device].account), self.session(device));
        let answer = f(&mut self.board, self.now, &who, session, call);
        self.settle();
        answer
    }

    pub fn accept(&mut self, device: &str, call: CallId) -> Result<CallView, CommandError> {
        self.command(device, call, Switchboard::handle_accept)
    }

    pub fn decline(&mut self, device: &str, call: CallId) -> Result<CallView, CommandError> {
        self.command(device, call, Switchboard::handle_decline)
    }

    pub fn hang_up(&mut self, device: &str, call: CallId) -> Result<CallView, CommandError> {
        self.command(device, call, Switchboard::handle_hang_up)
    }

    pub fn say_direct(&mut self, device: &str, call: CallId, yes: bool) -> Result<CallView, CommandError> {
        let (who, session) = (account(&self.devices[device].account), self.session(device));
        let answer = self.board.handle_set_direct(self.now, &who, session, call, yes);
        self.settle();
        answer
    }

    pub fn direct_step(
        &mut self,
        device: &str,
        call: CallId,
        attempt: u32,
        step: &DirectStep,
    ) -> Result<(), CommandError> {
        let (who, session) = (account(&self.devices[device].account), self.session(device));
        let answer = self.board.handle_send_direct(self.now, &who, session, call, attempt, step);
        self.settle();
        answer
    }

    pub fn recheck(&mut self, call: CallId, recheck: Recheck) {
        self.board.handle_recheck(self.now, call, recheck);
        self.settle();
    }

    pub fn connect_leg(
        &mut self,
        device: &str,
        call: CallId,
        present: Option<LegId>,
    ) -> Result<LegOrder, CommandError> {
        let (who, session) = (account(&self.devices[device].account), self.session(device));
        let fresh = LegId::from_u128(self.fresh());
        let order = self.board.handle_connect_leg(self.now, &who, session, call, present, fresh);
        self.settle();
        order
    }

    pub fn report(&mut self, order: &LegOrder, call: CallId, report: LegReport) {
        self.board.handle_leg_report(self.now, &order.node, call, order.leg, report);
        self.settle();
    }

    /// Connects a leg and has the node say that it is up.
    pub fn leg_up(&mut self, device: &str, call: CallId) -> LegOrder {
        let order = self.connect_leg(device, call, None).unwrap();
        self.report(&order, call, LegReport::Connected);
        order
    }

    /// Time passes, every deadline on the way at its own moment.
    pub fn wait(&mut self, by: Duration) {
        let end = self.now.plus(by);
        while let Some((at, _)) = self.board.poll_timeout()
            && at <= end
        {
            self.now = self.now.max(at);
            self.board.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    pub fn wait_s(&mut self, seconds: u64) {
        self.wait(Duration::from_secs(seconds));
    }

    pub fn plan(&self, call: CallId) -> Option<&RoutePlan> {
        self.plans.iter().find(|((_, c), _)| *c == call).map(|(_, plan)| plan)
    }

    /// Takes the effects as the shell would.
    pub fn settle(&mut self) {
        while let Some(effect) = self.board.poll_effect() {
            match effect {
                Effect::Record(record) => {
                    self.records.insert(record.id, *record);
                }
                Effect::Deliver { session, stream, event } => {
                    let open = |d: &&mut Device| d.session == Some(session) && d.stream == Some(stream);
                    let name = self.devices.values_mut().find(open).map(|d| d.name.clone());
                    let name = name.expect("events are delivered to open streams only");
                    self.deliver(&name, event.seq, event.event);
                }
                Effect::CloseStream { session, stream, .. } => {
                    for device in self.devices.values_mut() {
                        if device.session == Some(session) && device.stream == Some(stream) {
                            device.stream = None;
                        }
                    }
                }
                Effect::SendPlan { node, plan } => self.take_plan(node, plan),
                Effect::Presence { .. } => {}
            }
        }
    }

    fn take_plan(&mut self, node: NodeId, plan: RoutePlan) {
        let key = (node, plan.call());
        if let Some(present) = self.plans.get(&key) {
            assert!(plan.generation() > present.generation(), "a plan must be newer than the one before");
        }
        if !plan.routes().is_empty() && !self.broadcasts.contains(&plan.call()) {
            let record = &self.records[&plan.call()];
            assert!(
                !record.state.is_before_accept() && !record.state.is_ended(),
                "routes only while answered"
            );
        }
        self.plans.insert(key, plan);
    }

    fn deliver(&mut self, device: &str, seq: u64, event: Event) {
        let kept = self.devices.get_mut(device).unwrap();
        assert_eq!(seq, kept.last_seq + 1, "{device}: nothing missed, nothing repeated");
        kept.last_seq = seq;
        match event {
            Event::Call(view) => {
                if let Some(before) = kept.calls.get(&view.id) {
                    assert!(view.revision >= before.revision, "{device}: a call never goes back");
                }
                kept.calls.insert(view.id, *view);
            }
            Event::Broadcast(view) => {
                let before = kept.broadcast.as_ref().filter(|before| before.id == view.id);
                let is_newer = before.is_none_or(|before| view.revision >= before.revision);
                assert!(is_newer, "{device}: a broadcast never goes back");
                kept.broadcast = Some(*view);
            }
            Event::Contact { online, .. } => kept.contacts.push(online),
            Event::Direct { call, attempt, signal } => kept.signals.push((call, attempt, signal)),
            Event::CallRequest(_) | Event::Settings(_) => {}
        }
    }
}
