//! What a person's client asks of PrivacyService, and what the platform says.

use duocast_control::auth::dev_account_id;
use duocast_wire::v1;
use duocast_wire::v1::directory_service_client::DirectoryServiceClient;
use duocast_wire::v1::event::Kind;
use tonic::Status;
use v1::{CallRequestState, Outcome};

use super::device::Device;
use super::{Person, World, in_time, with_token};

macro_rules! rpc {
    ($person:expr, $method:ident, $message:expr) => {
        in_time($person.privacy.clone().$method($person.request($message))).await.map(|a| a.into_inner())
    };
}

pub(crate) fn change() -> v1::SettingsChange {
    v1::SettingsChange::default()
}

pub(crate) fn calling(calling: bool) -> v1::SettingsChange {
    v1::SettingsChange { calling: Some(calling), ..change() }
}

pub(crate) fn audience(audience: &[v1::Audience]) -> v1::SettingsChange {
    let audience = audience.iter().map(|one| (*one).into()).collect();
    v1::SettingsChange { audience: Some(v1::AudienceChange { audience }), ..change() }
}

pub(crate) fn strangers(strangers: v1::Strangers) -> v1::SettingsChange {
    v1::SettingsChange { strangers: Some(strangers.into()), ..change() }
}

/// Direct legs are not ruled out by the other setting any more.
pub(crate) fn direct(direct: v1::DirectSetting) -> v1::SettingsChange {
    v1::SettingsChange { enhanced_call_privacy: Some(false), direct: Some(direct.into()), ..change() }
}

/// Who is named, in order.
pub(crate) fn handles<'a>(people: impl IntoIterator<Item = &'a Option<v1::Person>>) -> Vec<String> {
    people.into_iter().map(|person| person.clone().expect("a person is named").handle).collect()
}

impl Person {
    pub(crate) async fn settings(&self) -> v1::GetSettingsResponse {
        rpc!(self, get_settings, v1::GetSettingsRequest {}).unwrap()
    }

    pub(crate) async fn set(&self, change: v1::SettingsChange) -> v1::Settings {
        let answer = rpc!(self, update_settings, v1::UpdateSettingsRequest { change: Some(change) });
        answer.unwrap().settings.unwrap()
    }

    pub(crate) async fn preview(&self, change: v1::SettingsChange) -> v1::PreviewSettingsResponse {
        rpc!(self, preview_settings, v1::PreviewSettingsRequest { change: Some(change) }).unwrap()
    }

    pub(crate) async fn can_call(&self, handle: &str) -> Result<v1::CanCallResponse, Status> {
        rpc!(self, can_call, v1::CanCallRequest { handle: handle.into() })
    }

    /// "May I call them?": outcome and reason.
    pub(crate) async fn may_call(&self, handle: &str) -> (Outcome, String) {
        let decision = self.can_call(handle).await.unwrap().outgoing.unwrap();
        assert!(!decision.sentence.is_empty());
        (decision.outcome(), decision.reason)
    }

    pub(crate) async fn callable(
        &self,
        page_size: u32,
        page_token: &str,
    ) -> Result<v1::ListPeopleResponse, Status> {
        rpc!(self, list_callable, v1::ListPeopleRequest { page_size, page_token: page_token.into() })
    }

    pub(crate) async fn callers(
        &self,
        page_size: u32,
        page_token: &str,
    ) -> Result<v1::ListPeopleResponse, Status> {
        rpc!(self, list_callers, v1::ListPeopleRequest { page_size, page_token: page_token.into() })
    }

    pub(crate) async fn ask(&self, handle: &str) -> Result<v1::CallRequest, Status> {
        let message = v1::SendCallRequestRequest { handle: handle.into() };
        rpc!(self, send_call_request, message).map(|answer| answer.request.unwrap())
    }

    /// Requests that wait for this person, and those it sent, each with its state.
    pub(crate) async fn requests(&self) -> [Vec<(String, CallRequestState)>; 2] {
        let answer = rpc!(self, list_call_requests, v1::ListCallRequestsRequest {}).unwrap();
        [answer.incoming, answer.outgoing]
            .map(|list| list.iter().map(|one| (one.person.clone().unwrap().handle, one.state())).collect())
    }

    pub(crate) async fn answer(
        &self,
        handle: &str,
        accept: bool,
        block: bool,
    ) -> Result<Option<v1::Grant>, Status> {
        let message = v1::AnswerCallRequestRequest { handle: handle.into(), accept, grant_days: 0, block };
        rpc!(self, answer_call_request, message).map(|answer| answer.grant)
    }

    pub(crate) async fn grants(
        &self,
        page_size: u32,
        page_token: &str,
    ) -> Result<v1::ListGrantsResponse, Status> {
        rpc!(self, list_grants, v1::ListGrantsRequest { page_size, page_token: page_token.into() })
    }

