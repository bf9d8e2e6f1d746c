//! What an account chose about calls, and the questions about it. Grants, blocks and requests: [`super::permissions`].

use duocast_control_core::policy::{self, Outcome, POLICY_VERSION, Situation, Told};
use duocast_control_core::session::{Event, Person};
use duocast_model::{AccountId, DirectConsent, Handle, PrivacySettings};
use duocast_wire::v1;
use tonic::{Request, Response, Status};

use super::changes::ChangedBy;
use super::errors::IntoStatus;
use super::{Context, Reason, Services, fields, now, observe, status, views};
use crate::store::{KNOWN_MAX, OwnSettings, Pair, PrivacyError, SettingsChange, Watch};

/// Most people that a preview names; it counts all.
const PREVIEWED_MAX: usize = 100;

#[tonic::async_trait]
impl v1::privacy_service_server::PrivacyService for Services {
    async fn get_settings(
        &self,
        request: Request<v1::GetSettingsRequest>,
    ) -> Result<Response<v1::GetSettingsResponse>, Status> {
        observe("GetSettings", async {
            let client = self.0.client(request.metadata()).await?;
            let own = self.0.own_settings(&client.account).await?;
            Ok(v1::GetSettingsResponse {
                settings: Some(own.settings.into()),
                defaults: Some(self.0.profile().defaults().into()),
                decided: own.decided,
                policy_profile: self.0.profile().name().to_owned(),
                policy_version: POLICY_VERSION,
            })
        })
        .await
    }

    async fn update_settings(
        &self,
        request: Request<v1::UpdateSettingsRequest>,
    ) -> Result<Response<v1::UpdateSettingsResponse>, Status> {
        observe("UpdateSettings", async {
            let client = self.0.client(request.metadata()).await?;
            let change = fields::settings_change(request.into_inner().change)?;
            let work = |context: std::sync::Arc<Context>| async move {
                context.update_settings(client.account, change).await
            };
            let settings = self.0.to_the_end(work).await?;
            Ok(v1::UpdateSettingsResponse { settings: Some(settings.into()) })
        })
        .await
    }

    async fn preview_settings(
        &self,
        request: Request<v1::PreviewSettingsRequest>,
    ) -> Result<Response<v1::PreviewSettingsResponse>, Status> {
        observe("PreviewSettings", async {
            let client = self.0.client(request.metadata()).await?;
            let change = fields::settings_change(request.into_inner().change)?;
            self.0.preview(client.account, change).await
        })
        .await
    }

    async fn can_call(
        &self,
        request: Request<v1::CanCallRequest>,
    ) -> Result<Response<v1::CanCallResponse>, Status> {
        observe("CanCall", async {
            let client = self.0.client(request.metadata()).await?;
            let handle: Handle = fields::id("handle", &request.get_ref().handle)?;
            let pair = self.0.pair(&client.account, handle).await?;
            if pair.me.account == pair.other.account {
                return Err(PrivacyError::Oneself.status());
            }
            Ok(v1::CanCallResponse {
                person: Some(views::person(&pair.other.person)),
                outgoing: Some(self.0.outgoing(&pair)),
                incoming: Some(self.0.incoming(&pair, pair.me.settings)),
            })
        })
        .await
    }

    async fn list_callable(
        &self,
        request: Request<v1::ListPeopleRequest>,
    ) -> Result<Response<v1::ListPeopleResponse>, Status> {
        observe("ListCallable", async {
            let client = self.0.client(request.metadata()).await?;
            let page = fields::people_page(request.get_ref().page_size, &request.get_ref().page_token)?;
            self.0.callable(client.account, page).await
        })
        .await
    }

    async fn list_callers(
        &self,
        request: Request<v1::ListPeopleRequest>,
    ) -> Result<Response<v1::ListPeopleResponse>, Status> {
        observe("ListCallers", async {
            let client = self.0.client(request.metadata()).await?;
            let page = fields::people_page(request.get_ref().page_size, &request.get_ref().page_token)?;
            self.0.callers(client.account, page).await
        })
        .await
    }

    async fn send_call_request(
        &self,
        request: Request<v1::SendCallRequestRequest>,
    ) -> Result<Response<v1::SendCallRequestResponse>, Status> {
        observe("SendCallRequest", async {
            let client = self.0.client(request.metadata()).await?;
            let handle: Handle = fields::id("handle", &request.get_ref().handle)?;
            self.0
                .to_the_end(|context| async move { context.send_request(client.account, handle).await })
                .await
        })
        .await
    }

