//! Settings, call requests, grants, blocks, and the questions about them.

use duocast_model::{Handle, PrivacySettings};
use duocast_wire::v1;

use super::Client;
use crate::error::CallError;
use crate::privacy::{
    Blocked, CallDecision, CallRequest, CanCall, Grant, PEOPLE_MAX, PreviewedPerson, RequestAnswer,
    SettingsChange, SettingsInfo, SettingsPreview, decision, person, settings,
};
use crate::session::{InvalidCall, Person};

/// People asked for at a time.
const PAGE: u32 = 500;

impl Client {
    /// The account's settings.
    pub async fn settings(&self) -> Result<SettingsInfo, CallError> {
        let answer = self.signaller().get_settings(v1::GetSettingsRequest {}).await?;
        Ok(SettingsInfo {
            settings: read_settings(answer.settings)?,
            defaults: read_settings(answer.defaults)?,
            decided: answer.decided,
            policy_profile: answer.policy_profile,
        })
    }

    /// Changes settings, for calls under way as well: one that rings and would no longer be allowed stops, and a direct leg
    /// that is no longer consented to goes back to the server.
    pub async fn update_settings(&self, change: SettingsChange) -> Result<PrivacySettings, CallError> {
        let request = v1::UpdateSettingsRequest { change: Some(change.into()) };
        read_settings(self.signaller().update_settings(request).await?.settings)
    }

    /// What a change would do, person by person, without doing it.
    pub async fn preview_settings(&self, change: SettingsChange) -> Result<SettingsPreview, CallError> {
        let request = v1::PreviewSettingsRequest { change: Some(change.into()) };
        let answer = self.signaller().preview_settings(request).await?;
        Ok(SettingsPreview {
            settings: read_settings(answer.settings)?,
            changes: all(answer.changes, PreviewedPerson::try_from)?,
            changed: answer.changed,
            callers_before: answer.callers_before,
            callers_after: answer.callers_after,
        })
    }

    /// May this account call them, and may they call it?
    pub async fn can_call(&self, handle: &Handle) -> Result<CanCall, CallError> {
        let request = v1::CanCallRequest { handle: handle.as_str().to_owned() };
        let answer = self.signaller().can_call(request).await?;
        let read = || {
            Ok(CanCall {
                person: person(answer.person)?,
                outgoing: decision(answer.outgoing)?,
                incoming: decision(answer.incoming)?,
            })
        };
        read().map_err(unreadable)
    }

    /// Whom this account can call, of those it knows; at most [`PEOPLE_MAX`](crate::privacy::PEOPLE_MAX).
    pub async fn callable(&self) -> Result<Vec<(Person, CallDecision)>, CallError> {
        let mut people = Vec::new();
        let mut request = v1::ListPeopleRequest { page_size: PAGE, page_token: String::new() };
        loop {
            let answer = self.signaller().list_callable(request.clone()).await?;
            if !take_page(&mut people, &mut request, answer)? {
                return Ok(people);
            }
        }
    }

    /// Who can call this account, of those it knows; at most [`PEOPLE_MAX`](crate::privacy::PEOPLE_MAX). True: and everybody else.
    pub async fn callers(&self) -> Result<(Vec<(Person, CallDecision)>, bool), CallError> {
        let mut people = Vec::new();
        let mut request = v1::ListPeopleRequest { page_size: PAGE, page_token: String::new() };
        loop {
            let answer = self.signaller().list_callers(request.clone()).await?;
            let everyone = answer.everyone;
            if !take_page(&mut people, &mut request, answer)? {
                return Ok((people, everyone));
            }
        }
    }

    /// Asks for permission to call. Nothing rings.
    pub async fn send_call_request(&self, handle: &Handle) -> Result<CallRequest, CallError> {
        let request = v1::SendCallRequestRequest { handle: handle.as_str().to_owned() };
        let answer = self.signaller().send_call_request(request).await?;
        one(answer.request, CallRequest::try_from)
    }

    /// Requests that wait for this account's answer, and requests that it sent; newest first, at most 100 of each.
    pub async fn call_requests(&self) -> Result<(Vec<CallRequest>, Vec<CallRequest>), CallError> {
        let answer = self.signaller().list_call_requests(v1::ListCallRequestsRequest {}).await?;
        Ok((all(answer.incoming, CallRequest::try_from)?, all(answer.outgoing, CallRequest::try_from)?))
    }

