//! Fields of requests: checked once, answered with their name and what is allowed. Nothing of the value is repeated.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use duocast_model::{AccountId, AudienceSet, CallId, Handle, InvalidId, UnixMillis};
use duocast_wire::{convert, v1};
use tonic::Status;

use super::{Reason, status};
use crate::names;
use crate::store::{ContactHash, PageMark, SettingsChange};

/// Calls on a page if the request names no size.
const PAGE_SIZE_DEFAULT: u32 = 50;

/// Most calls on a page.
const PAGE_SIZE_MAX: u32 = 100;

/// People on a page if the request names no size.
const PEOPLE_PAGE_SIZE_DEFAULT: u32 = 100;

/// Most people on a page.
const PEOPLE_PAGE_SIZE_MAX: u32 = 500;

/// What the token of a page of people starts with, so that a token of another list is not taken for one.
const PEOPLE_PAGE: &str = "people/";

/// Days that a grant lasts if the request names none, and at most. Longer ones are given anew: people forget whom they let in.
const GRANT_DAYS_DEFAULT: u32 = 30;
const GRANT_DAYS_MAX: u32 = 365;

/// An identifier that must be there.
pub(super) fn id<T: FromStr<Err = InvalidId>>(field: &str, text: &str) -> Result<T, Status> {
    text.parse().map_err(|error| invalid(field, &error))
}

/// An identifier that may be left out.
pub(super) fn optional_id<T: FromStr<Err = InvalidId>>(field: &str, text: &str) -> Result<Option<T>, Status> {
    if text.is_empty() { Ok(None) } else { id(field, text).map(Some) }
}

/// An account id, from the platform.
pub(super) fn account_id(field: &str, text: &str) -> Result<AccountId, Status> {
    AccountId::new(text).map_err(|error| invalid(field, &error))
}

/// A display name; an empty one is none.
pub(super) fn display_name(field: &str, text: &str) -> Result<Option<Arc<str>>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    names::display_name(text).map(Some).map_err(|error| invalid(field, &error))
}

/// A client's offer: the size is checked here, all else by the node.
pub(super) fn sdp_offer(text: String) -> Result<String, Status> {
    if text.is_empty() {
        let sentence = "sdp_offer is empty: send the offer that your WebRTC library made";
        return Err(status(Reason::SdpInvalid, sentence));
    }
    if text.len() > duocast_wire::MAX_SDP_BYTES {
        let sentence = "sdp_offer is larger than 64 KiB: offer one audio and at most one video section";
        return Err(status(Reason::SdpTooLarge, sentence));
    }
    Ok(text)
}

/// How many calls a page has.
pub(super) fn page_size(size: u32) -> Result<u32, Status> {
    match size {
        0 => Ok(PAGE_SIZE_DEFAULT),
        1..=PAGE_SIZE_MAX => Ok(size),
        _ => Err(status(Reason::PageSizeInvalid, "page_size: expected 1 to 100, or 0 for 50")),
    }
}

/// The place that a page token names: the time and the id of the last call that was shown, 24 bytes.
pub(super) fn page_mark(token: &str) -> Result<Option<PageMark>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes: Option<[u8; 24]> = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| bytes.try_into().ok());
    let sentence = "page_token: expected the next_page_token of the page before, unchanged";
    let bytes = bytes.ok_or_else(|| status(Reason::PageTokenInvalid, sentence))?;
    let (time, call) = bytes.split_at(8);
    let time = time.try_into().expect("split_at(8) gives 8 bytes");
    let call = call.try_into().expect("24 - 8 are 16 bytes");
    Ok(Some(PageMark {
        created_at: UnixMillis(u64::from_be_bytes(time)),
        call: CallId::from_u128(u128::from_be_bytes(call)),
    }))
}

