//! The API as one account. Unlike the SDK's `Signaller` it tries nothing twice and keeps the gRPC code: what a server
//! refused once is a figure of the report.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use duocast_transport::client::Channel;
use duocast_wire::v1;
use duocast_wire::v1::broadcast_service_client::BroadcastServiceClient;
use duocast_wire::v1::call_service_client::CallServiceClient;
use futures_util::TryFutureExt as _;
use futures_util::stream::BoxStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status};

/// Deadline of a command.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Puts the token on each request.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    /// `None` if the token holds characters that a header cannot.
    pub(crate) fn new(jwt: &str) -> Option<Self> {
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", jwt.trim()).parse().ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }

    /// The token itself, for the SDK.
    pub(crate) fn jwt(&self) -> &str {
        self.0.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default()
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// The API over a channel that may be lost and found again, with one account's token.
#[derive(Clone)]
pub(crate) struct Api {
    channel: Arc<Mutex<Option<Signed>>>,
    bearer: Bearer,
}

/// The channel with the token.
type Signed = InterceptedService<Channel, Bearer>;

macro_rules! commands {
    ($service:ident: $($name:ident($request:ident) -> $response:ident;)*) => {
        $(
            pub(crate) async fn $name(&self, request: v1::$request) -> Result<v1::$response, Status> {
                let mut request = Request::new(request);
                request.set_timeout(COMMAND_TIMEOUT);
                $service::new(self.channel()?).$name(request).await.map(Response::into_inner)
            }
        )*
    };
}

impl Api {
    pub(crate) fn new(channel: Channel, bearer: Bearer) -> Self {
        let channel = InterceptedService::new(channel, bearer.clone());
        Self { channel: Arc::new(Mutex::new(Some(channel))), bearer }
    }

    /// Drops the connection: what is asked until [`Api::find`] fails as it does without a network.
    pub(crate) fn lose(&self) {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// A new connection, for all clones.
    pub(crate) fn find(&self, channel: Channel) {
        let channel = InterceptedService::new(channel, self.bearer.clone());
        self.channel.lock().unwrap_or_else(PoisonError::into_inner).replace(channel);
    }

    fn channel(&self) -> Result<Signed, Status> {
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner).clone();
        channel.ok_or_else(|| Status::unavailable("this client has lost the server"))
    }

    /// The event stream, as it comes and with its end.
    pub(crate) fn subscribe(
        &self,
        request: v1::SubscribeRequest,
    ) -> BoxStream<'static, Result<v1::Event, Status>> {
        let channel = self.channel();
        let opened = async move {
            CallServiceClient::new(channel?).subscribe(request).await.map(Response::into_inner)
        };
        Box::pin(opened.try_flatten_stream())
    }

    commands! {
        CallServiceClient:
        place_call(PlaceCallRequest) -> CallResponse;
        accept_call(CallCommand) -> CallResponse;
        decline_call(CallCommand) -> CallResponse;
        hang_up(CallCommand) -> CallResponse;
        connect_leg(ConnectLegRequest) -> ConnectLegResponse;
        get_call(GetCallRequest) -> CallResponse;
    }

    commands! {
        BroadcastServiceClient:
        start_broadcast(StartBroadcastRequest) -> StartBroadcastResponse;
        watch_broadcast(WatchBroadcastRequest) -> WatchBroadcastResponse;
        leave_broadcast(LeaveBroadcastRequest) -> LeaveBroadcastResponse;
        stop_broadcast(StopBroadcastRequest) -> StopBroadcastResponse;
    }
}
