//! The RPCs, with a token on each, a deadline, and a retry where the network was at fault.

use std::fmt;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use duocast_transport::client::Channel;
use duocast_wire::v1;
use duocast_wire::v1::broadcast_service_client::BroadcastServiceClient;
use duocast_wire::v1::call_service_client::CallServiceClient;
use duocast_wire::v1::privacy_service_client::PrivacyServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status, Streaming};

use crate::error::CallError;
use crate::received::{Received, Recorded};

/// Deadline of one attempt of a command. Higher waits longer on bad networks, lower fails a person's tap sooner.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Attempts of a command when the server cannot be reached: every command is idempotent.
const ATTEMPTS_MAX: u32 = 3;

/// Why a token cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token holds characters that no JWT has; check that it was read whole and without line breaks")]
pub struct InvalidToken;

/// The bearer token, shared by everything that signs in with it. Its `Debug` shows nothing.
#[derive(Clone)]
pub struct Token(Arc<RwLock<MetadataValue<Ascii>>>);

impl Token {
    /// Wraps a JWT.
    pub fn new(jwt: &str) -> Result<Self, InvalidToken> {
        Ok(Self(Arc::new(RwLock::new(bearer(jwt)?))))
    }

    /// Replaces the JWT for all clones, for example before it expires.
    pub fn set(&self, jwt: &str) -> Result<(), InvalidToken> {
        let value = bearer(jwt)?;
        *self.0.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = value;
        Ok(())
    }

    fn value(&self) -> MetadataValue<Ascii> {
        self.0.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

duocast_model::assert_unshown!(Token);
duocast_model::assert_not_impl!(Token: serde::Serialize);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

fn bearer(jwt: &str) -> Result<MetadataValue<Ascii>, InvalidToken> {
    let jwt = jwt.trim();
    let is_jwt = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'=');
    if jwt.is_empty() || !jwt.bytes().all(is_jwt) {
        return Err(InvalidToken);
    }
    let mut value: MetadataValue<Ascii> = format!("Bearer {jwt}").parse().map_err(|_| InvalidToken)?;
    value.set_sensitive(true);
    Ok(value)
}

#[derive(Clone)]
struct Bearer(Token);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.value());
        Ok(request)
    }
}

/// The API as one account, over a channel that many accounts may share. Cheap to clone.
#[derive(Clone)]
pub struct Signaller {
    calls: CallServiceClient<InterceptedService<Recorded, Bearer>>,
    broadcasts: BroadcastServiceClient<InterceptedService<Recorded, Bearer>>,
    privacy: PrivacyServiceClient<InterceptedService<Recorded, Bearer>>,
    channel: Channel,
}

