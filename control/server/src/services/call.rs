//! What a person's client says and hears.

use std::sync::Arc;

use duocast_control_core::Switchboard;
use duocast_control_core::call::CallView;
use duocast_control_core::policy::{self, Decision};
use duocast_control_core::switchboard::{CommandError, PlaceCall, Subscribe};
use duocast_model::{AccountId, CallId, DeviceId, Handle, LegId, MediaState, SessionId, UnixMillis};
use duocast_wire::v1;
use tonic::{Request, Response, Status};

use super::errors::IntoStatus;
use super::events::{self, EventStream};
use super::{Context, Reason, Services, fields, fresh, now, observe, status, views};
use crate::exchange::{ConnectLeg, ExchangeError};
use crate::metrics;
use crate::store::PageMark;

/// How often a call is decided anew because what it is decided by changed meanwhile. More than that is a storm of changes.
const PLACE_TRIES: usize = 5;

#[tonic::async_trait]
impl v1::call_service_server::CallService for Services {
    type SubscribeStream = EventStream;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<EventStream>, Status> {
        observe("Subscribe", async {
            let client = self.0.client(request.metadata()).await?;
            let ask = request.into_inner();
            let device: DeviceId = fields::id("device_id", &ask.device_id)?;
            let session: Option<SessionId> = fields::optional_id("session_id", &ask.session_id)?;
            let resume = session.map(|session| (session, ask.last_seq));
            let fresh = SessionId::from_u128(fresh());
            let ask = Subscribe { account: client.account, device, resume, fresh };
            let opened = self.0.exchange.subscribe(ask).await.map_err(|error| error.status())?;
            let opened = opened.map_err(|error| error.status())?;
            Ok(events::stream(&self.0, opened, client.expiry))
        })
        .await
    }

    async fn place_call(
        &self,
        request: Request<v1::PlaceCallRequest>,
    ) -> Result<Response<v1::CallResponse>, Status> {
        observe("PlaceCall", async {
            let client = self.0.client(request.metadata()).await?;
            let placed = self.0.place(client.account, request.into_inner()).await;
            metrics::call_placed(placed.as_ref().err().and_then(duocast_wire::error::reason));
            Ok(views::call_response(&placed?))
        })
        .await
    }

    async fn accept_call(
        &self,
        request: Request<v1::CallCommand>,
    ) -> Result<Response<v1::CallResponse>, Status> {
        observe("AcceptCall", self.command(request, Switchboard::handle_accept)).await
    }

    async fn decline_call(
        &self,
        request: Request<v1::CallCommand>,
    ) -> Result<Response<v1::CallResponse>, Status> {
        observe("DeclineCall", self.command(request, Switchboard::handle_decline)).await
    }

    async fn hang_up(&self, request: Request<v1::CallCommand>) -> Result<Response<v1::CallResponse>, Status> {
        observe("HangUp", async {
            let client = self.0.client(request.metadata()).await?;
            let (session, call) = target(&request.get_ref().session_id, &request.get_ref().call_id)?;
            let account = client.account.clone();
            let ended = self.0.ask(move |b, now| b.handle_hang_up(now, &account, session, call)).await?;
            let view = match ended {
                // Long over: its final state is in the store.
                Err(CommandError::CallUnknown) => match self.0.ended_call(&client.account, call).await? {
                    Some(view) => view,
                    None => return Err(CommandError::CallUnknown.status()),
                },
                ended => ended.map_err(|error| error.status())?,
            };
            Ok(views::call_response(&view))
        })
        .await
    }

    async fn connect_leg(
        &self,
        request: Request<v1::ConnectLegRequest>,
    ) -> Result<Response<v1::ConnectLegResponse>, Status> {
        observe("ConnectLeg", async {
            let client = self.0.client(request.metadata()).await?;
            let ask = request.into_inner();
            let (session, call) = target(&ask.session_id, &ask.call_id)?;
            let present: Option<LegId> = fields::optional_id("leg_id", &ask.leg_id)?;
            let sdp_offer = fields::sdp_offer(ask.sdp_offer)?;
            let (account, fresh) = (client.account.clone(), LegId::from_u128(fresh()));
            let connect = ConnectLeg { account, session, call, present, fresh, sdp_offer };
            let connected = self.0.exchange.connect_leg(connect).await.map_err(|error| error.status())?;
            let connected = connected.map_err(|error| error.status())?;
            Ok(v1::ConnectLegResponse {
                leg_id: connected.leg.to_string(),
                relay: self.0.relay_to(&connected),
                sdp_answer: connected.sdp_answer,
            })
        })
        .await
    }

