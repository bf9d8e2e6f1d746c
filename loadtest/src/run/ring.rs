//! The script of a call that nobody answers: it is placed, and ends as the scenario has it, or not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use duocast_client::{CallState, EndReason};
use tonic::Code;

use super::accounts::Account;
use super::call::{END_MAX, RING_MAX, Shared, failed};
use super::device::{Device, DeviceState};
use super::failure::{Failure, Stage};
use super::incidents::RingOutcome;
use super::outcome::CallOutcome;
use super::plan::CallPlan;
use super::scenario::RingEnd;

/// The server ends a call itself that rings for this long.
const SERVER_RING: Duration = Duration::from_secs(45);

/// Who keeps a callee busy rings it this long before.
const BUSY_LEAD: Duration = Duration::from_secs(1);

/// How a call ended that was refused because nobody is there.
const OFFLINE: &str = "offline";

/// Runs it from sign-in to its end. Every wait in it is bounded.
pub(super) async fn run(shared: &Shared, plan: &CallPlan, end: RingEnd, accounts: &[Account]) -> CallOutcome {
    let mut ring = Ring { shared, plan, outcome: CallOutcome::new(plan), stage: None };
    let mut found = RingOutcome::new(end, expected(end, plan.ring_for));
    let stopped = tokio::select! {
        biased;
        reason = shared.stop.stopped() => Err(reason),
        ended = ring.ring(end, accounts, &mut found) => Ok(ended),
    };
    let mut outcome = ring.outcome;
    match stopped {
        Ok(Ok(())) if found.is_as_expected() => {}
        Ok(Ok(())) => {
            let reason = format!("ENDED_AS_{}", found.ended.to_uppercase());
            outcome.failure = Some(Failure::own(Stage::Ring, Code::Aborted, &reason));
        }
        Ok(Err(failure)) => outcome.failure = Some(failure),
        Err(reason) => outcome.judge(Ok(reason), ring.stage),
    }
    outcome.ring_end = Some(found);
    outcome
}

/// How it should end.
fn expected(end: RingEnd, patience: Duration) -> &'static str {
    match end {
        RingEnd::Declined => EndReason::Declined.name(),
        RingEnd::Busy => EndReason::Busy.name(),
        RingEnd::Unanswered if patience >= SERVER_RING => EndReason::TimedOut.name(),
        RingEnd::Unanswered => EndReason::Cancelled.name(),
        RingEnd::Offline => OFFLINE,
    }
}

/// How the call that this device knows of ended.
fn ended_as(state: &DeviceState) -> String {
    match state.call.as_ref().map(|call| call.state) {
        Some(CallState::Ended(reason)) => reason.name().into(),
        _ => "open".into(),
    }
}

/// An unanswered call under way.
struct Ring<'a> {
    shared: &'a Shared,
    plan: &'a CallPlan,
    outcome: CallOutcome,
    /// `None`: its turn has not come.
    stage: Option<Stage>,
}

