//! Call requests, grants and blocks: written first, then in effect, then told.

use std::time::Duration;

use duocast_control_core::policy::{self, RequestHistory};
use duocast_control_core::session::{CallRequest, CallRequestState, Event};
use duocast_model::{AccountId, Handle, UnixMillis};
use duocast_wire::convert::timestamp;
use duocast_wire::v1;
use tonic::Status;

use super::changes::ChangedBy;
use super::errors::IntoStatus;
use super::fields::PeoplePage;
use super::{Context, Reason, fields, now, status, views};
use crate::metrics;
use crate::store::{Answered, Grant, Granted, Named, Parties, Watch};

impl Context {
    pub(super) async fn send_request(
        &self,
        account: AccountId,
        handle: Handle,
    ) -> Result<v1::SendCallRequestResponse, Status> {
        let pair = self.pair(&account, handle.clone()).await?;
        let verdict = policy::decide(self.profile(), &pair.outgoing());
        metrics::request_decided(verdict.outcome().name(), verdict.code());
        // Only one that would be new costs: whether an older one waits or was declined makes no difference to its sender.
        if verdict.outcome() == policy::Outcome::Request && pair.me.request == RequestHistory::None {
            let sender = account.clone();
            let budget = self.ask(move |board, now| board.handle_request_budget(now, &sender)).await?;
            budget.map_err(|spent| {
                let seconds = spent.retry_after.as_secs() + 1;
                let sentence = format!("you sent many call requests: send the next one in {seconds} s");
                duocast_wire::error::retry(Reason::RequestBudget, sentence, spent.retry_after)
            })?;
        }
        let sent = self.store.send_request(account, handle, now()).await.map_err(|error| error.status())?;
        let Parties { own, other } = sent.parties;
        if sent.is_new {
            self.tell_request(&other, &own, true, CallRequestState::Sent, sent.created_at).await?;
            self.tell_request(&own, &other, false, CallRequestState::Sent, sent.created_at).await?;
        }
        let request = CallRequest {
            person: other.person,
            incoming: false,
            state: CallRequestState::Sent,
            created_at: sent.created_at,
        };
        Ok(v1::SendCallRequestResponse { request: Some(views::call_request(&request)) })
    }

    pub(super) async fn answer_request(
        &self,
        account: AccountId,
        ask: v1::AnswerCallRequestRequest,
    ) -> Result<v1::AnswerCallRequestResponse, Status> {
        let sender: Handle = fields::id("handle", &ask.handle)?;
        let lasts = fields::grant_days("grant_days", ask.grant_days)?;
        if ask.accept && ask.block {
            let sentence = "accept and block exclude each other: set one of the two";
            return Err(status(Reason::AnswerInvalid, sentence));
        }
        let answered = if ask.accept {
            self.store.accept_request(account, sender, now(), lasts).await
        } else {
            self.store.decline_request(account, sender, now(), ask.block).await
        };
        match answered.map_err(|error| error.status())? {
            Answered::Accepted(granted) => {
                let grant = grant(&granted.grant);
                self.granted(granted).await?;
                Ok(v1::AnswerCallRequestResponse { grant: Some(grant) })
            }
            Answered::Declined { parties, closed } => {
                self.closed(&parties, closed).await?;
                self.changed_between(parties.clone()).await?;
                if ask.block {
                    self.send_away(&parties).await?;
                }
                Ok(v1::AnswerCallRequestResponse { grant: None })
            }
        }
    }

    pub(super) async fn grants(
        &self,
        account: AccountId,
        page: PeoplePage,
    ) -> Result<v1::ListGrantsResponse, Status> {
        let found = self.store.grants(account, now(), page.after, page.size + 1).await;
        let found = found.map_err(|error| error.status())?;
        let (found, next_page_token) = fields::paged(found, page.size, |grant| &grant.person.handle);
        Ok(v1::ListGrantsResponse { grants: found.iter().map(grant).collect(), next_page_token })
    }