    /// Accepts a call request, which gives a grant, or declines it.
    pub async fn answer_call_request(
        &self,
        handle: &Handle,
        answer: RequestAnswer,
    ) -> Result<Option<Grant>, CallError> {
        let days = match answer {
            RequestAnswer::Accept { days } => days,
            RequestAnswer::Decline | RequestAnswer::Block => None,
        };
        let request = v1::AnswerCallRequestRequest {
            handle: handle.as_str().to_owned(),
            accept: matches!(answer, RequestAnswer::Accept { .. }),
            grant_days: days.unwrap_or(0),
            block: answer == RequestAnswer::Block,
        };
        let answer = self.signaller().answer_call_request(request).await?;
        answer.grant.map(Grant::try_from).transpose().map_err(unreadable)
    }

    /// Permissions that this account gave.
    pub async fn grants(&self) -> Result<Vec<Grant>, CallError> {
        let mut grants = Vec::new();
        let mut request = v1::ListGrantsRequest { page_size: PAGE, page_token: String::new() };
        loop {
            let answer = self.signaller().list_grants(request.clone()).await?;
            let page = all(answer.grants, Grant::try_from)?;
            let has_more = !page.is_empty() && !answer.next_page_token.is_empty();
            grants.extend(page);
            if !has_more || grants.len() >= PEOPLE_MAX {
                return Ok(grants);
            }
            request.page_token = answer.next_page_token;
        }
    }

    /// Lets one person call for so many days, 1 to 365; `None`: the server's 30.
    pub async fn grant(&self, handle: &Handle, days: Option<u32>) -> Result<Grant, CallError> {
        let handle = handle.as_str().to_owned();
        let request = v1::CreateGrantRequest { handle, days: days.unwrap_or(0) };
        one(self.signaller().create_grant(request).await?.grant, Grant::try_from)
    }

    /// Takes a permission back, at once.
    pub async fn revoke_grant(&self, handle: &Handle) -> Result<(), CallError> {
        let request = v1::RevokeGrantRequest { handle: handle.as_str().to_owned() };
        self.signaller().revoke_grant(request).await.map(drop)
    }

    /// Whom this account blocked.
    pub async fn blocks(&self) -> Result<Vec<Blocked>, CallError> {
        let mut blocks = Vec::new();
        let mut request = v1::ListBlocksRequest { page_size: PAGE, page_token: String::new() };
        loop {
            let answer = self.signaller().list_blocks(request.clone()).await?;
            let page = all(answer.blocks, Blocked::try_from)?;
            let has_more = !page.is_empty() && !answer.next_page_token.is_empty();
            blocks.extend(page);
            if !has_more || blocks.len() >= PEOPLE_MAX {
                return Ok(blocks);
            }
            request.page_token = answer.next_page_token;
        }
    }

    /// Blocks somebody: it beats everything else, in both directions, and ends a call with them. They are not told.
    pub async fn block(&self, handle: &Handle) -> Result<(), CallError> {
        let request = v1::BlockRequest { handle: handle.as_str().to_owned() };
        self.signaller().block(request).await.map(drop)
    }

    /// Takes a block back.
    pub async fn unblock(&self, handle: &Handle) -> Result<(), CallError> {
        let request = v1::UnblockRequest { handle: handle.as_str().to_owned() };
        self.signaller().unblock(request).await.map(drop)
    }
}

/// Adds a page to the list; false if it was the last.
fn take_page(
    people: &mut Vec<(Person, CallDecision)>,
    request: &mut v1::ListPeopleRequest,
    answer: v1::ListPeopleResponse,
) -> Result<bool, CallError> {
    let before = people.len();
    let read = |one: v1::PersonDecision| Ok((person(one.person)?, decision(one.decision)?));
    people.extend(all(answer.people, read)?);
    people.truncate(PEOPLE_MAX);
    // A page that adds nothing ends it too, whatever its token says.
    let has_more = !answer.next_page_token.is_empty() && people.len() > before && people.len() < PEOPLE_MAX;
    request.page_token = answer.next_page_token;
    Ok(has_more)
}

fn read_settings(wire: Option<v1::Settings>) -> Result<PrivacySettings, CallError> {
    one(wire, |wire| settings(&wire))
}

fn one<W, T>(wire: Option<W>, read: impl FnOnce(W) -> Result<T, InvalidCall>) -> Result<T, CallError> {
    let wire = wire.ok_or_else(|| CallError::Unreadable("an empty answer".to_owned()))?;
    read(wire).map_err(unreadable)
}

fn all<W, T>(wire: Vec<W>, read: impl Fn(W) -> Result<T, InvalidCall>) -> Result<Vec<T>, CallError> {
    wire.into_iter().map(read).collect::<Result<_, _>>().map_err(unreadable)
}

fn unreadable(error: InvalidCall) -> CallError {
    CallError::Unreadable(error.to_string())
}
