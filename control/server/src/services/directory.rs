//! What the platform says of its accounts.

use duocast_wire::v1;
use tonic::{Code, Request, Response, Status};

use super::errors::IntoStatus;
use super::{Services, fields, now, observe, status};
use crate::auth::Scope;
use crate::store::{AccountChange, FollowChange, FollowError, UpsertError};

/// Most items of one request. More go into several requests; each is one transaction, and a long one keeps calls waiting.
const ITEMS_MAX: usize = 1_000;

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
            let changed = changes.iter().map(|change| change.account.clone()).collect();
            self.0.store.upsert_accounts(now(), changes).await.map_err(|error| match &error {
                UpsertError::HandleTaken { index } => {
                    at(&format!("accounts[{index}].handle"), &error.status())
                }
                UpsertError::Store(_) => error.status(),
            })?;
            self.0.exchange.changed(changed).await.map_err(|error| error.status())?;
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
            self.0.store.set_follows(changes).await.map_err(|error| match &error {
                FollowError::AccountUnknown { index } => at(&format!("follows[{index}]"), &error.status()),
                FollowError::Store(_) => error.status(),
            })?;
            Ok(v1::SetFollowsResponse {})
        })
        .await
    }

    async fn set_direct_messages(
        &self,
        _request: Request<v1::SetDirectMessagesRequest>,
    ) -> Result<Response<v1::SetDirectMessagesResponse>, Status> {
        Err(Status::unimplemented("this server does not keep direct messages yet"))
    }

    async fn set_address_book(
        &self,
        _request: Request<v1::SetAddressBookRequest>,
    ) -> Result<Response<v1::SetAddressBookResponse>, Status> {
        Err(Status::unimplemented("this server does not keep address books yet"))
    }
}

fn account((index, account): (usize, &v1::Account)) -> Result<AccountChange, Status> {
    let field = |name: &str| format!("accounts[{index}].{name}");
    Ok(AccountChange {
        account: fields::account_id(&field("account_id"), &account.account_id)?,
        handle: fields::id(&field("handle"), &account.handle)?,
        display_name: fields::display_name(&field("display_name"), &account.display_name)?,
        calling_enabled: account.calling_enabled,
    })
}

fn follow((index, follow): (usize, &v1::Follow)) -> Result<FollowChange, Status> {
    let field = |name: &str| format!("follows[{index}].{name}");
    let follower = fields::account_id(&field("follower_account_id"), &follow.follower_account_id)?;
    let followee = fields::account_id(&field("followee_account_id"), &follow.followee_account_id)?;
    if follower == followee {
        let sentence = format!("follows[{index}]: an account cannot follow itself, name two accounts");
        return Err(status(Code::InvalidArgument, "FOLLOWS_ITSELF", sentence));
    }
    Ok(FollowChange { follower, followee, following: follow.following })
}

fn within_bound(field: &str, items: usize) -> Result<(), Status> {
    if items <= ITEMS_MAX {
        return Ok(());
    }
    let sentence =
        format!("{field}: expected at most {ITEMS_MAX} in one request, send the rest in further ones");
    Err(status(Code::InvalidArgument, "TOO_MANY_ITEMS", sentence))
}

/// The same failure, saying which item it is about.
fn at(item: &str, failure: &Status) -> Status {
    let reason = duocast_wire::error::reason(failure).unwrap_or_default();
    status(failure.code(), &reason, format!("{item}: {}", failure.message()))
}
