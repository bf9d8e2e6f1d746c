//! "Whom can I call?", "who can call me?": pages of people.

use duocast_model::AccountId;
use duocast_wire::v1;
use tonic::Status;

use super::errors::IntoStatus;
use super::fields::PeoplePage;
use super::{Context, fields, now, views};
use crate::store::Pair;

impl Context {
    pub(super) async fn callable(
        self: &std::sync::Arc<Self>,
        account: AccountId,
        page: PeoplePage,
    ) -> Result<v1::ListPeopleResponse, Status> {
        let context = self.clone();
        let people = self.people(account, page, move |pair| context.outgoing(pair));
        let (people, next_page_token) = people.await?;
        Ok(v1::ListPeopleResponse { people, next_page_token, everyone: false })
    }

    pub(super) async fn callers(
        self: &std::sync::Arc<Self>,
        account: AccountId,
        page: PeoplePage,
    ) -> Result<v1::ListPeopleResponse, Status> {
        let own = self.own_settings(&account).await?.settings;
        let context = self.clone();
        let people = self.people(account, page, move |pair| context.incoming(pair, pair.me.settings));
        let (people, next_page_token) = people.await?;
        let everyone = self.stranger(own).outcome() == v1::Outcome::Allow;
        Ok(v1::ListPeopleResponse { people, next_page_token, everyone })
    }

    /// A page of the people for whom the answer is "a call rings".
    async fn people(
        &self,
        account: AccountId,
        page: PeoplePage,
        decide: impl Fn(&Pair) -> v1::Decision + Send + 'static,
    ) -> Result<(Vec<v1::PersonDecision>, String), Status> {
        let pick = move |pair: &Pair| {
            let decision = decide(pair);
            (decision.outcome() == v1::Outcome::Allow).then(|| (pair.other.person.clone(), decision))
        };
        // One more than the page shows whether there is another page.
        let found = self.store.known(account, now(), page.after, page.size as usize + 1, pick).await;
        let found = found.map_err(|error| error.status())?;
        let (found, token) = fields::paged(found, page.size, |(person, _)| &person.handle);
        let people = found.into_iter().map(|(person, decision)| v1::PersonDecision {
            person: Some(views::person(&person)),
            decision: Some(decision),
        });
        Ok((people.collect(), token))
    }
}