/// The token for the page after this place.
pub(super) fn page_token(mark: PageMark) -> String {
    let mut bytes = mark.created_at.0.to_be_bytes().to_vec();
    bytes.extend(mark.call.as_u128().to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Which page of a list of people, by handle.
pub(super) struct PeoplePage {
    pub(super) size: u32,
    pub(super) after: Option<Handle>,
}

/// A page of people from its request.
pub(super) fn people_page(size: u32, token: &str) -> Result<PeoplePage, Status> {
    let size = match size {
        0 => PEOPLE_PAGE_SIZE_DEFAULT,
        1..=PEOPLE_PAGE_SIZE_MAX => size,
        _ => {
            let sentence = "page_size: expected 1 to 500, or 0 for 100";
            return Err(status(Reason::PageSizeInvalid, sentence));
        }
    };
    Ok(PeoplePage { size, after: people_page_mark(token)? })
}

/// A page of what was found, one more than it holds, and the token of the next one.
pub(super) fn paged<T>(mut found: Vec<T>, size: u32, handle: impl Fn(&T) -> &Handle) -> (Vec<T>, String) {
    let is_last = found.len() <= size as usize;
    found.truncate(size as usize);
    let token = found.last().filter(|_| !is_last).map(|last| people_page_token(handle(last)));
    (found, token.unwrap_or_default())
}

/// The person that a page of people goes on after.
fn people_page_mark(token: &str) -> Result<Option<Handle>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let handle = text.as_deref().and_then(|text| text.strip_prefix(PEOPLE_PAGE)?.parse().ok());
    let sentence = "page_token: expected the next_page_token of the page before, unchanged";
    handle.map(Some).ok_or_else(|| status(Reason::PageTokenInvalid, sentence))
}

/// The token for the page after this person.
fn people_page_token(last: &Handle) -> String {
    URL_SAFE_NO_PAD.encode(format!("{PEOPLE_PAGE}{}", last.as_str()))
}

/// Keyed hashes of contacts.
pub(super) fn contact_hashes(field: &str, hashes: &[Vec<u8>]) -> Result<Vec<ContactHash>, Status> {
    let hash = |hash: &Vec<u8>| hash.as_slice().try_into().ok();
    let sentence = || format!("{field}: expected hashes of 32 bytes, HMAC-SHA-256 by the platform's key");
    hashes.iter().map(hash).collect::<Option<Vec<_>>>().ok_or_else(|| status(Reason::HashInvalid, sentence()))
}

/// How long a grant lasts, from days.
pub(super) fn grant_days(field: &str, days: u32) -> Result<Duration, Status> {
    let days = match days {
        0 => GRANT_DAYS_DEFAULT,
        1..=GRANT_DAYS_MAX => days,
        _ => {
            let sentence = format!("{field}: expected 1 to {GRANT_DAYS_MAX}, or 0 for {GRANT_DAYS_DEFAULT}");
            return Err(status(Reason::GrantDaysInvalid, sentence));
        }
    };
    Ok(Duration::from_secs(u64::from(days) * 24 * 3600))
}

/// A change of settings.
pub(super) fn settings_change(change: Option<v1::SettingsChange>) -> Result<SettingsChange, Status> {
    let change = change.unwrap_or_default();
    let invalid = |field: &str, reason: Reason| {
        let sentence = format!("change.{field}: expected a value that the API names");
        status(reason, sentence)
    };
    let audience = change.audience.map(|audience| {
        let known = audience.audience.iter().map(|one| convert::audience(*one));
        known.collect::<Option<AudienceSet>>().ok_or_else(|| invalid("audience", Reason::AudienceInvalid))
    });
    let strangers = change
        .strangers
        .map(|one| convert::strangers(one).ok_or_else(|| invalid("strangers", Reason::StrangersInvalid)));
    let direct = change
        .direct
        .map(|one| convert::direct_setting(one).ok_or_else(|| invalid("direct", Reason::DirectInvalid)));
    Ok(SettingsChange {
        calling: change.calling,
        audience: audience.transpose()?,
        strangers: strangers.transpose()?,
        enhanced_call_privacy: change.enhanced_call_privacy,
        direct: direct.transpose()?,
        require_e2ee: change.require_e2ee,
    })
}

/// A field that is not what it must be. The last part of its path makes the reason: `accounts[3].handle` is HANDLE_INVALID.
pub(super) fn invalid(field: &str, error: &InvalidId) -> Status {
    let name = field.rsplit('.').next().unwrap_or(field);
    let reason = Reason::from_str_name(&format!("{}_INVALID", name.to_uppercase()));
    debug_assert!(reason.is_some(), "every field that is checked has its reason in error.proto: {field}");
    status(reason.unwrap_or(Reason::MessageInvalid), format!("{field}: expected {}", error.allowed))
}

/// Fuzzed: the texts of requests. A page token that is taken is one that was given.
#[cfg(any(test, duocast_fuzz))]
pub(crate) fn fuzz(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(Some(mark)) = page_mark(text) {
        assert_eq!(page_token(mark), text);
    }
    if let Ok(PeoplePage { after: Some(last), .. }) = people_page(0, text) {
        assert_eq!(people_page_token(&last), text);
    }
    if let Ok(Some(name)) = display_name("display_name", text) {
        assert!(names::display_name(&name).is_ok_and(|again| again == name));
    }
    let _ = contact_hashes("hashes", &[input.to_vec()]);
    let _ = id::<Handle>("handle", text);
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_page_token_leads_back_to_its_place() {
        let mark = PageMark { created_at: UnixMillis(1_700_000_000_000), call: CallId::from_u128(7 << 64) };
        assert_eq!(page_mark(&page_token(mark)).unwrap(), Some(mark));
        assert_eq!(page_mark("").unwrap(), None);
    }

    #[test]
    fn the_token_of_one_list_is_none_of_another() {
        let last = Handle::new("bob").unwrap();
        assert_eq!(people_page_mark(&people_page_token(&last)).unwrap(), Some(last.clone()));
        let mark = PageMark { created_at: UnixMillis(1), call: CallId::from_u128(7) };
        for bad in [page_token(mark), "x".into(), URL_SAFE_NO_PAD.encode("people/A b")] {
            assert_eq!(people_page_mark(&bad).unwrap_err().code(), Code::InvalidArgument, "{bad}");
        }
        assert_eq!(page_mark(&people_page_token(&last)).unwrap_err().code(), Code::InvalidArgument);
    }

    #[test]
    fn a_page_token_that_was_changed_is_refused() {
        for bad in ["x", "!!!", "AAAA", &"A".repeat(100)] {
            assert_eq!(page_mark(bad).unwrap_err().code(), Code::InvalidArgument, "{bad}");
        }
    }
}
