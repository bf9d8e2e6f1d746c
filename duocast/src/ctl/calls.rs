//! `duocast ctl calls`: an account's calls, and who saw whose address in them.

use duocast_model::UnixMillis;
use duocast_wire::v1;
use duocast_wire::v1::call_service_client::CallServiceClient;
use serde_json::json;

use super::{CtlError, millis, words};
use crate::cli::As;
use crate::term::{self, BAD, GOOD, clock, paint, table};

pub(super) async fn list(of: &As, limit: u32) -> Result<(), CtlError> {
    let target = &of.target;
    let ask = v1::ListCallsRequest { page_size: limit, page_token: String::new() };
    let request = of.request(ask)?;
    let answer = CallServiceClient::new(target.connect().await?).list_calls(request).await?.into_inner();
    if target.json {
        let list: Vec<_> = answer.calls.iter().map(call_json).collect();
        term::line(&json!({ "calls": list }).to_string());
    } else if answer.calls.is_empty() {
        term::line("no calls yet");
    } else {
        let rows: Vec<Vec<String>> = answer.calls.iter().map(call_row).collect();
        term::line(&table(&["CALL", "WITH", "DIRECTION", "STATE", "TALKED", "THEY SAW YOUR ADDRESS"], &rows));
    }
    Ok(())
}

fn call_json(call: &v1::Call) -> serde_json::Value {
    json!({
        "call_id": call.call_id,
        "peer": call.peer.as_ref().map(|p| &p.handle),
        "outgoing": call.role() == v1::Role::Caller,
        "video": call.video,
        "state": call.state().as_str_name(),
        "end_reason": call.end_reason().as_str_name(),
        "created_at_ms": call.created_at.as_ref().map(millis),
        "talked_ms": talked_ms(call),
        "own_exposure": exposure_json(&call.own_exposure),
        "peer_exposure": exposure_json(&call.peer_exposure),
    })
}

fn call_row(call: &v1::Call) -> Vec<String> {
    let state = match (call.state(), call.end_reason()) {
        (v1::CallState::Ended, v1::EndReason::HungUp) => paint(GOOD, "hung up"),
        (v1::CallState::Ended, why) => paint(BAD, &words(why.as_str_name(), "END_REASON_")),
        (state, _) => paint(GOOD, &words(state.as_str_name(), "CALL_STATE_")),
    };
    let talked =
        talked_ms(call).map_or_else(|| "-".into(), |ms| format!("{}:{:02}", ms / 60_000, ms / 1000 % 60));
    vec![
        call.call_id.chars().take(8).collect(),
        call.peer.as_ref().map(|p| p.handle.clone()).unwrap_or_default(),
        if call.role() == v1::Role::Caller { "outgoing" } else { "incoming" }.into(),
        state,
        talked,
        exposure_words(&call.own_exposure),
    ]
}

/// Since when one side has known which kinds of the other side's addresses; null: none.
fn exposure_json(exposure: &Option<v1::AddressExposure>) -> serde_json::Value {
    exposure.as_ref().map_or(serde_json::Value::Null, |exposure| {
        let kinds: Vec<_> = exposure.kinds().map(kind_name).collect();
        json!({ "since_ms": exposure.since.as_ref().map(millis), "kinds": kinds })
    })
}

fn kind_name(kind: v1::AddressKind) -> String {
    kind.as_str_name().trim_start_matches("ADDRESS_KIND_").to_lowercase()
}

fn exposure_words(exposure: &Option<v1::AddressExposure>) -> String {
    let Some(exposure) = exposure else { return paint(GOOD, "no") };
    let since = exposure.since.as_ref().map(millis).and_then(|ms| u64::try_from(ms).ok());
    paint(BAD, &since.map_or_else(|| "yes".into(), |ms| format!("since {}", clock(UnixMillis(ms)))))
}

fn talked_ms(call: &v1::Call) -> Option<i64> {
    Some(millis(call.ended_at.as_ref()?) - millis(call.accepted_at.as_ref()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposed() -> v1::AddressExposure {
        let since = prost_types::Timestamp { seconds: 86_400 + (12 * 60 + 3) * 60, nanos: 0 };
        let kinds = vec![v1::AddressKind::Public.into(), v1::AddressKind::LocalNetwork.into()];
        v1::AddressExposure { since: Some(since), kinds }
    }

    #[test]
    fn a_call_says_who_saw_whose_address() {
        let routed = v1::Call::default();
        assert_eq!(call_row(&routed).last().unwrap(), &paint(GOOD, "no"));
        assert!(
            call_json(&routed)["own_exposure"].is_null() && call_json(&routed)["peer_exposure"].is_null()
        );

        let direct = v1::Call { own_exposure: Some(exposed()), ..routed.clone() };
        assert_eq!(call_row(&direct).last().unwrap(), &paint(BAD, "since 12:03 UTC"));
        let told = json!({ "since_ms": 129_780_000, "kinds": ["public", "local_network"] });
        assert_eq!(call_json(&direct)["own_exposure"], told);
        assert!(call_json(&direct)["peer_exposure"].is_null());

        // What this side learned of the other one is not what the column says.
        let theirs = v1::Call { peer_exposure: Some(exposed()), ..routed };
        assert_eq!(call_row(&theirs).last().unwrap(), &paint(GOOD, "no"));
        assert_eq!(call_json(&theirs)["peer_exposure"], told);
    }
}
