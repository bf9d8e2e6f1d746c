//! When media leaves the server, and when it comes back: decisions only.
//!
//! The routed leg stays connected all along. Whatever happens to the direct one, media goes on the routed one again at
//! once, whether or not the server or the other party do their part.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use duocast_model::DirectConsent;

use crate::media::{Course, Health, Path, SendOn};
use crate::session::{CallInfo, DirectInfo, DirectPhase, DirectSignal, DirectStep};

/// Longest time that anything goes on the direct leg after this party went private: so long the other one has a moment in which
/// it hears this one on either leg. Nothing may go to its address later than 300 ms after, and a machine may be late. Higher breaks
/// that, lower leaves a gap in the picture: at a round trip of 80 ms its key frame comes after 120 ms, and what of it gets lost another
/// 100 ms later.
pub(crate) const PRIVATE_MAX: Duration = Duration::from_millis(225);

/// Longest time that a direct leg is kept after either party, or the server, ended it: to go on hearing the other one, and, if
/// that one ended it, to go on being heard. Higher keeps a useless leg, lower leaves a gap where what begins on the routed leg gets lost.
pub(crate) const BACK_MAX: Duration = Duration::from_millis(500);

/// How long media goes on both legs because the other party's came on the routed one again, unless the server says by then what
/// that was about. Higher sends twice for longer after a stray packet, lower may be over before the server is heard.
pub(crate) const RETURN_MAX: Duration = Duration::from_secs(2);

/// Longest time from an offer until the server says that the direct leg is in use. The server gives up after 10 s; this is
/// for when it cannot be heard. Higher leaves a useless leg open for longer.
pub(crate) const ATTEMPT_MAX: Duration = Duration::from_secs(12);

/// What to do about the direct leg. Its `Debug` shows no description and no candidate.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum DirectAction {
    /// Make a leg and an offer, and send it.
    Offer(u32),
    /// Make a leg from this offer, and send the answer.
    Answer(u32, String),
    /// Give the leg the other party's answer.
    TakeAnswer(u32, String),
    /// Give the leg the other party's candidates.
    TakeCandidates(u32, Vec<String>),
    /// Send and play so.
    Course(Course),
    /// Ask the other party for a key frame on this path.
    AskKeyframe(Path),
    /// Tell the server that the other party is decoded on the direct leg.
    TellDecoding(u32),
    /// Tell the server that the direct leg did not come up, or died.
    TellFailed(u32),
    /// Nothing goes to the other party's address any more; what comes from there is still played.
    Hush(u32),
    /// Close the leg.
    Close(u32),
}

duocast_model::assert_unshown!(DirectAction);
duocast_model::assert_not_impl!(DirectAction: serde::Serialize);

impl DirectAction {
    fn is_answer_of(&self, attempt: u32) -> bool {
        matches!(self, Self::Answer(number, _) if *number == attempt)
    }
}

impl fmt::Debug for DirectAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offer(n) => write!(f, "Offer({n})"),
            Self::Answer(n, _) => write!(f, "Answer({n})"),
            Self::TakeAnswer(n, _) => write!(f, "TakeAnswer({n})"),
            Self::TakeCandidates(n, _) => write!(f, "TakeCandidates({n})"),
            Self::Course(course) => write!(f, "{course:?}"),
            Self::AskKeyframe(path) => write!(f, "AskKeyframe({path:?})"),
            Self::TellDecoding(n) => write!(f, "TellDecoding({n})"),
            Self::TellFailed(n) => write!(f, "TellFailed({n})"),
            Self::Hush(n) => write!(f, "Hush({n})"),
            Self::Close(n) => write!(f, "Close({n})"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Made or being made; not connected.
    Trying,
    /// Connected: media goes on both, or only here.
    Up,
    /// On the way back to the routed leg: media goes on both. `quiet_at`: this party went private, and sends here no longer than that.
    Leaving { until: Instant, quiet_at: Option<Instant> },
    /// Private, and the other party is not heard on the routed leg yet: it is heard here, and nothing is sent.
    Listening { until: Instant },
}

