//! What the platform says of its accounts.

use std::collections::BTreeSet;

use duocast_control_core::session::Event;
use duocast_model::AccountId;
use duocast_wire::v1;
use tonic::{Request, Response, Status};

use super::changes::ChangedBy;
use super::errors::IntoStatus;
use super::{Context, Reason, Services, fields, now, observe, status};
use crate::auth::Scope;
use crate::store::{
    AccountChange, BookChange, ContactHash, FollowChange, FollowError, MessageChange, UpsertError, Watch,
};

/// Most items of one request. More go into several requests; each is one transaction, and a long one keeps calls waiting.
const ITEMS_MAX: usize = 1_000;

/// Most entries under which others can have one account in their address book.
const CONTACT_HASHES_MAX: usize = 16;

#[tonic::async_trait]
impl v1::directory_service_server::DirectoryService for Services {
    async fn upsert_accounts(
        &self,
        request: Request<v1::UpsertAccountsRequest>,
    ) -> Result<Response<v1::UpsertAccountsResponse>, Status> {
        observe("UpsertAccounts", async {
            self.0.caller(request.metadata(), Scope::Platform)?;
            let accounts = request.into_inner().accounts;
            within_bound("accounts", accounts.len())?;
            let changes = accounts.iter().enumerate().map(account).collect::<Result<Vec<_>, _>>()?;
            self.0.to_the_end(|context| async move { context.upsert(changes).await }).await?;
            Ok(v1::UpsertAccountsResponse {})
        })
        .await
    }

    async fn set_follows(
        &self,
        request: Request<v1::SetFollowsRequest>,
    ) -> Result<Response<v1::SetFollowsResponse>, Status> {
        observe("SetFollows", async {
            self.0.caller(request.metadata(), Scope::Platform)?;
            let follows = request.into_inner().follows;
            within_bound("follows", follows.len())?;
            let changes = follows.iter().enumerate().map(follow).collect::<Result<Vec<_>, _>>()?;
            let pairs = changes.iter().map(|f| (f.follower.clone(), f.followee.clone())).collect();
            self.0
                .to_the_end(|context| async move {
                    let written = context.store.set_follows(changes).await;
                    written.map_err(|error| at_pair("follows", &error))?;
                    context.changed_pairs(pairs).await
                })
                .await?;
            Ok(v1::SetFollowsResponse {})
        })
        .await
    }

    async fn set_direct_messages(
        &self,
        request: Request<v1::SetDirectMessagesRequest>,
    ) -> Result<Response<v1::SetDirectMessagesResponse>, Status> {
        observe("SetDirectMessages", async {
            self.0.caller(request.metadata(), Scope::Platform)?;
            let messages = request.into_inner().messages;
            within_bound("messages", messages.len())?;
            let changes = messages.iter().enumerate().map(message).collect::<Result<Vec<_>, _>>()?;
            let pairs = changes.iter().map(|m| (m.sender.clone(), m.recipient.clone())).collect();
            self.0
                .to_the_end(|context| async move {
                    let written = context.store.set_messages(changes).await;
                    written.map_err(|error| at_pair("messages", &error))?;
                    context.changed_pairs(pairs).await
                })
                .await?;
            Ok(v1::SetDirectMessagesResponse {})
        })
        .await
    }

    async fn set_address_book(
        &self,
        request: Request<v1::SetAddressBookRequest>,
    ) -> Result<Response<v1::SetAddressBookResponse>, Status> {
        observe("SetAddressBook", async {
            self.0.caller(request.metadata(), Scope::Platform)?;
            let ask = request.into_inner();
            within_bound("add", ask.add.len())?;
            within_bound("remove", ask.remove.len())?;
            let owner = fields::account_id("account_id", &ask.account_id)?;
            let change = BookChange {
                owner: owner.clone(),
                replace: ask.replace,
                add: fields::contact_hashes("add", &ask.add)?,
                remove: fields::contact_hashes("remove", &ask.remove)?,
            };
            self.0
                .to_the_end(|context| async move {
                    context.store.set_address_book(change).await.map_err(|error| error.status())?;
                    let watches = vec![Watch::Account(owner.clone())];
                    context.changed(vec![owner], ChangedBy::Platform, watches).await
                })
                .await?;
            Ok(v1::SetAddressBookResponse {})
        })
        .await
    }
}