    async fn update_media(
        &self,
        request: Request<v1::UpdateMediaRequest>,
    ) -> Result<Response<v1::CallResponse>, Status> {
        observe("UpdateMedia", async {
            let client = self.0.client(request.metadata()).await?;
            let ask = request.into_inner();
            let (session, call) = target(&ask.session_id, &ask.call_id)?;
            let sentence = "media: expected what this device sends from now on, audio and video";
            let media = ask.media.ok_or_else(|| status(Reason::MediaInvalid, sentence))?;
            let media = MediaState::from(media);
            let account = client.account;
            let view = self.0.ask(move |b, now| b.handle_media(now, &account, session, call, media)).await?;
            Ok(views::call_response(&view.map_err(|error| error.status())?))
        })
        .await
    }

    async fn set_direct(
        &self,
        request: Request<v1::SetDirectRequest>,
    ) -> Result<Response<v1::CallResponse>, Status> {
        observe("SetDirect", self.consent(request)).await
    }

    async fn send_direct(
        &self,
        request: Request<v1::SendDirectRequest>,
    ) -> Result<Response<v1::SendDirectResponse>, Status> {
        observe("SendDirect", self.step(request)).await
    }

    async fn get_call(
        &self,
        request: Request<v1::GetCallRequest>,
    ) -> Result<Response<v1::CallResponse>, Status> {
        observe("GetCall", async {
            let client = self.0.client(request.metadata()).await?;
            let call: CallId = fields::id("call_id", &request.get_ref().call_id)?;
            let view = match self.0.present_call(&client.account, call).await? {
                Some(view) => Some(view),
                None => self.0.ended_call(&client.account, call).await?,
            };
            let view = view.ok_or_else(|| CommandError::CallUnknown.status())?;
            Ok(views::call_response(&view))
        })
        .await
    }

    async fn list_calls(
        &self,
        request: Request<v1::ListCallsRequest>,
    ) -> Result<Response<v1::ListCallsResponse>, Status> {
        observe("ListCalls", async {
            let client = self.0.client(request.metadata()).await?;
            let limit = fields::page_size(request.get_ref().page_size)?;
            let before = fields::page_mark(&request.get_ref().page_token)?;
            self.0.history(client.account, before, limit).await
        })
        .await
    }

    async fn list_contacts(
        &self,
        request: Request<v1::ListContactsRequest>,
    ) -> Result<Response<v1::ListContactsResponse>, Status> {
        observe("ListContacts", async {
            let client = self.0.client(request.metadata()).await?;
            let known = self.0.store.contacts(client.account, now()).await.map_err(|error| error.status())?;
            let contacts = self.0.ask(move |board, _| {
                let online = |c: &crate::store::Contact| c.visible && board.is_online(&c.account);
                known.iter().map(|contact| views::contact(&contact.person, online(contact))).collect()
            });
            Ok(v1::ListContactsResponse { contacts: contacts.await? })
        })
        .await
    }

    async fn get_profile(
        &self,
        request: Request<v1::GetProfileRequest>,
    ) -> Result<Response<v1::GetProfileResponse>, Status> {
        observe("GetProfile", async {
            let client = self.0.client(request.metadata()).await?;
            let profile = self.0.store.profile(client.account).await.map_err(|error| error.status())?;
            let sentence = "this account was removed: sign in again";
            let profile = profile.ok_or_else(|| status(Reason::AccountUnknown, sentence))?;
            Ok(v1::GetProfileResponse {
                person: Some(views::person(&profile.person)),
                calling_enabled: profile.calling_enabled,
            })
        })
        .await
    }
}

/// What the switchboard does with a command on a call.
type OnCall =
    fn(&mut Switchboard, UnixMillis, &AccountId, SessionId, CallId) -> Result<CallView, CommandError>;