impl Ring<'_> {
    async fn ring(
        &mut self,
        end: RingEnd,
        accounts: &[Account],
        found: &mut RingOutcome,
    ) -> Result<(), Failure> {
        self.shared.sleep_until(self.plan.join_at).await;
        self.stage = Some(Stage::Ring);
        self.outcome.note_joining(self.shared.start.elapsed());
        match end {
            RingEnd::Offline => {
                let (caller, took) = self.join(&accounts[0]).await?;
                self.outcome.parties[0].join = Some(took);
                self.shared.sleep_until(self.plan.place_at).await;
                self.refused(&caller, &accounts[1], found).await
            }
            RingEnd::Busy => {
                let [caller, callee] = self.join_both(accounts).await?;
                let (third, _) = self.join(&accounts[2]).await?;
                self.shared.sleep_until(self.plan.place_at.saturating_sub(BUSY_LEAD)).await;
                let occupied = third.place(&accounts[1], false).await.map_err(failed(Stage::Place))?;
                callee.wait(RING_MAX, Stage::Ring, "DID_NOT_RING", |s| s.rang_at.is_some()).await?;
                self.shared.sleep_until(self.plan.place_at).await;
                let heard = self.refused(&caller, &accounts[1], found).await;
                third.hang_up(&occupied).await.map_err(failed(Stage::HangUp))?;
                heard
            }
            RingEnd::Declined | RingEnd::Unanswered => {
                let [caller, callee] = self.join_both(accounts).await?;
                self.shared.sleep_until(self.plan.place_at).await;
                self.rings(end, &caller, &callee, &accounts[1], found).await
            }
        }
    }

    async fn join(&self, account: &Account) -> Result<(Device, Duration), Failure> {
        Device::join(self.shared.server.clone(), account, Arc::clone(&self.shared.live)).await
    }

    async fn join_both(&mut self, accounts: &[Account]) -> Result<[Device; 2], Failure> {
        let ((caller, first), (callee, second)) =
            tokio::try_join!(self.join(&accounts[0]), self.join(&accounts[1]))?;
        self.outcome.note_joined([first, second]);
        Ok([caller, callee])
    }

    /// Calls somebody who cannot be rung, and hears of it.
    async fn refused(
        &self,
        caller: &Device,
        callee: &Account,
        found: &mut RingOutcome,
    ) -> Result<(), Failure> {
        let placed_at = Instant::now();
        match caller.place(callee, false).await {
            Ok(id) => {
                let known = caller.wait(END_MAX, Stage::Ring, "RINGS", DeviceState::has_ended).await;
                found.refused = known.is_ok().then(|| placed_at.elapsed());
                found.ended = ended_as(&caller.state.borrow());
                if known.is_err() {
                    caller.hang_up(&id).await.map_err(failed(Stage::HangUp))?;
                }
            }
            Err(status) => {
                let reason = duocast_wire::error::reason(&status).unwrap_or_default();
                if reason != "CALLEE_OFFLINE" {
                    return Err(Failure::of(Stage::Place, &status));
                }
                found.refused = Some(placed_at.elapsed());
                found.ended = OFFLINE.into();
            }
        }
        Ok(())
    }

    /// Calls somebody who does not answer.
    async fn rings(
        &mut self,
        end: RingEnd,
        caller: &Device,
        callee: &Device,
        account: &Account,
        found: &mut RingOutcome,
    ) -> Result<(), Failure> {
        let placed_at = Instant::now();
        let id = caller.place(account, false).await.map_err(failed(Stage::Place))?;
        let rang =
            callee.wait(RING_MAX, Stage::Ring, "DID_NOT_RING", |state| state.rang_at.is_some()).await?;
        let rang_at = rang.rang_at.unwrap_or(placed_at);
        self.outcome.ring = Some(rang_at.saturating_duration_since(placed_at));
        let by_server = end == RingEnd::Unanswered && self.plan.ring_for >= SERVER_RING;
        if by_server {
            let longest = self.plan.ring_for + END_MAX;
            caller.wait(longest, Stage::Ring, "RINGS_ON", DeviceState::has_ended).await?;
        } else {
            tokio::time::sleep_until((rang_at + self.plan.ring_for).into()).await;
        }
        let acted_at = Instant::now();
        match end {
            _ if by_server => {}
            RingEnd::Declined => callee.decline(&id).await.map_err(failed(Stage::HangUp))?,
            _ => caller.hang_up(&id).await.map_err(failed(Stage::HangUp))?,
        }
        for device in [caller, callee] {
            device.wait(END_MAX, Stage::HangUp, "NOT_TOLD", DeviceState::has_ended).await?;
        }
        found.told = (!by_server).then(|| acted_at.elapsed());
        found.ended = ended_as(&caller.state.borrow());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_patient_enough_leaves_the_end_to_the_server() {
        let expected = |end, seconds| expected(end, Duration::from_secs(seconds));
        assert_eq!(expected(RingEnd::Unanswered, 44), "cancelled");
        assert_eq!(expected(RingEnd::Unanswered, 45), "timed_out");
        assert_eq!(
            [RingEnd::Declined, RingEnd::Busy, RingEnd::Offline].map(|end| expected(end, 3)),
            ["declined", "busy", "offline"]
        );
    }
}
