//! One device's conversation with control: an event log that a client can resume without a gap or a repeat.

use std::collections::VecDeque;

use duocast_model::{AccountId, CallId, DeviceId, PrivacySettings, UnixMillis};

use crate::broadcast::BroadcastView;
use crate::call::CallView;
use crate::direct::DirectSignal;

/// Events that a session keeps for a client that comes back. Higher costs memory per session (about 300 B an event);
/// lower makes more clients start over from a snapshot, which is correct but larger. At the bound the oldest go.
pub const EVENT_LOG_MAX: usize = 128;

/// Numbers the streams of all sessions; a stream with a lower number than its session's is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// How a person appears to others. Holds no account id.
#[derive(Clone, PartialEq, Eq)]
pub struct Person {
    /// Public name.
    pub handle: duocast_model::Handle,
    /// Display name, at most 64 characters, chosen by its owner.
    pub display_name: std::sync::Arc<str>,
}

duocast_model::assert_unshown!(Person);

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Person(…)")
    }
}

/// What a session is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The whole call as this device sees it.
    Call(Box<CallView>),
    /// The broadcast that this device is in, as it sees it.
    Broadcast(Box<BroadcastView>),
    /// A contact came online or went offline.
    Contact {
        /// Who.
        person: Person,
        /// Can be reached.
        online: bool,
    },
    /// The other party's step towards a direct leg.
    Direct {
        /// In which call.
        call: CallId,
        /// Of which attempt.
        attempt: u32,
        /// What.
        signal: DirectSignal,
    },
    /// A call request came, or one was answered.
    CallRequest(CallRequest),
    /// The account's settings changed.
    Settings(PrivacySettings),
}

/// A request for permission to call, as one of the two sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRequest {
    /// The other one.
    pub person: Person,
    /// The viewer is asked; false: the viewer asks.
    pub incoming: bool,
    /// How it stands.
    pub state: CallRequestState,
    /// When it was sent.
    pub created_at: UnixMillis,
}

/// How a call request stands, as its sender may know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallRequestState {
    /// Waits, or was declined: its sender cannot tell.
    Sent,
    /// Accepted.
    Accepted,
    /// Gone from the receiver's list.
    Closed,
}

/// An event with its place in the session, counted from 1 without gaps.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequenced {
    /// Place in the session.
    pub seq: u64,
    /// When it happened.
    pub at: UnixMillis,
    /// What happened.
    pub event: Event,
}

/// A device's session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
    /// The open stream, if one is open.
    pub(crate) stream: Option<StreamId>,
    /// When the last stream broke; `None` while one is open.
    pub(crate) broken_at: Option<UnixMillis>,
    last_seq: u64,
    log: VecDeque<Sequenced>,
}

impl Session {
    pub(crate) fn new(account: AccountId, device: DeviceId, stream: StreamId) -> Self {
        Self { account, device, stream: Some(stream), broken_at: None, last_seq: 0, log: VecDeque::new() }
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Numbers an event and keeps it.
    pub(crate) fn append(&mut self, at: UnixMillis, event: Event) -> Sequenced {
        self.last_seq += 1;
        let sequenced = Sequenced { seq: self.last_seq, at, event };
        if self.log.len() == EVENT_LOG_MAX {
            self.log.pop_front();
        }
        self.log.push_back(sequenced.clone());
        sequenced
    }

    /// What comes after `seq`; `None` if that is no longer (or was never) known.
    pub(crate) fn since(&self, seq: u64) -> Option<Vec<Sequenced>> {
        let first_kept = self.log.front().map_or(self.last_seq + 1, |e| e.seq);
        if seq > self.last_seq || seq + 1 < first_kept {
            return None;
        }
        Some(self.log.iter().filter(|e| e.seq > seq).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn online(session: &mut Session) -> u64 {
        let person =
            Person { handle: duocast_model::Handle::new("bob").unwrap(), display_name: "Bob".into() };
        session.append(UnixMillis(0), Event::Contact { person, online: true }).seq
    }

    #[test]
    fn a_client_that_comes_back_gets_exactly_what_it_missed() {
        let (account, device) = (AccountId::new("a").unwrap(), DeviceId::new("d").unwrap());
        let mut session = Session::new(account, device, StreamId(1));
        assert_eq!(session.since(0).unwrap().len(), 0);
        for expected in 1..=200 {
            assert_eq!(online(&mut session), expected);
        }
        let missed: Vec<u64> = session.since(197).unwrap().iter().map(|e| e.seq).collect();
        assert_eq!(missed, [198, 199, 200]);
        assert_eq!(session.since(200).unwrap().len(), 0);
        assert_eq!(session.since(72).unwrap().len(), EVENT_LOG_MAX, "the oldest that is still whole");
        assert_eq!(session.since(71), None, "a gap is not papered over");
        assert_eq!(session.since(201), None, "a number from the future is not believed");
        assert_eq!(session.since(u64::MAX), None);
    }
}