    async fn list_call_requests(
        &self,
        request: Request<v1::ListCallRequestsRequest>,
    ) -> Result<Response<v1::ListCallRequestsResponse>, Status> {
        observe("ListCallRequests", async {
            let client = self.0.client(request.metadata()).await?;
            let requests = self.0.store.requests(client.account, now()).await;
            let requests = requests.map_err(|error| error.status())?;
            Ok(v1::ListCallRequestsResponse {
                incoming: requests.incoming.iter().map(views::call_request).collect(),
                outgoing: requests.outgoing.iter().map(views::call_request).collect(),
            })
        })
        .await
    }

    async fn answer_call_request(
        &self,
        request: Request<v1::AnswerCallRequestRequest>,
    ) -> Result<Response<v1::AnswerCallRequestResponse>, Status> {
        observe("AnswerCallRequest", async {
            let client = self.0.client(request.metadata()).await?;
            let ask = request.into_inner();
            self.0
                .to_the_end(|context| async move { context.answer_request(client.account, ask).await })
                .await
        })
        .await
    }

    async fn list_grants(
        &self,
        request: Request<v1::ListGrantsRequest>,
    ) -> Result<Response<v1::ListGrantsResponse>, Status> {
        observe("ListGrants", async {
            let client = self.0.client(request.metadata()).await?;
            let page = fields::people_page(request.get_ref().page_size, &request.get_ref().page_token)?;
            self.0.grants(client.account, page).await
        })
        .await
    }

    async fn create_grant(
        &self,
        request: Request<v1::CreateGrantRequest>,
    ) -> Result<Response<v1::CreateGrantResponse>, Status> {
        observe("CreateGrant", async {
            let client = self.0.client(request.metadata()).await?;
            let handle: Handle = fields::id("handle", &request.get_ref().handle)?;
            let lasts = fields::grant_days("days", request.get_ref().days)?;
            self.0
                .to_the_end(
                    |context| async move { context.create_grant(client.account, handle, lasts).await },
                )
                .await
        })
        .await
    }

    async fn revoke_grant(
        &self,
        request: Request<v1::RevokeGrantRequest>,
    ) -> Result<Response<v1::RevokeGrantResponse>, Status> {
        observe("RevokeGrant", async {
            let client = self.0.client(request.metadata()).await?;
            let handle: Handle = fields::id("handle", &request.get_ref().handle)?;
            self.0
                .to_the_end(|context| async move { context.revoke_grant(client.account, handle).await })
                .await?;
            Ok(v1::RevokeGrantResponse {})
        })
        .await
    }

    async fn list_blocks(
        &self,
        request: Request<v1::ListBlocksRequest>,
    ) -> Result<Response<v1::ListBlocksResponse>, Status> {
        observe("ListBlocks", async {
            let client = self.0.client(request.metadata()).await?;
            let page = fields::people_page(request.get_ref().page_size, &request.get_ref().page_token)?;
            self.0.blocks(client.account, page).await
        })
        .await
    }

    async fn block(&self, request: Request<v1::BlockRequest>) -> Result<Response<v1::BlockResponse>, Status> {
        observe("Block", async {
            let client = self.0.client(request.metadata()).await?;
            let handle: Handle = fields::id("handle", &request.get_ref().handle)?;
            self.0.to_the_end(|context| async move { context.block(client.account, handle).await }).await?;
            Ok(v1::BlockResponse {})
        })
        .await
    }

    async fn unblock(
        &self,
        request: Request<v1::UnblockRequest>,
    ) -> Result<Response<v1::UnblockResponse>, Status> {
        observe("Unblock", async {
            let client = self.0.client(request.metadata()).await?;
            let handle: Handle = fields::id("handle", &request.get_ref().handle)?;
            self.0.to_the_end(|context| async move { context.unblock(client.account, handle).await }).await?;
            Ok(v1::UnblockResponse {})
        })
        .await
    }
}

/// An answer as a message.
fn decision(told: Told, own_direct: DirectConsent) -> v1::Decision {
    let outcome = match told.outcome {
        Outcome::Allow => v1::Outcome::Allow,
        Outcome::Request => v1::Outcome::Request,
        Outcome::Deny => v1::Outcome::Deny,
    };
    v1::Decision {
        outcome: outcome.into(),
        reason: told.words.code.to_owned(),
        sentence: told.words.sentence.to_owned(),
        own_direct: v1::DirectConsent::from(own_direct).into(),
    }
}

/// What a preview says of one person.
struct Previewed {
    person: Person,
    before: Told,
    after: Told,
    direct: [DirectConsent; 2],
    /// No call is possible in either direction.
    blocked: bool,
}

