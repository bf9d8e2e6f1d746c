//! Consent to a direct leg, the steps towards it, and what a change of policy does to a call.

use duocast_model::{AccountId, CallId, CallState, DirectConsent, Party, SessionId, UnixMillis};

use super::{CommandError, Reason, Switchboard};
use crate::budget::BudgetSpent;
use crate::call::{CallView, Trigger};
use crate::direct::{ATTEMPT_TIMEOUT, DirectError, DirectNext, DirectSignal, DirectStep, OFFERER, exposed};
use crate::session::Event;

/// What policy says of an open call after something that it decides by has changed.
#[derive(Debug, Clone, Copy)]
pub struct Recheck {
    /// Whose change it was; `None`: the platform's.
    pub by: Option<Party>,
    /// The call could still be placed.
    pub allowed: bool,
    /// One of the two has blocked the other.
    pub blocked: bool,
    /// What each party's settings say of a direct leg, as [`Party`] counts them.
    pub standing: [DirectConsent; 2],
}

impl Switchboard {
    /// A party says yes or no to a direct leg. A no takes effect at once.
    pub fn handle_set_direct(
        &mut self,
        now: UnixMillis,
        account: &AccountId,
        session: SessionId,
        id: CallId,
        yes: bool,
    ) -> Result<CallView, CommandError> {
        let party = self.authorize_live(account, session, id)?;
        if yes {
            // Only a yes can start an attempt; a no must never have to wait.
            self.budgets.direct.spend(now, account.clone())?;
        }
        let call = self.calls.get_mut(&id).expect("authorize_live found it");
        let changed = call.direct.say(party, yes)?;
        self.settle_direct(now, id, changed);
        Ok(self.calls[&id].view(party, Some(session)))
    }

    /// A device's step towards a direct leg.
    pub fn handle_send_direct(
        &mut self,
        now: UnixMillis,
        account: &AccountId,
        session: SessionId,
        id: CallId,
        attempt: u32,
        step: &DirectStep,
    ) -> Result<(), CommandError> {
        let party = self.authorize_live(account, session, id)?;
        let call = self.calls.get_mut(&id).expect("authorize_live found it");
        match call.direct.step(party, attempt, step)? {
            DirectNext::Nothing => {}
            DirectNext::Changed => self.direct_changed(now, id),
            DirectNext::PassOffer(sdp) => {
                self.signal(now, id, OFFERER.other(), attempt, DirectSignal::Offer(sdp));
            }
            DirectNext::Introduce { answer, candidates, public, local_network } => {
                for known in &mut call.exposure {
                    *known = Some(exposed(*known, now, public, local_network));
                }
                let [of_caller, of_callee] = candidates;
                // The ledger is recorded before anything that it speaks of is sent.
                self.direct_changed(now, id);
                self.signal(now, id, OFFERER, attempt, DirectSignal::Answer(answer));
                self.signal(now, id, Party::Caller, attempt, DirectSignal::Candidates(of_callee));
                self.signal(now, id, Party::Callee, attempt, DirectSignal::Candidates(of_caller));
            }
        }
        Ok(())
    }

    /// The open call that an account is in, with the other account.
    pub fn partner(&self, account: &AccountId) -> Option<(CallId, Party, AccountId)> {
        let id = *self.engaged.get(account)?;
        let call = self.calls.get(&id)?;
        let party = call.party_of(account)?;
        Some((id, party, call.seat(party.other()).account.clone()))
    }

    /// Every open call, with its caller and callee.
    pub fn open_pairs(&self) -> Vec<(CallId, [AccountId; 2])> {
        let open = self.calls.iter().filter(|(_, call)| !call.state.is_ended());
        open.map(|(id, call)| (*id, call.seats.each_ref().map(|seat| seat.account.clone()))).collect()
    }

    /// Something that policy decides by has changed: a call that rings and may not any more stops, a blocked pair's call ends, and a
    /// direct leg that is no longer agreed to is given up.
    pub fn handle_recheck(&mut self, now: UnixMillis, id: CallId, recheck: Recheck) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.state.is_before_accept() {
            if !recheck.allowed {
                // To the caller a withdrawn permission looks like a callee who declines.
                let own = recheck.by == Some(Party::Caller);
                self.advance_and_tell(now, id, if own { Trigger::Cancel } else { Trigger::Withdrawn });
                return;
            }
        } else if recheck.blocked {
            self.advance_and_tell(now, id, Trigger::HangUp);
            return;
        }
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.state.is_ended()) else { return };
        let changed = call.direct.set_standing(recheck.standing);
        self.settle_direct(now, id, changed);
    }

    /// Tells every device of an account something that is not about a call.
    pub fn handle_tell(&mut self, now: UnixMillis, account: &AccountId, event: &Event) {
        for session in self.sessions_of.get(account).cloned().unwrap_or_default() {
            self.tell(now, session, event.clone());
        }
    }

    /// Takes one from the account's budget for call requests, before anything is kept or anybody is told.
    pub fn handle_request_budget(&mut self, now: UnixMillis, account: &AccountId) -> Result<(), BudgetSpent> {
        self.budgets.requests.spend(now, account.clone())
    }

    /// Starts or ends an attempt as the consents now say, and tells both if that, or a consent, changed.
    pub(super) fn settle_direct(&mut self, now: UnixMillis, id: CallId, mut changed: bool) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let before = call.direct.attempt();
        changed |= call.direct.settle(call.is_ready_for_direct());
        let (attempt, live) = (call.direct.attempt(), call.state == CallState::Live);
        if attempt != before {
            self.set_timer(now.plus(ATTEMPT_TIMEOUT), Reason::DirectTimeout(id, attempt));
        }
        if changed && live {
            self.direct_changed(now, id);
        }
    }

    pub(super) fn direct_timeout(&mut self, now: UnixMillis, id: CallId, attempt: u32) {
        if self.calls.get_mut(&id).is_some_and(|call| call.direct.timed_out(attempt)) {
            self.direct_changed(now, id);
        }
    }

    /// A device that took part in an attempt is another one now.
    pub(super) fn direct_device_gone(&mut self, now: UnixMillis, id: CallId) {
        if self.calls.get_mut(&id).is_some_and(|call| call.direct.device_gone()) {
            self.direct_changed(now, id);
        }
    }

    fn direct_changed(&mut self, now: UnixMillis, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.revision += 1;
        self.record(id);
        self.tell_call(now, id);
    }

    /// Tells the device in `party`'s seat.
    fn signal(&mut self, now: UnixMillis, id: CallId, party: Party, attempt: u32, signal: DirectSignal) {
        let seated = self.calls.get(&id).and_then(|call| call.seat(party).session);
        if let Some(session) = seated {
            self.tell(now, session, Event::Direct { call: id, attempt, signal });
        }
    }

    /// The party whose device this is, in a call that has media.
    fn authorize_live(
        &self,
        account: &AccountId,
        session: SessionId,
        id: CallId,
    ) -> Result<Party, CommandError> {
        let party = self.authorize(account, session, id)?;
        let call = &self.calls[&id];
        match call.state {
            CallState::Ended(reason) => Err(CommandError::CallEnded(reason)),
            _ if call.seat(party).session != Some(session) => Err(CommandError::NotOnThisDevice),
            CallState::Live => Ok(party),
            CallState::Created | CallState::Ringing | CallState::Accepted => Err(DirectError::NotLive.into()),
        }
    }
}
