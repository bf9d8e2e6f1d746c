//! Random histories against a reference model small enough to trust.
//!
//! The model knows nothing of sessions, logs, plans or timers: it keeps one flat record per call and works out deadlines by
//! looking at every call. After each step both must agree on every call's state as each account sees it and on the answer.
//!
//! Every run prints its seeds on failure; `DUOCAST_SEED=123 cargo nextest run -p duocast-control-core histories` replays one.

#![allow(clippy::print_stderr, reason = "the seed replays a failure")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use duocast_control_core::Limits;
use duocast_control_core::budget::Rate;
use duocast_control_core::switchboard::{CommandError, LegOrder, LegReport, PlaceError, Rates};
use duocast_model::CallState::{self, Accepted, Created, Ended, Live, Ringing};
use duocast_model::{CallId, EndReason};
use support::{World, account};

const SEEDS: u64 = 4_000;
const STEPS: usize = 200;
const DEVICES: [&str; 5] = ["ann/1", "ann/2", "ben/1", "ben/2", "cat/1"];
const PEOPLE: [&str; 3] = ["ann", "ben", "cat"];

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

fn owner(device: &str) -> &str {
    device.split('/').next().unwrap()
}

#[derive(Debug, Clone)]
struct Leg {
    order: LegOrder,
    up: bool,
}

#[derive(Debug)]
struct Model {
    now: u64,
    /// Device -> when its stream broke (`None`: open). Absent: no session.
    devices: BTreeMap<&'static str, Option<u64>>,
    calls: BTreeMap<CallId, ModelCall>,
}

