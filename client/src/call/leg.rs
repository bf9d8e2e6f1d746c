//! When a device makes a leg, restarts it, or makes a new one: decisions only.

use std::time::{Duration, Instant};

use duocast_model::Party;

use crate::media::ConnectionState;
use crate::session::{CallInfo, Jitter, backoff};

/// Longest time for an answered leg, or an answered restart, to connect before something else is tried. Higher waits for
/// slow paths, lower recovers sooner from a router that died.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long the server may go on saying `leg_wanted` after it answered a leg: until then it is an event on the way.
pub(crate) const SETTLE_MAX: Duration = Duration::from_secs(3);

/// What to do about the leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LegAction {
    /// Offer a new leg.
    New,
    /// Offer an ICE restart of this one.
    Restart(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No leg, and none asked for before this moment.
    Absent {
        not_before: Instant,
    },
    /// An offer is at the server.
    Asking,
    /// Answered; connecting until.
    Connecting {
        until: Instant,
    },
    Connected,
    /// Connected once, lost, and no restart asked for before this moment.
    Lost {
        not_before: Instant,
    },
}

/// One call's leg on this device. `handle_*`, then [`LegPlanner::poll_action`], then wait until
/// [`LegPlanner::poll_timeout`].
#[derive(Debug)]
pub(crate) struct LegPlanner {
    state: State,
    leg_id: Option<String>,
    is_needed: bool,
    is_accepted: bool,
    server_wants: bool,
    answered_at: Option<Instant>,
    /// The server has said, since the last answer, that it has a leg.
    is_settled: bool,
    failures: u32,
}

impl LegPlanner {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            state: State::Absent { not_before: now },
            leg_id: None,
            is_needed: false,
            is_accepted: false,
            server_wants: false,
            answered_at: None,
            is_settled: false,
            failures: 0,
        }
    }

    /// The call changed.
    pub(crate) fn handle_call(&mut self, now: Instant, call: &CallInfo) {
        let is_mine = match call.role {
            Party::Caller => call.on_this_device,
            Party::Callee => call.on_this_device || call.state.is_before_accept(),
        };
        self.is_needed = is_mine && !call.state.is_ended();
        let is_accepted = !call.state.is_before_accept();
        // A leg refused while it rang (too many ringing devices) is granted to the one that answers.
        if is_accepted && !self.is_accepted {
            self.is_accepted = true;
            if let State::Absent { not_before } = &mut self.state {
                *not_before = now;
            }
        }
        self.server_wants = call.leg_wanted;
        self.is_settled |= !call.leg_wanted && self.answered_at.is_some();
        self.follow_server(now);
    }

    /// The path changed.
    pub(crate) fn handle_connection(&mut self, now: Instant, connection: ConnectionState) {
        let has_leg = !matches!(self.state, State::Asking | State::Absent { .. });
        match connection {
            ConnectionState::Connected if has_leg => {
                self.failures = 0;
                self.state = State::Connected;
            }
            ConnectionState::Disconnected if self.state == State::Connected => {
                self.state = State::Lost { not_before: now };
            }
            ConnectionState::Closed if has_leg => self.abandon(now),
            _ => {}
        }
    }

    /// The server answered the offer, and the leg took the answer.
    pub(crate) fn handle_answered(&mut self, now: Instant, leg_id: String) {
        self.leg_id = Some(leg_id);
        self.answered_at = Some(now);
        self.is_settled = !self.server_wants;
        self.state = State::Connecting { until: now + CONNECT_MAX };
    }

    /// The server refused, could not be reached, or its answer was useless.
    pub(crate) fn handle_failed(&mut self, now: Instant, jitter: Jitter) {
        let not_before = now + backoff(self.failures, jitter);
        self.failures = self.failures.saturating_add(1);
        self.leg_id = None;
        self.state = State::Absent { not_before };
    }

    /// The machine changed networks.
    pub(crate) fn handle_network_change(&mut self, now: Instant) {
        match self.state {
            State::Connected | State::Connecting { .. } => self.state = State::Lost { not_before: now },
            State::Absent { .. } => self.state = State::Absent { not_before: now },
            State::Asking | State::Lost { .. } => {}
        }
    }

    /// Lets time pass.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if matches!(self.state, State::Connecting { until } if until <= now) {
            self.abandon(now);
        }
        self.follow_server(now);
    }

    /// What to do now, if anything; then the answer is waited for.
    #[must_use]
    pub(crate) fn poll_action(&mut self, now: Instant) -> Option<LegAction> {
        if !self.is_needed {
            return None;
        }
        let action = match self.state {
            State::Absent { not_before } if not_before <= now => LegAction::New,
            State::Lost { not_before } if not_before <= now => {
                self.leg_id.clone().map_or(LegAction::New, LegAction::Restart)
            }
            _ => return None,
        };
        self.state = State::Asking;
        Some(action)
    }

    /// When [`LegPlanner::handle_timeout`] and [`LegPlanner::poll_action`] are due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if !self.is_needed {
            return None;
        }
        let state = match self.state {
            State::Absent { not_before } | State::Lost { not_before } => Some(not_before),
            State::Connecting { until } => Some(until),
            State::Asking | State::Connected => None,
        };
        let settle = self.answered_at.filter(|_| self.server_wants && !self.is_settled);
        [state, settle.map(|at| at + SETTLE_MAX)].into_iter().flatten().min()
    }

    /// The server says that it has no leg of ours, and that is no old news.
    fn follow_server(&mut self, now: Instant) {
        let has_leg = matches!(self.state, State::Connecting { .. } | State::Connected | State::Lost { .. });
        let is_news = self.is_settled || self.answered_at.is_none_or(|at| at + SETTLE_MAX <= now);
        if has_leg && self.server_wants && is_news {
            self.abandon(now);
        }
    }

    fn abandon(&mut self, now: Instant) {
        self.leg_id = None;
        self.answered_at = None;
        self.is_settled = false;
        self.state = State::Absent { not_before: now };
    }
}

#[cfg(test)]
mod tests;
