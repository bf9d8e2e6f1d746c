//! Fields of requests: checked once, answered with their name and what is allowed. Nothing of the value is repeated.

use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use duocast_model::{AccountId, CallId, InvalidId, UnixMillis};
use tonic::{Code, Status};

use super::status;
use crate::names;
use crate::store::PageMark;

/// Calls on a page if the request names no size.
const PAGE_SIZE_DEFAULT: u32 = 50;

/// Most calls on a page.
const PAGE_SIZE_MAX: u32 = 100;

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
        return Err(status(Code::InvalidArgument, "SDP_INVALID", sentence));
    }
    if text.len() > duocast_wire::MAX_SDP_BYTES {
        let sentence = "sdp_offer is larger than 64 KiB: offer one audio and at most one video section";
        return Err(status(Code::InvalidArgument, "SDP_TOO_LARGE", sentence));
    }
    Ok(text)
}

/// How many calls a page has.
pub(super) fn page_size(size: u32) -> Result<u32, Status> {
    match size {
        0 => Ok(PAGE_SIZE_DEFAULT),
        1..=PAGE_SIZE_MAX => Ok(size),
        _ => Err(status(
            Code::InvalidArgument,
            "PAGE_SIZE_INVALID",
            "page_size: expected 1 to 100, or 0 for 50",
        )),
    }
}

/// The place that a page token names: the time and the id of the last call that was shown, 24 bytes.
pub(super) fn page_mark(token: &str) -> Result<Option<PageMark>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let bytes: Option<[u8; 24]> = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| bytes.try_into().ok());
    let sentence = "page_token: expected the next_page_token of the page before, unchanged";
    let bytes = bytes.ok_or_else(|| status(Code::InvalidArgument, "PAGE_TOKEN_INVALID", sentence))?;
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

/// A field that is not what it must be. The last part of its path makes the reason: `accounts[3].handle` is HANDLE_INVALID.
pub(super) fn invalid(field: &str, error: &InvalidId) -> Status {
    let name = field.rsplit('.').next().unwrap_or(field);
    let reason = format!("{}_INVALID", name.to_uppercase());
    status(Code::InvalidArgument, &reason, format!("{field}: expected {}", error.allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_leads_back_to_its_place() {
        let mark = PageMark { created_at: UnixMillis(1_700_000_000_000), call: CallId::from_u128(7 << 64) };
        assert_eq!(page_mark(&page_token(mark)).unwrap(), Some(mark));
        assert_eq!(page_mark("").unwrap(), None);
    }

    #[test]
    fn a_page_token_that_was_changed_is_refused() {
        for bad in ["x", "!!!", "AAAA", &"A".repeat(100)] {
            assert_eq!(page_mark(bad).unwrap_err().code(), Code::InvalidArgument, "{bad}");
        }
    }
}
