//! The five gRPC services: wire in, exchange and store asked, wire out. Nothing is decided here but the policy, by its own
//! function.

mod broadcast;
mod call;
mod changes;
mod direct;
mod directory;
pub(crate) mod errors;
mod events;
mod fields;
#[cfg(any(test, duocast_fuzz))]
pub(crate) use fields::fuzz;
mod node;
mod people;
mod permissions;
mod privacy;
mod relay;
mod sign_in;
mod views;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use duocast_control_core::policy;
use duocast_model::{AccountId, UnixMillis};
use duocast_wire::v1;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataMap;
use tonic::{Code, Response, Status};

use crate::auth::{Caller, Refusal, Scope, Verifier};
use crate::exchange::{Exchange, LegConnected, Tuning};
use crate::metrics;
use crate::store::Store;

use changes::Revisions;
pub(crate) use duocast_wire::error::{Reason, status};
use errors::IntoStatus;
use sign_in::SignIn;

/// What the services share.
pub(crate) struct Context {
    pub(crate) exchange: Exchange,
    pub(crate) store: Store,
    pub(crate) verifier: Verifier,
    pub(crate) tuning: Tuning,
    revisions: Arc<Revisions>,
    /// Cancelled when streams must end.
    pub(crate) draining: CancellationToken,
    /// Counts the open streams.
    pub(crate) open_streams: TaskTracker,
    resume_window: Duration,
    sign_in: SignIn,
    relay: Option<duocast_turn::Secret>,
}

impl Context {
    pub(crate) fn new(
        exchange: Exchange,
        store: Store,
        verifier: Verifier,
        tuning: Tuning,
        resume_window: Duration,
        draining: CancellationToken,
    ) -> Self {
        let (open_streams, sign_in) = (TaskTracker::new(), SignIn::default());
        let revisions = Arc::default();
        Self {
            exchange,
            store,
            verifier,
            tuning,
            revisions,
            draining,
            open_streams,
            resume_window,
            sign_in,
            relay: None,
        }
    }

    pub(crate) fn with_relay(self, relay: Option<duocast_turn::Secret>) -> Self {
        Self { relay, ..self }
    }

    /// How the client of this leg may reach its router over TLS.
    pub(crate) fn relay_to(&self, connected: &LegConnected) -> Option<v1::Relay> {
        let routers = relay::udp_candidates(&connected.sdp_answer);
        let credential = self.relay.as_ref()?.issue(SystemTime::now(), connected.leg, &routers)?;
        Some(v1::Relay { username: credential.username, password: credential.password })
    }

    /// Which policy this server runs.
    fn profile(&self) -> policy::Profile {
        self.store.policy_profile()
    }

    fn resume_window_ms(&self) -> u32 {
        u32::try_from(self.resume_window.as_millis()).unwrap_or(u32::MAX)
    }

    /// The person that sent this request, known to the store from now on.
    async fn client(&self, metadata: &MetadataMap) -> Result<Client, Status> {
        let caller = self.caller(metadata, Scope::Client)?;
        self.sign_in.ensure(&self.store, &caller).await.map_err(|error| error.status())?;
        Ok(Client { account: caller.account, expiry: caller.expiry })
    }

    /// The program that sent this request.
    fn caller(&self, metadata: &MetadataMap, scope: Scope) -> Result<Caller, Status> {
        self.verifier.caller(metadata, scope).map_err(Refusal::status)
    }
}

/// A signed-in person's client.
struct Client {
    account: AccountId,
    expiry: SystemTime,
}

/// Implements the generated services; one for all of them.
#[derive(Clone)]
pub(crate) struct Services(Arc<Context>);

impl Services {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self(context)
    }

    pub(crate) fn call(&self) -> v1::call_service_server::CallServiceServer<Self> {
        v1::call_service_server::CallServiceServer::new(self.clone())
            .max_decoding_message_size(duocast_wire::MAX_MESSAGE_BYTES)
    }

    pub(crate) fn broadcast(&self) -> v1::broadcast_service_server::BroadcastServiceServer<Self> {
        v1::broadcast_service_server::BroadcastServiceServer::new(self.clone())
            .max_decoding_message_size(duocast_wire::MAX_MESSAGE_BYTES)
    }

    pub(crate) fn privacy(&self) -> v1::privacy_service_server::PrivacyServiceServer<Self> {
        v1::privacy_service_server::PrivacyServiceServer::new(self.clone())
            .max_decoding_message_size(duocast_wire::MAX_MESSAGE_BYTES)
    }

    pub(crate) fn directory(&self) -> v1::directory_service_server::DirectoryServiceServer<Self> {
        v1::directory_service_server::DirectoryServiceServer::new(self.clone())
            .max_decoding_message_size(duocast_wire::MAX_MESSAGE_BYTES)
    }

    pub(crate) fn node(&self) -> v1::node_service_server::NodeServiceServer<Self> {
        v1::node_service_server::NodeServiceServer::new(self.clone())
            .max_decoding_message_size(duocast_wire::MAX_MESSAGE_BYTES)
    }
}

fn now() -> UnixMillis {
    SystemTime::now().into()
}

/// 128 bits from a cryptographic random source, for an id.
fn fresh() -> u128 {
    rand::random()
}

/// Runs an RPC's handler and counts how it ended. A handler that is dropped before its end counts as cancelled.
async fn observe<T>(
    method: &'static str,
    handler: impl Future<Output = Result<T, Status>>,
) -> Result<Response<T>, Status> {
    let mut observation = Observation { method, code: Code::Cancelled, began: tokio::time::Instant::now() };
    let result = handler.await;
    observation.code = result.as_ref().map_or_else(Status::code, |_| Code::Ok);
    result.map(Response::new)
}

struct Observation {
    method: &'static str,
    code: Code,
    began: tokio::time::Instant,
}

impl Drop for Observation {
    fn drop(&mut self) {
        metrics::rpc(self.method, self.code, self.began.elapsed());
    }
}