impl Previewed {
    /// The change matters for this person.
    fn is_affected(&self) -> bool {
        let is_seen_otherwise = self.direct[0] != self.direct[1] && !self.blocked;
        self.before.outcome != self.after.outcome || is_seen_otherwise
    }
}

impl Context {
    pub(super) async fn own_settings(&self, account: &AccountId) -> Result<OwnSettings, Status> {
        let found = self.store.settings(account.clone()).await.map_err(|error| error.status())?;
        found.ok_or_else(account_removed)
    }

    /// The account and somebody else, with all that is between them.
    pub(super) async fn pair(&self, account: &AccountId, other: Handle) -> Result<Pair, Status> {
        let found = self.store.pair(account.clone(), other, now()).await.map_err(|error| error.status())?;
        found.ok_or_else(|| PrivacyError::PersonUnknown.status())
    }

    /// "Can I call them?"
    pub(super) fn outgoing(&self, pair: &Pair) -> v1::Decision {
        let told = policy::outgoing(self.profile(), &pair.outgoing().situation);
        decision(told, policy::standing(&pair.me.settings, pair.is_mutual()))
    }

    /// "Could they call me if these were my settings?"
    pub(super) fn incoming(&self, pair: &Pair, own: PrivacySettings) -> v1::Decision {
        let situation = Situation { callee: own, ..pair.incoming().situation };
        let told = policy::incoming(self.profile(), &situation);
        decision(told, policy::standing(&own, pair.is_mutual()))
    }

    /// "Could a stranger call me if these were my settings?"
    pub(super) fn stranger(&self, own: PrivacySettings) -> v1::Decision {
        let stranger = PrivacySettings { calling: true, ..self.profile().defaults() };
        let told = policy::incoming(self.profile(), &Situation::strangers(stranger, own));
        decision(told, policy::standing(&own, false))
    }

    async fn update_settings(
        &self,
        account: AccountId,
        change: SettingsChange,
    ) -> Result<PrivacySettings, Status> {
        let changed = self.store.update_settings(account.clone(), change).await;
        let changed = changed.map_err(|error| error.status())?.ok_or_else(account_removed)?;
        let settings = changed.after.settings;
        if changed.before != changed.after {
            self.tell(account.clone(), Event::Settings(settings)).await?;
        }
        // Also when nothing changed: the first attempt may have been written and then failed.
        let watches = vec![Watch::Both(account.clone())];
        self.changed(vec![account], ChangedBy::First, watches).await?;
        Ok(settings)
    }

    async fn preview(
        &self,
        account: AccountId,
        change: SettingsChange,
    ) -> Result<v1::PreviewSettingsResponse, Status> {
        let before = self.own_settings(&account).await?.settings;
        let after = change.applied_to(before);
        let profile = self.profile();
        let preview = move |pair: &Pair| {
            let facts = pair.incoming().situation;
            let answer = |own| policy::incoming(profile, &Situation { callee: own, ..facts });
            let direct = [before, after].map(|own| policy::standing(&own, pair.is_mutual()));
            let person = pair.other.person.clone();
            let blocked = facts.blocked_by_callee;
            Some(Previewed { person, before: answer(before), after: answer(after), direct, blocked })
        };
        let known = self.store.known(account, now(), None, KNOWN_MAX as usize, preview).await;
        let mut known = known.map_err(|error| error.status())?;
        let callers = |told: fn(&Previewed) -> Told| {
            known.iter().filter(|one| told(one).outcome == Outcome::Allow).count() as u32
        };
        let (callers_before, callers_after) = (callers(|one| one.before), callers(|one| one.after));
        known.retain(Previewed::is_affected);
        known.sort_by_cached_key(|one| (one.person.display_name.to_lowercase(), one.person.handle.clone()));
        let changes = known.iter().take(PREVIEWED_MAX).map(|one| v1::PreviewedPerson {
            person: Some(views::person(&one.person)),
            before: Some(decision(one.before, one.direct[0])),
            after: Some(decision(one.after, one.direct[1])),
        });
        Ok(v1::PreviewSettingsResponse {
            settings: Some(after.into()),
            changes: changes.collect(),
            changed: known.len() as u32,
            callers_before,
            callers_after,
            stranger_before: Some(self.stranger(before)),
            stranger_after: Some(self.stranger(after)),
        })
    }
}

fn account_removed() -> Status {
    status(Reason::AccountUnknown, "this account was removed: sign in again")
}