macro_rules! commands {
    ($service:ident: $($(#[$doc:meta])* $name:ident: $request:ident => $response:ident;)*) => {
        $(
            $(#[$doc])*
            pub async fn $name(&self, request: v1::$request) -> Result<v1::$response, CallError> {
                let attempt = |message: v1::$request| {
                    let mut service = self.$service.clone();
                    async move { service.$name(with_deadline(message)).await.map(Response::into_inner) }
                };
                retry(|| attempt(request.clone())).await
            }
        )*
    };
}

impl Signaller {
    /// Signs in with `token` on each RPC. What comes is shown to `received`.
    pub fn new(channel: Channel, token: Token, received: Option<Received>) -> Self {
        let recorded = Recorded::new(channel.clone(), received);
        let calls = CallServiceClient::with_interceptor(recorded.clone(), Bearer(token.clone()))
            .max_decoding_message_size(duocast_wire::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(duocast_wire::MAX_MESSAGE_BYTES);
        let broadcasts = BroadcastServiceClient::with_interceptor(recorded.clone(), Bearer(token.clone()))
            .max_decoding_message_size(duocast_wire::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(duocast_wire::MAX_MESSAGE_BYTES);
        let privacy = PrivacyServiceClient::with_interceptor(recorded, Bearer(token))
            .max_decoding_message_size(duocast_wire::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(duocast_wire::MAX_MESSAGE_BYTES);
        Self { calls, broadcasts, privacy, channel }
    }

    /// The channel under it.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Opens the event stream. No retry: [`Session`](crate::session::Session) decides when to try again.
    pub async fn subscribe(&self, request: v1::SubscribeRequest) -> Result<Streaming<v1::Event>, Status> {
        self.calls.clone().subscribe(request).await.map(Response::into_inner)
    }

    commands! {
        calls:
        /// Rings the callee.
        place_call: PlaceCallRequest => CallResponse;
        /// Answers.
        accept_call: CallCommand => CallResponse;
        /// Declines.
        decline_call: CallCommand => CallResponse;
        /// Ends.
        hang_up: CallCommand => CallResponse;
        /// Offer in, answer out.
        connect_leg: ConnectLegRequest => ConnectLegResponse;
        /// Muted, camera.
        update_media: UpdateMediaRequest => CallResponse;
        /// Yes or no to a direct leg.
        set_direct: SetDirectRequest => CallResponse;
        /// A step towards a direct leg.
        send_direct: SendDirectRequest => SendDirectResponse;
        /// One call.
        get_call: GetCallRequest => CallResponse;
        /// Past and present calls.
        list_calls: ListCallsRequest => ListCallsResponse;
        /// Whom this account can see.
        list_contacts: ListContactsRequest => ListContactsResponse;
        /// Who this token says it is.
        get_profile: GetProfileRequest => GetProfileResponse;
    }

    commands! {
        broadcasts:
        /// Publishes to many.
        start_broadcast: StartBroadcastRequest => StartBroadcastResponse;
        /// Views.
        watch_broadcast: WatchBroadcastRequest => WatchBroadcastResponse;
        /// Views no longer.
        leave_broadcast: LeaveBroadcastRequest => LeaveBroadcastResponse;
        /// Ends it for everybody.
        stop_broadcast: StopBroadcastRequest => StopBroadcastResponse;
    }

    commands! {
        privacy:
        /// The account's settings.
        get_settings: GetSettingsRequest => GetSettingsResponse;
        /// Changes some of them.
        update_settings: UpdateSettingsRequest => UpdateSettingsResponse;
        /// What a change would do.
        preview_settings: PreviewSettingsRequest => PreviewSettingsResponse;
        /// Who of two people may call whom.
        can_call: CanCallRequest => CanCallResponse;
        /// Whom this account can call.
        list_callable: ListPeopleRequest => ListPeopleResponse;
        /// Who can call this account.
        list_callers: ListPeopleRequest => ListPeopleResponse;
        /// Asks for permission to call.
        send_call_request: SendCallRequestRequest => SendCallRequestResponse;
        /// Requests in both directions.
        list_call_requests: ListCallRequestsRequest => ListCallRequestsResponse;
        /// Accepts or declines a request.
        answer_call_request: AnswerCallRequestRequest => AnswerCallRequestResponse;
        /// Permissions that this account gave.
        list_grants: ListGrantsRequest => ListGrantsResponse;
        /// Gives one.
        create_grant: CreateGrantRequest => CreateGrantResponse;
        /// Takes one back.
        revoke_grant: RevokeGrantRequest => RevokeGrantResponse;
        /// Who is blocked.
        list_blocks: ListBlocksRequest => ListBlocksResponse;
        /// Blocks.
        block: BlockRequest => BlockResponse;
        /// Unblocks.
        unblock: UnblockRequest => UnblockResponse;
    }
}

fn with_deadline<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(COMMAND_TIMEOUT);
    request
}

async fn retry<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, Status>>,
{
    let mut tried = 1;
    loop {
        match attempt().await.map_err(CallError::from) {
            Err(CallError::Unreachable(_)) if tried < ATTEMPTS_MAX => {
                tokio::time::sleep(crate::session::backoff(tried - 1, crate::jitter())).await;
                tried += 1;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_trimmed_checked_and_never_printed() {
        let token = Token::new(" abc.def-_=\n").unwrap();
        assert_eq!(token.value(), "Bearer abc.def-_=");
        assert_eq!(format!("{token:?}"), "Token(…)");
        for bad in ["", "a b", "a\nb", "ü"] {
            assert_eq!(Token::new(bad).err(), Some(InvalidToken), "{bad:?}");
        }
        let clone = token.clone();
        token.set("new").unwrap();
        assert_eq!(clone.value(), "Bearer new");
    }

    #[tokio::test(start_paused = true)]
    async fn an_unreachable_server_is_tried_three_times_and_a_refusal_once() {
        let tries = std::cell::Cell::new(0);
        let count = |status: fn() -> Status| {
            tries.set(tries.get() + 1);
            async move { Err::<(), _>(status()) }
        };
        assert!(retry(|| count(|| Status::unavailable("down"))).await.is_err());
        assert_eq!(tries.replace(0), ATTEMPTS_MAX);
        assert!(retry(|| count(|| Status::not_found("no"))).await.is_err());
        assert_eq!(tries.get(), 1);
    }
}
