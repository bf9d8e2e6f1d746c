//! `duocast ctl settings preview`: what a change would do.

use duocast_wire::v1;
use serde_json::json;

use super::{Client, CtlError, decision_json, handle, outcome, settings_json, wanted};
use crate::cli::{As, SettingsChange};
use crate::term::{self, BAD, FAINT, GOOD, paint, table};

pub(super) async fn preview(of: &As, change: &SettingsChange) -> Result<(), CtlError> {
    let mut client = Client::of(of).await?;
    let message = v1::PreviewSettingsRequest { change: Some(wanted(change)) };
    let answer = rpc!(client, preview_settings, message);
    if of.target.json {
        let changes = answer.changes.iter().map(|one| {
            json!({
                "handle": handle(&one.person),
                "before": decision_json(&one.before),
                "after": decision_json(&one.after),
            })
        });
        let all = json!({
            "settings": settings_json(&answer.settings.unwrap_or_default()),
            "changes": changes.collect::<Vec<_>>(),
            "changed": answer.changed,
            "callers_before": answer.callers_before,
            "callers_after": answer.callers_after,
            "stranger_before": decision_json(&answer.stranger_before),
            "stranger_after": decision_json(&answer.stranger_after),
        });
        term::line(&all.to_string());
        return Ok(());
    }
    let mut rows: Vec<Vec<String>> =
        answer.changes.iter().map(|one| preview_row(handle(&one.person), &one.before, &one.after)).collect();
    rows.push(preview_row(paint(FAINT, "(a stranger)"), &answer.stranger_before, &answer.stranger_after));
    term::line(&table(&["PERSON", "NOW", "THEN", "YOUR ADDRESS", "BECAUSE"], &rows));
    let unnamed = answer.changed.saturating_sub(u32::try_from(answer.changes.len()).unwrap_or(u32::MAX));
    if unnamed > 0 {
        term::line(&paint(FAINT, &format!("and {unnamed} more people")));
    }
    let count = format!(
        "people you know who can call you: {} now, {} then. Nothing was changed: `settings set` does it",
        answer.callers_before, answer.callers_after
    );
    term::line(&paint(FAINT, &count));
    Ok(())
}

fn preview_row(who: String, before: &Option<v1::Decision>, after: &Option<v1::Decision>) -> Vec<String> {
    let because = after.as_ref().map(|after| after.sentence.clone()).unwrap_or_default();
    let (now, then) = (sees(before), sees(after));
    let address = if now == then { then } else { format!("{now} → {then}") };
    vec![who, outcome(before), outcome(after), address, because]
}

/// What somebody in a call with the account may see of its IP address.
fn sees(decision: &Option<v1::Decision>) -> String {
    match decision.as_ref().map(v1::Decision::own_direct) {
        Some(v1::DirectConsent::Given) => paint(BAD, "seen"),
        Some(v1::DirectConsent::NotGiven) => "if you say yes".into(),
        _ => paint(GOOD, "hidden"),
    }
}
