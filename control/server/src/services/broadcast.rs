//! One publishes, many view: tokens in and out, policy asked, the switchboard told.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use duocast_control_core::Switchboard;
use duocast_control_core::broadcast::{BroadcastView, ViewingToken};
use duocast_control_core::policy::{self, WatchDenied};
use duocast_control_core::switchboard::{BroadcastError, StartBroadcast};
use duocast_model::{AccountId, CallId, SessionId, UnixMillis};
use duocast_wire::v1;
use tonic::{Request, Response, Status};

use super::errors::IntoStatus;
use super::{Context, Reason, Services, fields, fresh, now, observe, status, views};
use crate::exchange::ExchangeError;
use crate::metrics;

/// How often viewing is decided anew because what it is decided by changed meanwhile. More than that is a storm of changes.
const WATCH_TRIES: usize = 5;

#[tonic::async_trait]
impl v1::broadcast_service_server::BroadcastService for Services {
    async fn start_broadcast(
        &self,
        request: Request<v1::StartBroadcastRequest>,
    ) -> Result<Response<v1::StartBroadcastResponse>, Status> {
        observe("StartBroadcast", async {
            let client = self.0.client(request.metadata()).await?;
            let (view, token) = self.0.broadcast(client.account, request.into_inner()).await?;
            Ok(v1::StartBroadcastResponse {
                broadcast: Some(views::broadcast(&view)),
                viewing_token: URL_SAFE_NO_PAD.encode(token.0),
            })
        })
        .await
    }

    async fn watch_broadcast(
        &self,
        request: Request<v1::WatchBroadcastRequest>,
    ) -> Result<Response<v1::WatchBroadcastResponse>, Status> {
        observe("WatchBroadcast", async {
            let client = self.0.client(request.metadata()).await?;
            let view = self.0.watch(client.account, request.into_inner()).await?;
            Ok(v1::WatchBroadcastResponse { broadcast: Some(views::broadcast(&view)) })
        })
        .await
    }

    async fn leave_broadcast(
        &self,
        request: Request<v1::LeaveBroadcastRequest>,
    ) -> Result<Response<v1::LeaveBroadcastResponse>, Status> {
        observe("LeaveBroadcast", async {
            let account = self.0.client(request.metadata()).await?.account;
            let v1::LeaveBroadcastRequest { session_id, broadcast_id } = request.into_inner();
            self.0
                .command_broadcast(account, &session_id, &broadcast_id, Switchboard::handle_leave_broadcast)
                .await?;
            Ok(v1::LeaveBroadcastResponse {})
        })
        .await
    }

    async fn stop_broadcast(
        &self,
        request: Request<v1::StopBroadcastRequest>,
    ) -> Result<Response<v1::StopBroadcastResponse>, Status> {
        observe("StopBroadcast", async {
            let account = self.0.client(request.metadata()).await?.account;
            let v1::StopBroadcastRequest { session_id, broadcast_id } = request.into_inner();
            self.0
                .command_broadcast(account, &session_id, &broadcast_id, Switchboard::handle_stop_broadcast)
                .await?;
            Ok(v1::StopBroadcastResponse {})
        })
        .await
    }
}

/// What the switchboard does with a command on a broadcast.
type OnBroadcast =
    fn(&mut Switchboard, UnixMillis, &AccountId, SessionId, CallId) -> Result<(), BroadcastError>;

impl Context {
    async fn broadcast(
        &self,
        host: AccountId,
        ask: v1::StartBroadcastRequest,
    ) -> Result<(BroadcastView, ViewingToken), Status> {
        let session: SessionId = fields::id("session_id", &ask.session_id)?;
        let settings = self.own_settings(&host).await?.settings;
        let profile = self.store.profile(host.clone()).await.map_err(|error| error.status())?;
        let sentence = "this account was removed: sign in again";
        let person = profile.ok_or_else(|| status(Reason::AccountUnknown, sentence))?.person;
        let pass = policy::may_broadcast(host, settings).map_err(|denied| denied.status())?;
        let start = StartBroadcast {
            session,
            request: ask.request_id,
            pass,
            host: person,
            fresh: CallId::from_u128(fresh()),
            token: ViewingToken(rand::random()),
            video: ask.video,
        };
        let started = self.ask(move |board, now| board.handle_start_broadcast(now, start)).await?;
        started.map_err(|error| error.status())
    }

    /// Policy first; only its pass lets a device view.
    async fn watch(
        &self,
        viewer: AccountId,
        ask: v1::WatchBroadcastRequest,
    ) -> Result<BroadcastView, Status> {
        let session: SessionId = fields::id("session_id", &ask.session_id)?;
        // What is no token at all is not told from a wrong one, and costs as much.
        let token = URL_SAFE_NO_PAD.decode(&ask.viewing_token).ok().and_then(|bytes| bytes.try_into().ok());
        let (token, account) = (ViewingToken(token.unwrap_or_default()), viewer.clone());
        let found = self.ask(move |board, now| board.handle_token(now, &account, &token)).await?;
        let found = found.map_err(|spent| BroadcastError::Budget(spent).status())?;
        for _ in 0..WATCH_TRIES {
            let since = self.revisions.now();
            let known = match &found {
                Some((broadcast, host)) => Some((*broadcast, self.has_blocked(host, &viewer).await?)),
                None => None,
            };
            let pass = policy::may_watch(viewer.clone(), known);
            metrics::watch_decided(pass.as_ref().err().copied());
            let pass = pass.map_err(|denied| denied.status())?;
            let (revisions, host) = (self.revisions.clone(), found.as_ref().map(|(_, host)| host.clone()));
            let watched = self.ask(move |board, now| {
                // A block that came in between found no viewer to send away.
                let host = host.as_ref().unwrap_or(pass.viewer());
                let is_fresh = revisions.is_unchanged([host, pass.viewer()], since);
                is_fresh.then(|| board.handle_watch(now, &pass, session))
            });
            if let Some(watched) = watched.await? {
                return watched.map_err(|error| error.status());
            }
        }
        Err(ExchangeError::Overloaded.status())
    }

    async fn has_blocked(&self, one: &AccountId, other: &AccountId) -> Result<bool, Status> {
        if one == other {
            return Ok(false);
        }
        let pair = self.store.pair_of(other.clone(), one.clone(), now()).await;
        Ok(pair.map_err(|error| error.status())?.is_some_and(|pair| pair.other.blocks))
    }

    async fn command_broadcast(
        &self,
        account: AccountId,
        session_id: &str,
        broadcast_id: &str,
        handle: OnBroadcast,
    ) -> Result<(), Status> {
        let session: SessionId = fields::id("session_id", session_id)?;
        let broadcast: CallId = fields::id("broadcast_id", broadcast_id)?;
        let done = self.ask(move |board, now| handle(board, now, &account, session, broadcast)).await?;
        done.map_err(|error| error.status())
    }
}

impl IntoStatus for WatchDenied {
    fn status(&self) -> Status {
        status(Reason::BroadcastUnknown, self.to_string())
    }
}