    pub(crate) async fn grant(&self, handle: &str, days: u32) -> Result<v1::Grant, Status> {
        let message = v1::CreateGrantRequest { handle: handle.into(), days };
        rpc!(self, create_grant, message).map(|answer| answer.grant.unwrap())
    }

    pub(crate) async fn revoke(&self, handle: &str) -> Result<v1::RevokeGrantResponse, Status> {
        rpc!(self, revoke_grant, v1::RevokeGrantRequest { handle: handle.into() })
    }

    pub(crate) async fn blocked(
        &self,
        page_size: u32,
        page_token: &str,
    ) -> Result<v1::ListBlocksResponse, Status> {
        rpc!(self, list_blocks, v1::ListBlocksRequest { page_size, page_token: page_token.into() })
    }

    pub(crate) async fn block(&self, handle: &str) -> Result<v1::BlockResponse, Status> {
        rpc!(self, block, v1::BlockRequest { handle: handle.into() })
    }

    pub(crate) async fn unblock(&self, handle: &str) -> Result<v1::UnblockResponse, Status> {
        rpc!(self, unblock, v1::UnblockRequest { handle: handle.into() })
    }
}

impl Device {
    /// Reads until the settings are told.
    pub(crate) async fn settings_told(&mut self) -> v1::Settings {
        in_time(async {
            loop {
                let event = self.next().await.unwrap().expect("the stream goes on");
                if let Some(Kind::SettingsUpdated(updated)) = event.kind {
                    return updated.settings.unwrap();
                }
            }
        })
        .await
    }

    /// Reads until a call request is told: who, whether it is incoming, and how it stands.
    pub(crate) async fn request_told(&mut self) -> (String, bool, CallRequestState) {
        in_time(async {
            loop {
                let event = self.next().await.unwrap().expect("the stream goes on");
                if let Some(Kind::CallRequestUpdated(updated)) = event.kind {
                    let request = updated.request.unwrap();
                    return (request.person.clone().unwrap().handle, request.incoming, request.state());
                }
            }
        })
        .await
    }

    /// How many call requests it was told of so far.
    pub(crate) fn requests_told(&self) -> usize {
        self.told.iter().filter(|event| matches!(event.kind, Some(Kind::CallRequestUpdated(_)))).count()
    }
}

pub(crate) fn message(sender: &str, recipient: &str, sent: bool, accepted: bool) -> v1::DirectMessage {
    v1::DirectMessage {
        sender_account_id: dev_account_id(sender).expose().into(),
        recipient_account_id: dev_account_id(recipient).expose().into(),
        sent,
        accepted,
    }
}

impl World {
    pub(crate) async fn messages(&self, messages: Vec<v1::DirectMessage>) -> Result<(), Status> {
        let mut api = DirectoryServiceClient::new(self.wire.clone());
        let request = with_token(v1::SetDirectMessagesRequest { messages }, &self.platform_token());
        in_time(api.set_direct_messages(request)).await.map(|_| ())
    }

    pub(crate) async fn address_book(
        &self,
        owner: &str,
        replace: bool,
        add: Vec<Vec<u8>>,
        remove: Vec<Vec<u8>>,
    ) -> Result<(), Status> {
        let mut api = DirectoryServiceClient::new(self.wire.clone());
        let account_id = dev_account_id(owner).expose().into();
        let message = v1::SetAddressBookRequest { account_id, replace, add, remove };
        in_time(api.set_address_book(with_token(message, &self.platform_token()))).await.map(|_| ())
    }

    /// People with calling on who have nothing to do with each other.
    pub(crate) async fn people(&self, handles: &[&str]) {
        let accounts = handles.iter().map(|handle| super::account(handle)).collect();
        self.upsert(accounts).await.unwrap();
    }

    /// Alice calls Bob, whose phone rings.
    pub(crate) async fn ringing(&self) -> (Device, Device, v1::Call) {
        self.friends(&["alice", "bob"]).await;
        let alice = self.device("alice", "laptop").await;
        let mut bob = self.device("bob", "phone").await;
        let call = alice.place("bob", "r1").await.unwrap();
        bob.call_is(v1::CallState::Ringing).await;
        (alice, bob, call)
    }

    /// A call between two people's devices that is live.
    pub(crate) async fn live_call(&self, from: &mut Device, to: &mut Device, callee: &str) -> v1::Call {
        let call = from.place(callee, &format!("live-{callee}")).await.unwrap();
        to.call_is(v1::CallState::Ringing).await;
        from.connect(&call).await.unwrap();
        to.connect(&call).await.unwrap();
        to.accept(&call).await.unwrap();
        from.call_is(v1::CallState::Live).await;
        to.call_is(v1::CallState::Live).await;
        call
    }
}