impl Context {
    async fn upsert(&self, changes: Vec<AccountChange>) -> Result<(), Status> {
        let accounts: Vec<AccountId> = changes.iter().map(|change| change.account.clone()).collect();
        let switched = self.store.upsert_accounts(now(), changes).await.map_err(|error| match &error {
            UpsertError::HandleTaken { index } => at(&format!("accounts[{index}].handle"), &error.status()),
            UpsertError::Store(_) => error.status(),
        })?;
        self.ask(move |board, now| {
            for (account, settings) in switched {
                board.handle_tell(now, &account, &Event::Settings(settings));
            }
        })
        .await?;
        let watches = accounts.iter().cloned().map(Watch::Both).collect();
        self.changed(accounts, ChangedBy::Platform, watches).await
    }

    /// What the platform says of these pairs changed.
    async fn changed_pairs(&self, pairs: Vec<(AccountId, AccountId)>) -> Result<(), Status> {
        let accounts: BTreeSet<AccountId> =
            pairs.iter().flat_map(|(one, other)| [one.clone(), other.clone()]).collect();
        let watches = pairs.into_iter().map(|(one, other)| Watch::Pair(one, other)).collect();
        self.changed(accounts.into_iter().collect(), ChangedBy::Platform, watches).await
    }
}

fn account((index, account): (usize, &v1::Account)) -> Result<AccountChange, Status> {
    let field = |name: &str| format!("accounts[{index}].{name}");
    Ok(AccountChange {
        account: fields::account_id(&field("account_id"), &account.account_id)?,
        handle: fields::id(&field("handle"), &account.handle)?,
        display_name: fields::display_name(&field("display_name"), &account.display_name)?,
        calling_enabled: account.calling_enabled,
        verified: account.verified,
        contact_hashes: account
            .contact_hashes
            .as_ref()
            .map(|known| contact_hashes(&field("contact_hashes"), &known.hashes))
            .transpose()?,
    })
}

fn contact_hashes(field: &str, hashes: &[Vec<u8>]) -> Result<Vec<ContactHash>, Status> {
    if hashes.len() > CONTACT_HASHES_MAX {
        let sentence = format!("{field}: expected at most {CONTACT_HASHES_MAX} of one account");
        return Err(status(Reason::TooManyItems, sentence));
    }
    fields::contact_hashes(field, hashes)
}

fn message((index, message): (usize, &v1::DirectMessage)) -> Result<MessageChange, Status> {
    let field = |name: &str| format!("messages[{index}].{name}");
    let sender = fields::account_id(&field("sender_account_id"), &message.sender_account_id)?;
    let recipient = fields::account_id(&field("recipient_account_id"), &message.recipient_account_id)?;
    if sender == recipient {
        let sentence = format!("messages[{index}]: an account cannot write to itself, name two accounts");
        return Err(status(Reason::WritesToItself, sentence));
    }
    let accepted = (message.sent || message.accepted).then_some(message.accepted);
    Ok(MessageChange { sender, recipient, accepted })
}

fn follow((index, follow): (usize, &v1::Follow)) -> Result<FollowChange, Status> {
    let field = |name: &str| format!("follows[{index}].{name}");
    let follower = fields::account_id(&field("follower_account_id"), &follow.follower_account_id)?;
    let followee = fields::account_id(&field("followee_account_id"), &follow.followee_account_id)?;
    if follower == followee {
        let sentence = format!("follows[{index}]: an account cannot follow itself, name two accounts");
        return Err(status(Reason::FollowsItself, sentence));
    }
    Ok(FollowChange { follower, followee, following: follow.following })
}

fn within_bound(field: &str, items: usize) -> Result<(), Status> {
    if items <= ITEMS_MAX {
        return Ok(());
    }
    let sentence =
        format!("{field}: expected at most {ITEMS_MAX} in one request, send the rest in further ones");
    Err(status(Reason::TooManyItems, sentence))
}

fn at_pair(field: &str, error: &FollowError) -> Status {
    match error {
        FollowError::AccountUnknown { index } => at(&format!("{field}[{index}]"), &error.status()),
        FollowError::Store(_) => error.status(),
    }
}

/// The same failure, saying which item it is about.
fn at(item: &str, failure: &Status) -> Status {
    let name = duocast_wire::error::reason(failure).unwrap_or_default();
    let reason = Reason::from_str_name(&name).unwrap_or(Reason::Internal);
    status(reason, format!("{item}: {}", failure.message()))
}
