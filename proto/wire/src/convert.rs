//! Wire to model and back, once, at the edge: what comes through here is valid inside.

use duocast_model as model;
use model::{CallId, EndReason, Generation, InvalidId, LegId, PlanError, Route, UnixMillis};

use crate::v1;

/// Why a wire message has no model value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireError {
    /// An identifier is malformed.
    Id(InvalidId),
    /// A plan contradicts itself.
    Plan(PlanError),
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(e) => e.fmt(f),
            Self::Plan(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for WireError {}

impl From<InvalidId> for WireError {
    fn from(e: InvalidId) -> Self {
        Self::Id(e)
    }
}

impl TryFrom<v1::RoutePlan> for model::RoutePlan {
    type Error = WireError;

    fn try_from(wire: v1::RoutePlan) -> Result<Self, WireError> {
        let call: CallId = wire.call_id.parse()?;
        let legs = wire.legs.iter().map(|l| l.leg_id.parse()).collect::<Result<Vec<LegId>, _>>()?;
        let routes = wire
            .routes
            .iter()
            .map(|r| Ok(Route { from: r.from_leg_id.parse()?, to: r.to_leg_id.parse()? }))
            .collect::<Result<Vec<_>, InvalidId>>()?;
        let plan = model::RoutePlan::new(call, Generation(wire.generation), legs, routes);
        let plan = plan.map_err(WireError::Plan)?;
        Ok(if wire.has_audience { plan.with_audience() } else { plan })
    }
}

impl From<&model::RoutePlan> for v1::RoutePlan {
    fn from(plan: &model::RoutePlan) -> Self {
        v1::RoutePlan {
            call_id: plan.call().to_string(),
            generation: plan.generation().0,
            legs: plan.legs().iter().map(|l| v1::LegPlan { leg_id: l.to_string() }).collect(),
            routes: plan
                .routes()
                .iter()
                .map(|r| v1::Route { from_leg_id: r.from.to_string(), to_leg_id: r.to.to_string() })
                .collect(),
            has_audience: plan.has_audience(),
        }
    }
}

/// A moment, for the wire.
pub fn timestamp(at: UnixMillis) -> prost_types::Timestamp {
    let seconds = i64::try_from(at.0 / 1000).unwrap_or(i64::MAX);
    let nanos = (at.0 % 1000) as i32 * 1_000_000;
    prost_types::Timestamp { seconds, nanos }
}

/// A call's state and end reason, for the wire.
pub fn call_state(state: model::CallState) -> (v1::CallState, v1::EndReason) {
    use v1::{CallState as Wire, EndReason as Why};
    match state {
        model::CallState::Created => (Wire::Created, Why::Unspecified),
        model::CallState::Ringing => (Wire::Ringing, Why::Unspecified),
        model::CallState::Accepted => (Wire::Accepted, Why::Unspecified),
        model::CallState::Live => (Wire::Live, Why::Unspecified),
        model::CallState::Ended(reason) => (Wire::Ended, end_reason(reason)),
    }
}

fn end_reason(reason: EndReason) -> v1::EndReason {
    match reason {
        EndReason::HungUp => v1::EndReason::HungUp,
        EndReason::Declined => v1::EndReason::Declined,
        EndReason::TimedOut => v1::EndReason::TimedOut,
        EndReason::Busy => v1::EndReason::Busy,
        EndReason::Cancelled => v1::EndReason::Cancelled,
        EndReason::AnsweredElsewhere => v1::EndReason::AnsweredElsewhere,
        EndReason::PartyLost => v1::EndReason::PartyLost,
        EndReason::MediaFailed => v1::EndReason::MediaFailed,
        EndReason::NodeLost => v1::EndReason::NodeLost,
    }
}

impl From<model::Party> for v1::Role {
    fn from(party: model::Party) -> Self {
        match party {
            model::Party::Caller => v1::Role::Caller,
            model::Party::Callee => v1::Role::Callee,
        }
    }
}

impl From<model::MediaState> for v1::MediaState {
    fn from(media: model::MediaState) -> Self {
        v1::MediaState { audio: media.audio, video: media.video }
    }
}

impl From<v1::MediaState> for model::MediaState {
    fn from(wire: v1::MediaState) -> Self {
        model::MediaState { audio: wire.audio, video: wire.video }
    }
}

impl From<model::DirectConsent> for v1::DirectConsent {
    fn from(consent: model::DirectConsent) -> Self {
        match consent {
            model::DirectConsent::Never => v1::DirectConsent::Never,
            model::DirectConsent::NotGiven => v1::DirectConsent::NotGiven,
            model::DirectConsent::Given => v1::DirectConsent::Given,
        }
    }
}

impl From<model::Audience> for v1::Audience {
    fn from(audience: model::Audience) -> Self {
        match audience {
            model::Audience::Mutuals => v1::Audience::Mutuals,
            model::Audience::Following => v1::Audience::Following,
            model::Audience::AddressBook => v1::Audience::AddressBook,
            model::Audience::Verified => v1::Audience::Verified,
            model::Audience::DmAccepted => v1::Audience::DmAccepted,
            model::Audience::Everyone => v1::Audience::Everyone,
        }
    }
}

/// An audience from the wire; `None` if it is unspecified or unknown.
pub fn audience(wire: i32) -> Option<model::Audience> {
    model::Audience::ALL.into_iter().find(|a| v1::Audience::from(*a) as i32 == wire)
}

impl From<model::Strangers> for v1::Strangers {
    fn from(strangers: model::Strangers) -> Self {
        match strangers {
            model::Strangers::Request => v1::Strangers::Request,
            model::Strangers::Deny => v1::Strangers::Deny,
        }
    }
}

/// What happens to strangers, from the wire; `None` if it is unspecified or unknown.
pub fn strangers(wire: i32) -> Option<model::Strangers> {
    let all = [model::Strangers::Request, model::Strangers::Deny];
    all.into_iter().find(|s| v1::Strangers::from(*s) as i32 == wire)
}

impl From<model::DirectSetting> for v1::DirectSetting {
    fn from(direct: model::DirectSetting) -> Self {
        match direct {
            model::DirectSetting::Never => v1::DirectSetting::Never,
            model::DirectSetting::Ask => v1::DirectSetting::Ask,
            model::DirectSetting::Mutuals => v1::DirectSetting::Mutuals,
            model::DirectSetting::Anyone => v1::DirectSetting::Anyone,
        }
    }
}

/// The direct setting, from the wire; `None` if it is unspecified or unknown.
pub fn direct_setting(wire: i32) -> Option<model::DirectSetting> {
    use model::DirectSetting as D;
    [D::Never, D::Ask, D::Mutuals, D::Anyone].into_iter().find(|d| v1::DirectSetting::from(*d) as i32 == wire)
}

impl From<model::PrivacySettings> for v1::Settings {
    fn from(settings: model::PrivacySettings) -> Self {
        v1::Settings {
            calling: settings.calling,
            audience: settings.audience.iter().map(|a| v1::Audience::from(a).into()).collect(),
            strangers: v1::Strangers::from(settings.strangers).into(),
            enhanced_call_privacy: settings.enhanced_call_privacy,
            direct: v1::DirectSetting::from(settings.direct).into(),
            require_e2ee: settings.require_e2ee,
        }
    }
}

impl From<model::Exposure> for v1::AddressExposure {
    fn from(exposure: model::Exposure) -> Self {
        let kind = |kind| match kind {
            model::AddressKind::Public => v1::AddressKind::Public.into(),
            model::AddressKind::LocalNetwork => v1::AddressKind::LocalNetwork.into(),
        };
        v1::AddressExposure {
            since: Some(timestamp(exposure.since)),
            kinds: exposure.kinds().map(kind).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_survives_the_wire() {
        let (a, b) = (LegId::from_u128(1), LegId::from_u128(2));
        let plan = model::RoutePlan::new(
            CallId::from_u128(9),
            Generation(7),
            vec![a, b],
            vec![Route { from: a, to: b }, Route { from: b, to: a }],
        )
        .unwrap();
        for plan in [plan.clone(), plan.with_audience()] {
            let back = model::RoutePlan::try_from(v1::RoutePlan::from(&plan)).unwrap();
            assert_eq!(back, plan);
        }
    }

    #[test]
    fn a_hostile_plan_is_an_error() {
        let wire = v1::RoutePlan { call_id: "nonsense".into(), ..Default::default() };
        assert!(matches!(model::RoutePlan::try_from(wire), Err(WireError::Id(_))));
    }
}