    pub(super) async fn create_grant(
        &self,
        account: AccountId,
        handle: Handle,
        lasts: Duration,
    ) -> Result<v1::CreateGrantResponse, Status> {
        let granted = self.store.create_grant(account, handle, now(), lasts).await;
        let granted = granted.map_err(|error| error.status())?;
        let grant = grant(&granted.grant);
        self.granted(granted).await?;
        Ok(v1::CreateGrantResponse { grant: Some(grant) })
    }

    pub(super) async fn revoke_grant(&self, account: AccountId, handle: Handle) -> Result<(), Status> {
        let parties = self.store.revoke_grant(account, handle).await.map_err(|error| error.status())?;
        self.changed_between(parties).await
    }

    pub(super) async fn blocks(
        &self,
        account: AccountId,
        page: PeoplePage,
    ) -> Result<v1::ListBlocksResponse, Status> {
        let found = self.store.blocks(account, page.after, page.size + 1).await;
        let found = found.map_err(|error| error.status())?;
        let (found, next_page_token) = fields::paged(found, page.size, |blocked| &blocked.person.handle);
        let blocks = found.iter().map(|blocked| v1::Blocked {
            person: Some(views::person(&blocked.person)),
            since: Some(timestamp(blocked.since)),
        });
        Ok(v1::ListBlocksResponse { blocks: blocks.collect(), next_page_token })
    }

    pub(super) async fn block(&self, account: AccountId, handle: Handle) -> Result<(), Status> {
        let made = self.store.block(account, handle, now()).await.map_err(|error| error.status())?;
        self.closed(&made.parties, made.closed).await?;
        self.changed_between(made.parties.clone()).await?;
        self.send_away(&made.parties).await
    }

    pub(super) async fn unblock(&self, account: AccountId, handle: Handle) -> Result<(), Status> {
        let parties = self.store.unblock(account, handle).await.map_err(|error| error.status())?;
        self.changed_between(parties).await
    }

    /// A permission was given: in effect, then told to both if it answers a request.
    async fn granted(&self, granted: Granted) -> Result<(), Status> {
        let Granted { parties, answers, .. } = granted;
        self.changed_between(parties.clone()).await?;
        let Some(created_at) = answers else { return Ok(()) };
        self.closed(&parties, answers).await?;
        // To somebody who blocked the one who says yes, nothing is said.
        let pair =
            self.store.pair_of(parties.own.account.clone(), parties.other.account.clone(), now()).await;
        if pair.map_err(|error| error.status())?.is_some_and(|pair| pair.other.blocks) {
            return Ok(());
        }
        let Parties { own, other } = parties;
        self.tell_request(&other, &own, false, CallRequestState::Accepted, created_at).await
    }

    /// A request was taken out of the list of who asked for it.
    async fn closed(&self, parties: &Parties, sent_at: Option<UnixMillis>) -> Result<(), Status> {
        let Some(sent_at) = sent_at else { return Ok(()) };
        self.tell_request(&parties.own, &parties.other, true, CallRequestState::Closed, sent_at).await
    }

    /// Who was blocked views the other one's broadcast no longer. To be called once the change is in effect, so that nobody
    /// who was decided upon before it gets in after this.
    async fn send_away(&self, parties: &Parties) -> Result<(), Status> {
        let (host, viewer) = (parties.own.account.clone(), parties.other.account.clone());
        self.ask(move |board, now| board.handle_viewer_blocked(now, &host, &viewer)).await
    }

    async fn changed_between(&self, parties: Parties) -> Result<(), Status> {
        let (own, other) = (parties.own.account, parties.other.account);
        let watches = vec![Watch::Pair(own.clone(), other.clone())];
        self.changed(vec![own, other], ChangedBy::First, watches).await
    }

    async fn tell_request(
        &self,
        told: &Named,
        about: &Named,
        incoming: bool,
        state: CallRequestState,
        created_at: UnixMillis,
    ) -> Result<(), Status> {
        let request = CallRequest { person: about.person.clone(), incoming, state, created_at };
        self.tell(told.account.clone(), Event::CallRequest(request)).await
    }
}

fn grant(grant: &Grant) -> v1::Grant {
    v1::Grant {
        person: Some(views::person(&grant.person)),
        created_at: Some(timestamp(grant.created_at)),
        expires_at: Some(timestamp(grant.expires_at)),
        from_request: grant.from_request,
    }
}
