//! Router nodes come, go and say how their legs are.

use duocast_model::{CallId, Generation, NodeId, RoutePlan, UnixMillis};

use super::{Effect, Reason, Switchboard};
use crate::broadcast::BroadcastEnd;
use crate::call::{Call, CallRecord, Trigger};
use crate::placement::{self, NodeView};

/// A node's link came up.
#[derive(Debug)]
pub struct NodeUp {
    /// Which.
    pub node: NodeId,
    /// The start of its process: a new one means that its legs are gone.
    pub boot: String,
    /// Legs it is willing to carry.
    pub leg_capacity: u32,
}

impl Switchboard {
    /// A node's link is up. Gives every plan that the node must have; after them it may drop all else.
    #[must_use]
    pub fn handle_node_up(&mut self, now: UnixMillis, up: NodeUp) -> Vec<RoutePlan> {
        let view = NodeView { down_since: None, leg_capacity: up.leg_capacity, legs_planned: 0, load: 0.0 };
        self.nodes.insert(up.node.clone(), view);
        self.boots.insert(up.node.clone(), up.boot.clone());
        let mut plans = Vec::new();
        for id in self.calls_on(&up.node) {
            if self.place_of(id).is_some_and(|(_, boot)| *boot != up.boot) {
                self.lose_legs(now, id, up.node.clone());
            }
            if let Some(call) = self.calls.get_mut(&id) {
                call.legs_counted = 0;
            } else if let Some(broadcast) = self.broadcasts.by_id.get_mut(&id) {
                broadcast.legs_counted = 0;
            }
            plans.extend(self.next_plan(now, id));
            self.count_legs(id);
        }
        // What was just queued for this node is older than, or the same as, what is given here.
        self.effects.retain(|e| !matches!(e, Effect::SendPlan { node, .. } if *node == up.node));
        plans
    }

    /// A node's link is down. Its media goes on; its calls are moved if it stays down.
    pub fn handle_node_down(&mut self, now: UnixMillis, node: &NodeId) {
        if let Some(view) = self.nodes.get_mut(node) {
            view.down_since = Some(now);
            self.set_timer(now.plus(self.limits.node_grace), Reason::NodeLost(node.clone()));
        }
    }

    /// A node's process is about to stop, as planned: its calls move to other nodes at once. Where there is none they wait as
    /// for a link that is down: the node's successor may be here before the grace is over.
    pub fn handle_node_leaving(&mut self, now: UnixMillis, node: &NodeId) -> usize {
        self.handle_node_down(now, node);
        let mut moved = 0;
        for id in self.calls_on(node) {
            let Some(other) = placement::choose(&self.nodes) else { break };
            self.lose_legs(now, id, other);
            moved += 1;
        }
        moved
    }

    /// A node says how busy it is: its busiest worker's share of a core.
    pub fn handle_node_load(&mut self, node: &NodeId, load: f32) {
        if let Some(view) = self.nodes.get_mut(node) {
            view.load = if load.is_finite() { load } else { 1.0 };
        }
    }

    /// A node has a newer plan of the call than the one it was sent: the clock, which generations count from, went back over
    /// a restart of control. The next plan counts from what the node has. Other refusals (a full node says 0) change nothing.
    pub fn handle_plan_refused(&mut self, now: UnixMillis, node: &NodeId, id: CallId, node_has: Generation) {
        let present = if let Some(call) = self.calls.get_mut(&id) {
            Some((&call.node, &mut call.generation))
        } else {
            self.broadcasts.by_id.get_mut(&id).map(|broadcast| (&broadcast.node, &mut broadcast.generation))
        };
        let Some((carrier, generation)) = present else { return };
        if carrier == node && node_has > *generation {
            *generation = node_has;
            self.replan(now, id);
        }
    }

    /// A call that was kept, at start-up, before any session or node is there. Ended ones are only history.
    pub fn handle_restore(&mut self, now: UnixMillis, kept: CallRecord) {
        if kept.state.is_ended() {
            return;
        }
        let (id, node) = (kept.id, kept.node.clone());
        let call = Call::restored(now, kept);
        for seat in &call.seats {
            self.engaged.insert(seat.account.clone(), id);
        }
        self.set_timer(call.created_at.min(now).plus(self.limits.ring), Reason::RingTimeout(id));
        self.set_timer(now.plus(self.limits.connect), Reason::ConnectTimeout(id));
        self.calls.insert(id, call);
        self.set_away_timers(now, id);
        if !self.nodes.contains_key(&node) {
            let unlinked = NodeView { down_since: Some(now), leg_capacity: 0, legs_planned: 0, load: 0.0 };
            self.nodes.insert(node.clone(), unlinked);
            self.set_timer(now.plus(self.limits.node_grace), Reason::NodeLost(node));
        }
        self.count_legs(id);
    }