#[derive(Debug)]
struct Attempt {
    number: u32,
    stage: Stage,
    give_up_at: Instant,
    has_answer: bool,
    has_candidates: bool,
    /// The other party is decoded on it.
    is_decoded: bool,
    /// Since when the server says that both parties decode each other on it.
    active_since: Option<Instant>,
    /// When the other party's media came on the routed leg again although the server says so: that one is on its way back.
    returned_at: Option<Instant>,
    /// So media goes there as well, until the server tells or [`RETURN_MAX`] is over.
    is_returned: bool,
    is_connected: bool,
}

/// One call's direct leg on this device. `handle_*`, then [`DirectPlanner::poll_action`] until `None`, then wait until
/// [`DirectPlanner::poll_timeout`].
#[derive(Debug, Default)]
pub(crate) struct DirectPlanner {
    attempt: Option<Attempt>,
    /// Attempts up to this one are over here, whatever the server still says of them.
    over: u32,
    /// This party said no, and the server may not know yet.
    is_refused: bool,
    info: Option<DirectInfo>,
    /// An offer that came while an earlier leg was still being left.
    early_offer: Option<DirectAction>,
    course: Course,
    actions: VecDeque<DirectAction>,
}

impl DirectPlanner {
    /// The call changed.
    pub(crate) fn handle_call(&mut self, now: Instant, call: &CallInfo) {
        self.info = call.direct.filter(|_| call.on_this_device && !call.state.is_ended());
        match self.info {
            Some(info) => self.follow(now, info),
            None => self.leave(now, false),
        }
        self.settle(now);
    }

    fn follow(&mut self, now: Instant, info: DirectInfo) {
        if info.phase == DirectPhase::Routed {
            self.leave(now, false);
            self.over = info.attempt;
        } else if info.attempt < self.over {
            // A server that started over counts from 1 again.
            self.leave(now, false);
            self.over = info.attempt - 1;
        } else if self.attempt.as_ref().is_some_and(|a| a.number != info.attempt) {
            self.leave(now, false);
        }
        if info.own_consent != DirectConsent::Given {
            self.leave(now, true);
        }
        if let Some(attempt) = self.attempt.as_mut().filter(|a| a.number == info.attempt) {
            let is_active = info.phase == DirectPhase::Active;
            attempt.active_since = is_active.then(|| attempt.active_since.unwrap_or(now));
        }
    }

    /// Begins the attempt that the server says is on, once nothing is left of an earlier one.
    fn begin_if_wanted(&mut self, now: Instant) {
        let Some(info) = self.info.filter(|info| self.attempt.is_none() && self.is_wanted(info.attempt))
        else {
            return;
        };
        let offer = self.early_offer.take().filter(|early| early.is_answer_of(info.attempt));
        match (info.phase, offer) {
            (DirectPhase::Negotiating, _) if info.offerer => {
                self.begin(now, info.attempt);
                self.actions.push_back(DirectAction::Offer(info.attempt));
            }
            (DirectPhase::Negotiating, Some(answer)) => {
                self.begin(now, info.attempt);
                self.actions.push_back(answer);
            }
            (DirectPhase::Negotiating | DirectPhase::Routed, _) => {}
            // Of another life of this device: there is no such leg.
            (DirectPhase::Connecting | DirectPhase::Active, _) => {
                self.over = info.attempt;
                self.actions.push_back(DirectAction::TellFailed(info.attempt));
            }
        }
    }

