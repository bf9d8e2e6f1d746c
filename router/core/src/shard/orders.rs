//! What control orders: plans, offers, and what it wants to know after a new link.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use duocast_model::{CallId, LegId, RoutePlan};

use super::{Call, MAX_CALLS, PlanOutcome, Shard, ShardConfig};
use crate::demux::LegKey;
use crate::leg::{Leg, Renegotiation};
use crate::offer::{self, CheckedOffer, IceSecret, OfferError};
use crate::place::Share;
use duocast_media::{Demand, Estimate};

impl Shard {
    /// Carries a plan out, whole: legs that it does not name are closed, routes that it does not name end.
    pub fn handle_plan(&mut self, now: Instant, plan: &RoutePlan) -> PlanOutcome {
        let is_counted = !self.place.of.spreads(plan) || self.place.counts(plan.call());
        let known = self.known_generation(plan.call());
        let is_new_call = !self.calls.contains_key(&plan.call());
        let no_room = is_new_call && !plan.is_teardown() && self.calls.len() >= MAX_CALLS;
        if known.is_some_and(|known| plan.generation() <= known) || no_room {
            self.counters.plans_refused += u64::from(is_counted);
            return PlanOutcome { generation: known.unwrap_or_default(), applied: false };
        }
        let share = self.place.share_of(plan);
        self.counters.plans_applied += u64::from(is_counted);
        let before = self.calls.remove(&plan.call()).unwrap_or_default();
        let named: HashSet<LegId> = share.own.iter().copied().collect();
        let (kept, gone): (Vec<_>, Vec<_>) = before.legs.into_iter().partition(|(id, _)| named.contains(id));
        let heard: HashSet<LegId> = share.publishers.iter().map(|(id, _)| *id).collect();
        let (stubs, silent): (Vec<_>, Vec<_>) =
            before.stubs.into_iter().partition(|(id, _)| heard.contains(id));
        for (_, key) in gone.into_iter().chain(silent) {
            self.free_slot(now, key);
        }
        if plan.is_teardown() {
            self.remember_ended(plan.call(), plan.generation());
        } else {
            self.open_call(now, plan, &share, kept.into_iter().collect(), stubs.into_iter().collect());
        }
        self.settle(now);
        PlanOutcome { generation: plan.generation(), applied: true }
    }

    fn open_call(
        &mut self,
        now: Instant,
        plan: &RoutePlan,
        share: &Share,
        mut own: HashMap<LegId, LegKey>,
        mut elsewhere: HashMap<LegId, LegKey>,
    ) {
        for id in &share.own {
            own.entry(*id).or_insert_with(|| self.take_slot(plan.call(), *id));
        }
        for (id, worker) in &share.publishers {
            elsewhere.entry(*id).or_insert_with(|| {
                let key = self.take_slot(plan.call(), *id);
                self.across.open_stub(key, *worker);
                key
            });
        }
        let from = |id: &LegId| own.get(id).or_else(|| elsewhere.get(id)).copied();
        let to = |id: &LegId| own.get(id).copied();
        let routes: Vec<_> =
            plan.routes().iter().filter_map(|r| Some((from(&r.from)?, to(&r.to)?))).collect();
        let legs: Vec<_> = share.own.iter().filter_map(|id| Some((*id, to(id)?))).collect();
        let keys: Vec<_> = legs.iter().map(|(_, key)| *key).chain(elsewhere.values().copied()).collect();
        self.forward.set_routes(now, &keys, &routes);
        let stubs = elsewhere.into_iter().collect();
        let (generation, is_spread) = (plan.generation(), share.is_spread);
        self.calls.insert(plan.call(), Call { generation, legs, stubs, is_spread });
        self.set_audiences(plan.call(), share);
    }

    /// Answers a client's offer for a leg that its plan names. A further offer of the same client restarts ICE or changes
    /// tracks; one with another certificate is a new instance of the client and takes the leg over.
    ///
    /// `secret` must be fresh for every call. Errors: [`OfferError`]; the leg is as before, except that an offer which
    /// broke it in the middle closes it.
    pub fn handle_offer(
        &mut self,
        now: Instant,
        call: CallId,
        leg: LegId,
        sdp: &str,
        secret: &IceSecret,
    ) -> Result<String, OfferError> {
        let result = match self.key_of(call, leg) {
            Some(key) => offer::check(sdp).and_then(|offer| self.answer(now, key, &offer, secret)),
            None => Err(OfferError::LegUnknown),
        };
        match result {
            Ok(_) => self.counters.offers_accepted += 1,
            Err(_) => self.counters.offers_refused += 1,
        }
        self.settle(now);
        result
    }