    pub(super) fn lose_node(&mut self, now: UnixMillis, node: &NodeId) {
        let gone = |n: &NodeView| n.down_since.is_some_and(|at| now.since(at) >= self.limits.node_grace);
        if !self.nodes.get(node).is_some_and(gone) {
            return;
        }
        self.nodes.remove(node);
        self.boots.remove(node);
        for id in self.calls_on(node) {
            match placement::choose(&self.nodes) {
                Some(other) => self.lose_legs(now, id, other),
                None if self.broadcasts.by_id.contains_key(&id) => {
                    self.end_broadcast(now, id, BroadcastEnd::NodeLost);
                }
                None => self.advance_and_tell(now, id, Trigger::NodeLost),
            }
        }
    }

    /// Moves a call away from a node whose link is down. One that has not linked since control started is not away: it is on
    /// its way here, and its media goes on.
    pub(super) fn leave_absent_node(&mut self, now: UnixMillis, id: CallId) {
        let Some((carrier, _)) = self.place_of(id) else { return };
        let is_away = |node: &NodeView| !node.is_linked() && self.boots.contains_key(carrier);
        if !self.nodes.get(carrier).is_some_and(is_away) {
            return;
        }
        if let Some(other) = placement::choose(&self.nodes) {
            self.lose_legs(now, id, other);
        }
    }

    /// Sends the node what it must now know of the call.
    pub(super) fn replan(&mut self, now: UnixMillis, id: CallId) {
        let Some(plan) = self.next_plan(now, id) else { return };
        let Some(node) = self.place_of(id).map(|(node, _)| node.clone()) else { return };
        self.effects.push_back(Effect::SendPlan { node, plan });
        self.count_legs(id);
    }

    fn next_plan(&mut self, now: UnixMillis, id: CallId) -> Option<RoutePlan> {
        match self.calls.get_mut(&id) {
            Some(call) => Some(call.next_plan(now)),
            None => self.broadcasts.by_id.get_mut(&id).map(|broadcast| broadcast.next_plan(now)),
        }
    }

    /// The node that carries a call or broadcast, and which start of it.
    fn place_of(&self, id: CallId) -> Option<(&NodeId, &String)> {
        match self.calls.get(&id) {
            Some(call) => Some((&call.node, &call.boot)),
            None => self.broadcasts.by_id.get(&id).map(|broadcast| (&broadcast.node, &broadcast.boot)),
        }
    }

    /// A call's legs are gone with their node; it goes on with fresh ones on `node`.
    fn lose_legs(&mut self, now: UnixMillis, id: CallId, node: NodeId) {
        let Some(call) = self.calls.get_mut(&id) else { return self.move_broadcast_to(now, id, node) };
        call.boot = self.boots.get(&node).cloned().unwrap_or_default();
        call.node = node;
        call.legs_counted = 0;
        call.revision += 1;
        let answered = !call.state.is_before_accept();
        for device in &mut call.ringing {
            device.leg = None;
        }
        for seat in &mut call.seats {
            seat.leg = None;
            seat.away_since = seat.away_since.or(answered.then_some(now));
        }
        self.count_legs(id);
        self.record(id);
        self.set_away_timers(now, id);
        self.tell_call(now, id);
    }

    pub(super) fn set_away_timers(&mut self, now: UnixMillis, id: CallId) {
        for party in duocast_model::Party::BOTH {
            self.set_timer(now.plus(self.limits.away), Reason::AwayTimeout(id, party));
        }
    }

    fn calls_on(&self, node: &NodeId) -> Vec<CallId> {
        let calls = self.calls.values().filter(|c| !c.state.is_ended() && c.node == *node).map(|c| c.id);
        let broadcasts = self.broadcasts.by_id.values().filter(|b| b.node == *node).map(|b| b.id);
        calls.chain(broadcasts).collect()
    }
}