    /// The other party took a step. Steps of another attempt, and repeated ones, change nothing.
    pub(crate) fn handle_signal(&mut self, now: Instant, signal: DirectSignal) {
        let number = signal.attempt;
        if !self.is_wanted(number) {
            return;
        }
        let is_offerer = self.info.is_some_and(|info| info.offerer);
        match (signal.step, &mut self.attempt) {
            (DirectStep::Offer(offer), present)
                if !is_offerer && present.as_ref().is_none_or(|a| a.number != number) =>
            {
                self.early_offer = Some(DirectAction::Answer(number, offer));
            }
            (DirectStep::Answer(answer), Some(attempt))
                if is_offerer && attempt.number == number && !attempt.has_answer =>
            {
                attempt.has_answer = true;
                self.actions.push_back(DirectAction::TakeAnswer(number, answer));
            }
            (DirectStep::Candidates(candidates), Some(attempt))
                if attempt.number == number && !attempt.has_candidates =>
            {
                attempt.has_candidates = true;
                self.actions.push_back(DirectAction::TakeCandidates(number, candidates));
            }
            _ => {}
        }
        self.settle(now);
    }

    /// This party says yes or no. A no takes effect here and now.
    pub(crate) fn handle_consent(&mut self, now: Instant, yes: bool) {
        self.is_refused = !yes;
        if !yes {
            self.leave(now, true);
        }
        self.settle(now);
    }

    /// A step of this device's own could not be made or sent.
    pub(crate) fn handle_failed(&mut self, number: u32) {
        if self.attempt.as_ref().is_some_and(|a| a.number == number) {
            self.fail();
        }
        self.steer();
    }

    /// How the two paths are.
    pub(crate) fn handle_health(&mut self, now: Instant, health: Health) {
        let Some(attempt) = self.attempt.as_mut().filter(|a| a.number == health.attempt) else { return };
        attempt.is_connected = health.is_connected;
        match attempt.stage {
            Stage::Trying | Stage::Up if health.is_dead => self.fail(),
            Stage::Trying if health.is_connected => {
                attempt.stage = Stage::Up;
                self.actions.push_back(DirectAction::AskKeyframe(Path::Direct));
            }
            // Who did not end it is heard here until the other one closes it.
            Stage::Leaving { quiet_at: Some(_), .. } | Stage::Listening { .. } if health.routed_decodes => {
                self.close();
            }
            Stage::Leaving { .. } | Stage::Listening { .. } if health.is_dead => self.close(),
            Stage::Up => attempt.note_return(health.routed_since),
            _ => {}
        }
        if let Some(attempt) = &mut self.attempt
            && attempt.stage == Stage::Up
            && health.decodes
            && !attempt.is_decoded
        {
            attempt.is_decoded = true;
            let number = attempt.number;
            self.actions.push_back(DirectAction::TellDecoding(number));
        }
        self.settle(now);
    }

    /// The machine changed networks: the direct leg's addresses are not its own any more.
    pub(crate) fn handle_network_change(&mut self) {
        if self.attempt.as_ref().is_some_and(|a| matches!(a.stage, Stage::Trying | Stage::Up)) {
            self.fail();
        }
        self.steer();
    }