#[derive(Debug)]
struct ModelCall {
    people: [&'static str; 2],
    /// The device each party is on; the callee's is known after the answer.
    on: [Option<&'static str>; 2],
    /// Devices of the callee whose session was there all the time since it began to ring on them.
    rings_on: Vec<&'static str>,
    state: CallState,
    created: u64,
    accepted: u64,
    ended: u64,
    legs: BTreeMap<&'static str, Leg>,
    away: [Option<u64>; 2],
}

impl ModelCall {
    fn before_accept(&self) -> bool {
        matches!(self.state, Created | Ringing)
    }

    fn over(&self) -> bool {
        matches!(self.state, Ended(_))
    }

    fn end(&mut self, now: u64, why: EndReason) {
        self.ended = now;
        self.state = Ended(why);
        self.legs.clear();
        self.away = [None, None];
    }

    fn up(&self, party: usize) -> bool {
        self.on[party].and_then(|d| self.legs.get(d)).is_some_and(|l| l.up)
    }

    /// After something about legs changed at `now`.
    fn look(&mut self, now: u64, party: usize) {
        if matches!(self.state, Accepted | Live) {
            self.away[party] = if self.up(party) { None } else { self.away[party].or(Some(now)) };
        }
        self.go_live();
    }

    fn go_live(&mut self) {
        if self.state == Accepted && self.up(0) && self.up(1) {
            self.state = Live;
        }
    }
}

impl Model {
    fn engaged(&mut self, person: &str) -> Option<(CallId, &mut ModelCall)> {
        let mine = |c: &ModelCall| !c.over() && c.people.contains(&person);
        self.calls.iter_mut().find(|(_, c)| mine(c)).map(|(id, c)| (*id, c))
    }

    /// The earliest thing that is due, if it is due by `end`. The order at one moment is that of the core's reasons.
    fn next_due(&self, end: u64) -> Option<(u64, u8, Due)> {
        let mut all = Vec::new();
        for (id, c) in self.calls.iter().filter(|(_, c)| !c.over()) {
            if c.before_accept() {
                all.push((c.created + 45_000, 0, Due::Ring(*id)));
            }
            if c.state == Accepted {
                all.push((c.accepted + 30_000, 1, Due::Connect(*id)));
            }
            all.extend(c.away.iter().flatten().map(|at| (at + 30_000, 2, Due::Away(*id))));
        }
        for (device, broken) in &self.devices {
            all.extend(broken.map(|at| (at + 30_000, 3, Due::Expire(device))));
        }
        all.into_iter().filter(|(at, ..)| *at <= end).min()
    }

    fn wait(&mut self, by: u64) {
        let end = self.now + by;
        while let Some((at, _, due)) = self.next_due(end) {
            self.now = self.now.max(at);
            match due {
                Due::Ring(id) => self.calls.get_mut(&id).unwrap().end(self.now, EndReason::TimedOut),
                Due::Connect(id) => self.calls.get_mut(&id).unwrap().end(self.now, EndReason::MediaFailed),
                Due::Away(id) => self.calls.get_mut(&id).unwrap().end(self.now, EndReason::PartyLost),
                Due::Expire(device) => {
                    self.devices.remove(device);
                    for c in self.calls.values_mut().filter(|c| c.before_accept()) {
                        c.rings_on.retain(|d| *d != device);
                        if c.on[0] == Some(device) {
                            c.end(self.now, EndReason::PartyLost);
                        } else if c.people[1] == owner(device) {
                            c.legs.remove(device);
                        }
                    }
                }
            }
        }
        self.now = end;
        // An ended call answers for a minute.
        self.calls.retain(|_, c| !c.over() || c.ended + 60_000 > end);
    }

    fn online(&mut self, device: &'static str) {
        let resumed = self.devices.insert(device, None).is_some();
        if let Some((_, call)) = self.engaged(owner(device))
            && call.before_accept()
            && call.people[1] == owner(device)
        {
            if !resumed {
                call.rings_on.push(device);
            }
            call.state = Ringing;
        }
    }

    fn place(&mut self, device: &'static str, callee: &'static str) -> Result<CallState, PlaceError> {
        let caller = owner(device);
        if let Some((_, call)) = self.engaged(caller) {
            let theirs = call.before_accept() && call.people[0] == callee;
            return Err(if theirs { PlaceError::PeerIsCalling } else { PlaceError::AlreadyInCall });
        }
        let devices: Vec<_> = self.devices.iter().filter(|(d, _)| owner(d) == callee).collect();
        if devices.is_empty() {
            return Err(PlaceError::CalleeOffline);
        }
        let reached = devices.iter().any(|(_, broken)| broken.is_none());
        Ok(match self.engaged(callee) {
            Some(_) => Ended(EndReason::Busy),
            None if reached => Ringing,
            None => Created,
        })
    }

    fn placed(&mut self, id: CallId, device: &'static str, callee: &'static str, state: CallState) {
        let rings_on = self.devices.keys().copied().filter(|d| owner(d) == callee).collect();
        let call = ModelCall {
            people: [owner(device), callee],
            on: [Some(device), None],
            rings_on,
            state,
            created: self.now,
            accepted: 0,
            ended: if matches!(state, Ended(_)) { self.now } else { 0 },
            legs: BTreeMap::new(),
            away: [None, None],
        };
        self.calls.insert(id, call);
    }

    fn accept(&mut self, device: &'static str, id: CallId) -> Result<CallState, CommandError> {
        let now = self.now;
        let call = self.calls.get_mut(&id).filter(|c| c.people.contains(&owner(device)));
        let call = call.ok_or(CommandError::CallUnknown)?;
        if call.people[0] == owner(device) {
            return Err(CommandError::NotTheCallee);
        }
        match call.state {
            Ended(why) => Err(CommandError::CallEnded(why)),
            Created => Err(CommandError::NotRinging),
            Ringing if !call.rings_on.contains(&device) => Err(CommandError::NotRinging),
            Ringing => {
                let caller = call.on[0].unwrap();
                call.on[1] = Some(device);
                call.legs.retain(|d, _| *d == caller || *d == device);
                call.state = Accepted;
                call.accepted = now;
                call.go_live();
                Ok(call.state)
            }
            state if call.on[1] == Some(device) => Ok(state),
            _ => Err(CommandError::AnsweredElsewhere),
        }
    }

    fn decline(&mut self, device: &'static str, id: CallId) -> Result<CallState, CommandError> {
        let now = self.now;
        let call = self.calls.get_mut(&id).filter(|c| c.people.contains(&owner(device)));
        let call = call.ok_or(CommandError::CallUnknown)?;
        if call.people[0] == owner(device) {
            return Err(CommandError::NotTheCallee);
        }
        match call.state {
            Ended(EndReason::Declined) => Ok(call.state),
            Ended(why) => Err(CommandError::CallEnded(why)),
            Accepted | Live => Err(CommandError::AlreadyAnswered),
            Created => Err(CommandError::NotRinging),
            Ringing => {
                call.end(now, EndReason::Declined);
                Ok(call.state)
            }
        }
    }

    fn hang_up(&mut self, device: &'static str, id: CallId) -> Result<CallState, CommandError> {
        let call = self.calls.get(&id).filter(|c| c.people.contains(&owner(device)));
        let call = call.ok_or(CommandError::CallUnknown)?;
        let party = usize::from(call.people[1] == owner(device));
        let seated = call.on[party].filter(|d| self.devices.contains_key(d));
        if !call.over() && seated.is_some_and(|d| d != device) {
            return Err([CommandError::NotOnThisDevice, CommandError::AnsweredElsewhere][party]);
        }
        if call.before_accept() && party == 1 {
            return self.decline(device, id);
        }
        let now = self.now;
        let call = self.calls.get_mut(&id).unwrap();
        if call.before_accept() {
            call.end(now, EndReason::Cancelled);
        } else if !call.over() {
            call.end(now, EndReason::HungUp);
        }
        Ok(call.state)
    }

    fn may_connect(&self, device: &'static str, id: CallId) -> Result<(), CommandError> {
        let call = self.calls.get(&id).filter(|c| c.people.contains(&owner(device)));
        let call = call.ok_or(CommandError::CallUnknown)?;
        match call.state {
            Ended(why) => Err(CommandError::CallEnded(why)),
            _ if call.on.contains(&Some(device)) => Ok(()),
            _ if call.before_accept() && call.rings_on.contains(&device) => Ok(()),
            Accepted | Live if call.people[1] == owner(device) => Err(CommandError::AnsweredElsewhere),
            _ => Err(CommandError::NotOnThisDevice),
        }
    }

    fn leg(&mut self, device: &'static str, id: CallId, order: Option<LegOrder>, up: Option<bool>) {
        let now = self.now;
        let Some(call) = self.calls.get_mut(&id).filter(|c| !c.over()) else { return };
        match (order, up) {
            (Some(order), _) => {
                call.legs.insert(device, Leg { order, up: false });
            }
            (None, Some(up)) => {
                let Some(leg) = call.legs.get_mut(device) else { return };
                leg.up = up;
            }
            (None, None) => {
                call.legs.remove(device);
            }
        }
        if let Some(party) = call.on.iter().position(|d| *d == Some(device)) {
            call.look(now, party);
        }
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Ring(CallId),
    Connect(CallId),
    Away(CallId),
    Expire(&'static str),
}

fn step(world: &mut World, model: &mut Model, random: &mut Random) -> String {
    let device = random.pick(&DEVICES);
    let ids: Vec<CallId> = model.calls.keys().rev().take(2).copied().collect();
    let id = if ids.is_empty() { CallId::from_u128(0) } else { ids[random.below(ids.len())] };
    let has_session = model.devices.contains_key(device);
    let open = model.devices.get(device) == Some(&None);
    match random.below(16) {
        0..=2 if !open => {
            world.online(device).unwrap();
            model.online(device);
            format!("{device} online")
        }
        3 if open => {
            world.offline(device);
            model.devices.insert(device, Some(model.now));
            format!("{device} offline")
        }
        4 | 5 => {
            let ms = [20, 700, 5_000, 15_000, 31_000, 46_000][random.below(6)] + random.below(10) as u64;
            world.wait(Duration::from_millis(ms));
            model.wait(ms);
            format!("{ms} ms pass")
        }
        6 | 7 if has_session => {
            let callee = random.pick(&PEOPLE);
            if callee == owner(device) {
                return "nothing".into();
            }
            let expected = model.place(device, callee);
            let got = world.place(device, callee);
            assert_eq!(
                got.as_ref().map(|v| v.state),
                expected.as_ref().map(|s| *s),
                "{device} calls {callee}"
            );
            if let Ok(view) = got {
                model.placed(view.id, device, callee, expected.unwrap());
            }
            format!("{device} calls {callee}: {expected:?}")
        }
        8 | 9 if has_session => {
            let expected = model.accept(device, id);
            assert_eq!(world.accept(device, id).map(|v| v.state), expected, "{device} accepts");
            format!("{device} accepts: {expected:?}")
        }
        10 if has_session => {
            let expected = model.decline(device, id);
            assert_eq!(world.decline(device, id).map(|v| v.state), expected, "{device} declines");
            format!("{device} declines: {expected:?}")
        }
        11 if has_session && random.below(4) == 0 => {
            let expected = model.hang_up(device, id);
            assert_eq!(world.hang_up(device, id).map(|v| v.state), expected, "{device} hangs up");
            format!("{device} hangs up: {expected:?}")
        }
        12 | 13 if has_session => {
            let expected = model.may_connect(device, id);
            let got = world.connect_leg(device, id, None);
            assert_eq!(got.as_ref().map(|_| ()).map_err(|e| *e), expected, "{device} connects");
            if let Ok(order) = got {
                model.leg(device, id, Some(order.clone()), None);
                // Most legs do come up: else few calls would go live.
                if random.below(4) > 0 {
                    world.report(&order, id, LegReport::Connected);
                    model.leg(device, id, None, Some(true));
                }
            }
            format!("{device} connects: {expected:?}")
        }
        14 | 15 => {
            let order = model.calls.get(&id).and_then(|c| c.legs.get(device)).map(|l| l.order.clone());
            let Some(order) = order else { return "nothing".into() };
            let report = [LegReport::Connected, LegReport::Connected, LegReport::Stalled, LegReport::Closed];
            let report = report[random.below(4)];
            world.report(&order, id, report);
            let up = (report != LegReport::Closed).then_some(report == LegReport::Connected);
            model.leg(device, id, None, up);
            format!("node: {device} {report:?}")
        }
        _ => "nothing".into(),
    }
}

fn check(world: &World, model: &Model) {
    for (id, call) in &model.calls {
        for person in call.people {
            let state = world.board.call(&account(person), *id).map(|view| view.state);
            assert_eq!(state, Some(call.state), "as {person} sees it");
        }
        for other in PEOPLE.iter().filter(|p| !call.people.contains(p)) {
            assert_eq!(world.board.call(&account(other), *id), None);
        }
        let routes = world.plan(*id).map_or(0, |p| p.routes().len());
        let both_have_legs = call.on.iter().all(|d| d.is_some_and(|d| call.legs.contains_key(d)));
        let flows = matches!(call.state, Accepted | Live) && both_have_legs;
        assert_eq!(routes, if flows { 2 } else { 0 }, "media is let through exactly when it should be");
    }
    // What a device with an open stream holds is what there is.
    for (name, broken) in &model.devices {
        let device = &world.devices[*name];
        assert_eq!(device.stream.is_some(), broken.is_none(), "{name}");
        for (id, kept) in device.calls.iter().filter(|_| broken.is_none()) {
            let Some(call) = model.calls.get(id) else { continue };
            let elsewhere = kept.state == Ended(EndReason::AnsweredElsewhere);
            assert!(
                elsewhere || kept.state == call.state,
                "{name} holds {:?}, it is {:?}",
                kept.state,
                call.state
            );
        }
    }
}

fn run(seed: u64) {
    let mut random = Random(seed);
    // How often one may do what has stories of its own (tests/budgets.rs); here it would only end the histories early.
    let often = Rate::new(10_000, Duration::from_secs(1));
    let rates = Rates {
        rings_by_caller: often,
        rings_to_callee: often,
        rings_of_pair: often,
        requests: often,
        legs: often,
        broadcasts: often,
        watches: often,
        direct: often,
    };
    let mut world = World::without_node(Limits { rates, ..Limits::default() });
    world.node_up("n1", "boot-1");
    let mut model = Model { now: world.now.0, devices: BTreeMap::new(), calls: BTreeMap::new() };
    let mut history = Vec::new();
    for _ in 0..STEPS {
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let told = step(&mut world, &mut model, &mut random);
            check(&world, &model);
            told
        }));
        match told {
            Ok(told) => history.push(told),
            Err(panic) => {
                history.retain(|line| line != "nothing");
                eprintln!("DUOCAST_SEED={seed}\n  {}", history.join("\n  "));
                std::panic::resume_unwind(panic);
            }
        }
    }
}

#[test]
fn random_histories_agree_with_the_reference_model() {
    match std::env::var("DUOCAST_SEED") {
        Ok(seed) => run(seed.parse().expect("DUOCAST_SEED is a number")),
        Err(_) => (0..SEEDS).for_each(run),
    }
}
