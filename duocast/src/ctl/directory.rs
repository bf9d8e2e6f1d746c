//! `duocast ctl`: what the platform says of its accounts.

use duocast_control::auth::{DevIssuer, Scope, dev_account_id};
use duocast_model::Handle;
use duocast_transport::client::Channel;
use duocast_wire::v1;
use duocast_wire::v1::directory_service_client::DirectoryServiceClient;

use super::{CtlError, done};
use crate::cli::{OnOff, Target};

async fn api(target: &Target) -> Result<DirectoryServiceClient<Channel>, CtlError> {
    Ok(DirectoryServiceClient::new(target.connect().await?))
}

fn id(handle: &Handle) -> String {
    dev_account_id(handle.as_str()).expose().to_owned()
}

pub(super) async fn dm(
    sender: &str,
    recipient: &str,
    accepted: bool,
    remove: bool,
    target: &Target,
) -> Result<(), CtlError> {
    let (from, to) = (Handle::new(sender)?, Handle::new(recipient)?);
    let message = v1::DirectMessage {
        sender_account_id: id(&from),
        recipient_account_id: id(&to),
        sent: !remove,
        accepted,
    };
    let message = v1::SetDirectMessagesRequest { messages: vec![message] };
    let request = target.request("ctl", Scope::Platform, message)?;
    api(target).await?.set_direct_messages(request).await?;
    let state = match (remove, accepted) {
        (true, _) => "there is no direct message from",
        (false, false) => "there is a direct message from",
        (false, true) => "there is an accepted direct message from",
    };
    done(target, &format!("{state} {} to {}", from.as_str(), to.as_str()));
    Ok(())
}

/// An account's names stay as they are: only what is given here changes.
async fn upsert(handle: &Handle, change: v1::Account, target: &Target) -> Result<(), CtlError> {
    let account = v1::Account { account_id: id(handle), handle: handle.as_str().to_owned(), ..change };
    let message = v1::UpsertAccountsRequest { accounts: vec![account] };
    let request = target.request("ctl", Scope::Platform, message)?;
    api(target).await?.upsert_accounts(request).await?;
    Ok(())
}

pub(super) async fn verified(handle: &str, verified: OnOff, target: &Target) -> Result<(), CtlError> {
    let handle = Handle::new(handle)?;
    let verified = verified == OnOff::On;
    upsert(&handle, v1::Account { verified: Some(verified), ..v1::Account::default() }, target).await?;
    let state = if verified { "has" } else { "does not have" };
    done(target, &format!("{} {state} the platform's badge", handle.as_str()));
    Ok(())
}

pub(super) async fn address_book(
    handle: &str,
    add: &[String],
    remove: &[String],
    replace: bool,
    target: &Target,
) -> Result<(), CtlError> {
    let handle = Handle::new(handle)?;
    let message = v1::SetAddressBookRequest {
        account_id: id(&handle),
        replace,
        add: hashes(add, target)?,
        remove: hashes(remove, target)?,
    };
    let request = target.request("ctl", Scope::Platform, message)?;
    api(target).await?.set_address_book(request).await?;
    done(target, &format!("{}: {} added, {} removed", handle.as_str(), add.len(), remove.len()));
    Ok(())
}

pub(super) async fn reachable(handle: &str, contacts: &[String], target: &Target) -> Result<(), CtlError> {
    let handle = Handle::new(handle)?;
    let contact_hashes = Some(v1::ContactHashes { hashes: hashes(contacts, target)? });
    upsert(&handle, v1::Account { contact_hashes, ..v1::Account::default() }, target).await?;
    done(target, &format!("{}: others may have it under {} entries", handle.as_str(), contacts.len()));
    Ok(())
}

/// Hashes as they are; numbers and addresses hashed here.
fn hashes(contacts: &[String], target: &Target) -> Result<Vec<Vec<u8>>, CtlError> {
    let hash = |contact: &String| match from_hex(contact) {
        Some(hash) => Ok(hash),
        None => Ok(DevIssuer::load(&target.data_dir())?.contact_hash(contact)?.to_vec()),
    };
    contacts.iter().map(hash).collect()
}

/// 64 hexadecimal digits as 32 bytes.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_told_from_a_number() {
        assert_eq!(from_hex(&"0f".repeat(32)), Some(vec![0x0f; 32]));
        for plain in ["+442079460958", "bob@example.org", &"0g".repeat(32), &"0".repeat(63), &"ü".repeat(32)]
        {
            assert_eq!(from_hex(plain), None, "{plain}");
        }
    }
}