    /// Lets time pass.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Some(attempt) = self.attempt.as_mut().filter(|a| a.due().is_some_and(|due| due <= now)) {
            match attempt.stage {
                Stage::Leaving { until, quiet_at: Some(_) } if until > now => {
                    attempt.stage = Stage::Listening { until };
                    let number = attempt.number;
                    // Media has its new course before the leg falls silent.
                    self.steer();
                    self.actions.push_back(DirectAction::Hush(number));
                }
                Stage::Leaving { .. } | Stage::Listening { .. } => self.close(),
                Stage::Up if attempt.active_since.is_some() => attempt.is_returned = false,
                Stage::Trying | Stage::Up => self.fail(),
            }
        }
        self.settle(now);
    }

    /// The next thing to do.
    #[must_use]
    pub(crate) fn poll_action(&mut self) -> Option<DirectAction> {
        self.actions.pop_front()
    }

    /// When [`DirectPlanner::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.attempt.as_ref().and_then(Attempt::due)
    }

    /// A leg is still to be made for this attempt.
    pub(crate) fn is_trying(&self, number: u32) -> bool {
        self.attempt.as_ref().is_some_and(|a| a.number == number && a.stage == Stage::Trying)
    }

    /// The server says that this attempt is on, and this party has not taken its yes back.
    fn is_wanted(&self, number: u32) -> bool {
        let is_on = self.info.is_some_and(|info| {
            info.attempt == number
                && info.phase != DirectPhase::Routed
                && info.own_consent == DirectConsent::Given
                && info.peer_consent == DirectConsent::Given
        });
        is_on && number > self.over && !self.is_refused
    }

    fn begin(&mut self, now: Instant, number: u32) {
        self.attempt = Some(Attempt {
            number,
            stage: Stage::Trying,
            give_up_at: now + ATTEMPT_MAX,
            has_answer: false,
            has_candidates: false,
            is_decoded: false,
            active_since: None,
            returned_at: None,
            is_returned: false,
            is_connected: false,
        });
    }

    /// Back to the routed leg, in order: the direct one stays for a while. Nobody asks for a key frame: the other party begins with
    /// one, and a second one costs more than it brings where packets get lost.
    fn leave(&mut self, now: Instant, is_private: bool) {
        let Some(attempt) = &mut self.attempt else { return };
        self.over = self.over.max(attempt.number);
        let quiet = is_private.then_some(now + PRIVATE_MAX);
        match &mut attempt.stage {
            Stage::Trying => self.close(),
            Stage::Up => {
                attempt.stage = Stage::Leaving { until: now + BACK_MAX, quiet_at: quiet };
            }
            Stage::Leaving { quiet_at, .. } => *quiet_at = quiet_at.or(quiet),
            Stage::Listening { .. } => {}
        }
    }

    /// Back to the routed leg at once: the direct one is dead.
    fn fail(&mut self) {
        let Some(attempt) = &self.attempt else { return };
        let (number, was_up) = (attempt.number, attempt.stage == Stage::Up);
        self.over = self.over.max(number);
        self.close();
        if was_up {
            self.actions.push_back(DirectAction::AskKeyframe(Path::Routed));
        }
        self.actions.push_back(DirectAction::TellFailed(number));
    }

    fn close(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            // Media has its new course before the leg goes.
            self.steer();
            self.actions.push_back(DirectAction::Close(attempt.number));
        }
    }

    fn settle(&mut self, now: Instant) {
        self.steer();
        self.begin_if_wanted(now);
    }

    /// Brings media onto the course that follows from everything else.
    fn steer(&mut self) {
        let course = self.attempt.as_ref().map_or_else(Course::default, Attempt::course);
        if course != self.course {
            self.course = course;
            self.actions.push_back(DirectAction::Course(course));
        }
    }
}

impl Attempt {
    fn course(&self) -> Course {
        let play = if self.is_decoded { Path::Direct } else { Path::Routed };
        let send = match self.stage {
            Stage::Trying => SendOn::Routed,
            Stage::Up if self.active_since.is_some() && self.is_decoded && self.is_connected => {
                if self.is_returned { SendOn::Both } else { SendOn::Direct }
            }
            Stage::Up => SendOn::Both,
            // Both, so that the other party has a moment in which it hears this one on either.
            Stage::Leaving { .. } if self.is_connected => SendOn::Both,
            Stage::Leaving { .. } | Stage::Listening { .. } => SendOn::Routed,
        };
        Course { send, play }
    }

    /// Where the server's news is late or lost, the other party's media tells: sent on the routed leg only by who does not
    /// trust the direct one any more, it is answered in kind.
    fn note_return(&mut self, routed_since: Option<Instant>) {
        let returned_at = routed_since.filter(|at| self.active_since.is_some_and(|since| *at > since));
        if returned_at != self.returned_at {
            self.returned_at = returned_at;
            self.is_returned = returned_at.is_some();
        }
    }

    fn due(&self) -> Option<Instant> {
        match self.stage {
            Stage::Leaving { until, quiet_at } => Some(quiet_at.map_or(until, |at| at.min(until))),
            Stage::Listening { until } => Some(until),
            Stage::Trying | Stage::Up if self.active_since.is_none() => Some(self.give_up_at),
            Stage::Trying | Stage::Up => {
                self.returned_at.filter(|_| self.is_returned).map(|at| at + RETURN_MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests;