impl Services {
    async fn command(
        &self,
        request: Request<v1::CallCommand>,
        handle: OnCall,
    ) -> Result<v1::CallResponse, Status> {
        let client = self.0.client(request.metadata()).await?;
        let (session, call) = target(&request.get_ref().session_id, &request.get_ref().call_id)?;
        let account = client.account;
        let view = self.0.ask(move |board, now| handle(board, now, &account, session, call)).await?;
        Ok(views::call_response(&view.map_err(|error| error.status())?))
    }
}

impl Context {
    /// Asks the switchboard.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Switchboard, UnixMillis) -> T + Send + 'static,
    ) -> Result<T, Status> {
        self.exchange.ask(question).await.map_err(|error| error.status())
    }

    /// Policy first; only its pass creates a call.
    async fn place(
        self: &Arc<Self>,
        caller: AccountId,
        ask: v1::PlaceCallRequest,
    ) -> Result<CallView, Status> {
        let session: SessionId = fields::id("session_id", &ask.session_id)?;
        let callee: Handle = fields::id("callee_handle", &ask.callee_handle)?;
        for _ in 0..PLACE_TRIES {
            let since = self.revisions.now();
            let found = self.pair(&caller, callee.clone()).await?;
            let decision = policy::decide(self.profile(), &found.outgoing());
            metrics::policy_decided(decision.outcome().name(), decision.code());
            let admission = match decision {
                Decision::Allow(admission) => admission,
                Decision::Request(pass) => {
                    let sentence = pass.reason().heard().sentence;
                    return Err(status(Reason::RequestNeeded, sentence));
                }
                Decision::Deny(denied) => return Err(denied.status()),
            };
            let (fresh, pair) = (CallId::from_u128(fresh()), [found.me.account, found.other.account]);
            let place = PlaceCall {
                session,
                request: ask.request_id.clone(),
                admission,
                caller: found.me.person,
                callee: found.other.person,
                fresh,
                video: ask.video,
            };
            let revisions = self.revisions.clone();
            let placed = self.ask(move |board, now| {
                let pair = [place.admission.caller(), place.admission.callee()];
                // A change that came in between finds no call to decide again: this one must not be placed.
                let is_fresh = revisions.is_unchanged(pair, since);
                is_fresh.then(|| (board.handle_place(now, place), now.plus(board.limits().ring)))
            });
            if let Some((placed, rings_until)) = placed.await? {
                let placed = placed.map_err(|error| error.status())?;
                let expires = found.other.grants_until.filter(|until| *until <= rings_until);
                // A repeated command finds the call that the first one made.
                if let Some(until) = expires.filter(|_| placed.id == fresh) {
                    self.recheck_at(until, fresh, pair);
                }
                return Ok(placed);
            }
        }
        Err(ExchangeError::Overloaded.status())
    }

    /// The call as the switchboard has it.
    async fn present_call(&self, account: &AccountId, call: CallId) -> Result<Option<CallView>, Status> {
        let account = account.clone();
        self.ask(move |board, _| board.call(&account, call)).await
    }

    /// The call as the store has it.
    async fn ended_call(&self, account: &AccountId, call: CallId) -> Result<Option<CallView>, Status> {
        self.store.call(account.clone(), call).await.map_err(|error| error.status())
    }

    async fn history(
        &self,
        account: AccountId,
        before: Option<PageMark>,
        limit: u32,
    ) -> Result<v1::ListCallsResponse, Status> {
        // One more than the page shows whether there is another page.
        let found = self.store.history(account.clone(), before, limit + 1).await;
        let mut page = found.map_err(|error| error.status())?;
        let is_last = page.len() <= limit as usize;
        page.truncate(limit as usize);
        for view in page.iter_mut().filter(|view| !view.state.is_ended()) {
            // The switchboard knows more of a present call than was written.
            if let Some(present) = self.present_call(&account, view.id).await? {
                *view = present;
            }
        }
        let mark =
            page.last().filter(|_| !is_last).map(|c| PageMark { created_at: c.created_at, call: c.id });
        Ok(v1::ListCallsResponse {
            calls: page.iter().map(views::call).collect(),
            next_page_token: mark.map(fields::page_token).unwrap_or_default(),
        })
    }
}

/// The session and the call that a command names.
fn target(session_id: &str, call_id: &str) -> Result<(SessionId, CallId), Status> {
    Ok((fields::id("session_id", session_id)?, fields::id("call_id", call_id)?))
}