    /// What an estimate of a leg's path is needed for; `None`: for nothing, and it costs nothing. Holds for as long as the leg
    /// has this client.
    pub fn handle_demand(&mut self, now: Instant, call: CallId, leg: LegId, demand: Option<Demand>) {
        let Some(key) = self.key_of(call, leg) else { return };
        self.visit(now, key, |leg, _| leg.set_demand(now, demand));
        self.touch(key);
        self.settle(now);
    }

    /// How much a leg's path is thought to carry; `None` as long as nobody [wants to know](Shard::handle_demand) or nothing is
    /// known.
    pub fn estimate(&self, now: Instant, call: CallId, leg: LegId) -> Option<Estimate> {
        let key = self.key_of(call, leg)?;
        self.slot(key)?.leg.as_ref()?.estimate(now)
    }

    fn answer(
        &mut self,
        now: Instant,
        key: LegKey,
        offer: &CheckedOffer,
        secret: &IceSecret,
    ) -> Result<String, OfferError> {
        let renegotiation =
            self.slot(key).and_then(|slot| slot.leg.as_ref()).map(|leg| leg.renegotiation(offer));
        let answered = match renegotiation {
            Some(Renegotiation::Refuse) => return Err(OfferError::Invalid),
            Some(Renegotiation::Continue) => {
                let slot = self.slots.get_mut(key.0 as usize).and_then(|slot| slot.leg.as_mut());
                let leg = slot.ok_or(OfferError::LegUnknown)?;
                catch_unwind(AssertUnwindSafe(|| leg.accept_again(now, offer, secret)))
            }
            None | Some(Renegotiation::Replace) => {
                if renegotiation.is_none() && self.leg_count() >= self.config.max_legs {
                    return Err(OfferError::NodeFull);
                }
                let ShardConfig { announced, announced_tcp, .. } = &self.config;
                let accept = || Leg::accept(now, offer, announced, announced_tcp, secret);
                let made = catch_unwind(AssertUnwindSafe(accept));
                made.map(|made| made.map(|(leg, answer)| self.put_leg(key, leg, answer)))
            }
        };
        match answered {
            Ok(Ok(answer)) => {
                self.leg_negotiated(now, key);
                Ok(answer)
            }
            Ok(Err(error)) => {
                if matches!(renegotiation, Some(Renegotiation::Continue)) {
                    self.end_leg(now, key);
                }
                Err(error)
            }
            Err(_panic) => {
                self.counters.panics += 1;
                self.end_leg(now, key);
                Err(OfferError::Internal)
            }
        }
    }

    fn put_leg(&mut self, key: LegKey, leg: Leg, answer: String) -> String {
        self.demux.forget(key);
        self.forward.restart(key);
        self.across.restart(key);
        if let Some(slot) = self.slots.get_mut(key.0 as usize) {
            slot.leg = Some(leg);
            slot.is_ended = false;
            slot.seen = None;
            slot.told = None;
        }
        answer
    }

    fn leg_negotiated(&mut self, now: Instant, key: LegKey) {
        let Some(leg) = self.slots.get_mut(key.0 as usize).and_then(|slot| slot.leg.as_mut()) else { return };
        let (user, tracks) = (leg.user(), leg.tracks());
        self.demux.set_user(key, &user);
        self.forward.set_tracks(now, key, tracks);
        self.across.changed(key);
        self.touch(key);
    }

    /// Control has named every call that it wants here: all others end. Their generations are not remembered, since
    /// control may have lost count of them too.
    pub fn handle_synced(&mut self, now: Instant, wanted: &HashSet<CallId>) {
        let unwanted: Vec<CallId> =
            self.calls.keys().filter(|call| !wanted.contains(call)).copied().collect();
        for call in unwanted {
            let Call { legs, stubs, .. } = self.calls.remove(&call).unwrap_or_default();
            for (_, key) in legs.into_iter().chain(stubs) {
                self.free_slot(now, key);
            }
        }
        self.settle(now);
    }

    /// Control forgot what it was told (its link is new): the state of every leg is told again.
    pub fn handle_link_up(&mut self) {
        for index in 0..self.slots.len() {
            if self.slots[index].told.take().is_some() {
                self.mark_changed(LegKey(index as u32));
            }
        }
    }
}
