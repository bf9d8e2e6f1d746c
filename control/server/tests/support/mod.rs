//! The world of the stories: a real control plane on a real database, people with devices, a router node by script.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod device;
pub(crate) mod node;
pub(crate) mod privacy;

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use duocast_control::auth::{DevIssuer, Scope, dev_account_id};
use duocast_control::{Control, ControlConfig};
use duocast_control_core::switchboard::Counts;
use duocast_wire::v1;
use duocast_wire::v1::call_service_client::CallServiceClient;
use duocast_wire::v1::directory_service_client::DirectoryServiceClient;
use duocast_wire::v1::node_service_client::NodeServiceClient;
use duocast_wire::v1::privacy_service_client::PrivacyServiceClient;
use http::{HeaderName, Request as HttpRequest, Response as HttpResponse};
use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status};
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use device::Device;
use node::Node;

/// Longest that a test waits for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A way to the services: straight into the app, or through a door.
pub(crate) type Wire = BoxCloneSyncService<HttpRequest<tonic::body::Body>, HttpResponse<Body>, Status>;

/// A control plane and what is needed to talk to it.
pub(crate) struct World {
    pub(crate) control: Control,
    pub(crate) wire: Wire,
    pub(crate) dir: PathBuf,
    pub(crate) issuer: DevIssuer,
    pub(crate) shutdown: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), duocast_control::ExchangeDied>>,
    _temporary: Option<TempDir>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A fresh world whose configuration is changed first.
    pub(crate) async fn with(change: impl FnOnce(&mut ControlConfig)) -> Self {
        let dir = TempDir::new().unwrap();
        let mut world = Self::open(dir.path(), change).await;
        world._temporary = Some(dir);
        world
    }

    /// A control plane on this directory, which may hold a database already.
    pub(crate) async fn open(dir: &Path, change: impl FnOnce(&mut ControlConfig)) -> Self {
        let mut config = ControlConfig { dev_issuer: true, ..ControlConfig::new(dir) };
        change(&mut config);
        let control = Control::open(config).await.unwrap();
        let shutdown = CancellationToken::new();
        let running = tokio::spawn({
            let (control, shutdown) = (control.clone(), shutdown.clone());
            async move { control.run(shutdown).await }
        });
        let app =
            ServiceExt::<HttpRequest<tonic::body::Body>>::map_err(control.app(), |never| match never {});
        let wire = BoxCloneSyncService::new(app);
        let issuer = DevIssuer::load_or_create(dir).unwrap();
        Self { control, wire, dir: dir.to_owned(), issuer, shutdown, running, _temporary: None }
    }

    /// Ends the control plane in order, and waits for it.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        in_time(self.running).await.unwrap().unwrap();
    }

    /// Its directory as `kill -9` at this moment would leave it.
    pub(crate) fn killed(&self) -> TempDir {
        let copy = TempDir::new().unwrap();
        // The database before its log, or the log could lack what the database says it has; the shared index is rebuilt.
        for file in ["dev-issuer.pem", "duocast.db", "duocast.db-wal"] {
            std::fs::copy(self.dir.join(file), copy.path().join(file)).unwrap();
        }
        copy
    }

    /// People with calling on, each following each.
    pub(crate) async fn friends(&self, handles: &[&str]) {
        let accounts = handles.iter().map(|handle| account(handle)).collect();
        self.upsert(accounts).await.unwrap();
        let mut follows = Vec::new();
        for one in handles {
            follows
                .extend(handles.iter().filter(|other| *other != one).map(|other| follow(one, other, true)));
        }
        self.follow(follows).await.unwrap();
    }

    pub(crate) async fn upsert(&self, accounts: Vec<v1::Account>) -> Result<(), Status> {
        let mut api = DirectoryServiceClient::new(self.wire.clone());
        let request = with_token(v1::UpsertAccountsRequest { accounts }, &self.platform_token());
        in_time(api.upsert_accounts(request)).await.map(|_| ())
    }

    pub(crate) async fn follow(&self, follows: Vec<v1::Follow>) -> Result<(), Status> {
        let mut api = DirectoryServiceClient::new(self.wire.clone());
        let request = with_token(v1::SetFollowsRequest { follows }, &self.platform_token());
        in_time(api.set_follows(request)).await.map(|_| ())
    }

    pub(crate) fn platform_token(&self) -> String {
        self.issuer.mint("platform", "", "", Scope::Platform, Duration::from_secs(600)).unwrap()
    }

    pub(crate) fn token(&self, handle: &str) -> String {
        let sub = dev_account_id(handle);
        self.issuer.mint(sub.expose(), handle, "", Scope::Client, Duration::from_secs(600)).unwrap()
    }

    /// A person's client, not subscribed.
    pub(crate) fn person(&self, handle: &str) -> Person {
        Person {
            api: CallServiceClient::new(self.wire.clone()),
            privacy: PrivacyServiceClient::new(self.wire.clone()),
            token: self.token(handle),
        }
    }

    /// A person's device with an open stream.
    pub(crate) async fn device(&self, handle: &str, device: &str) -> Device {
        Device::open(self.person(handle), device).await
    }

    /// A linked router node that answers every offer and at once says that the leg is connected.
    pub(crate) async fn node(&self, name: &str) -> Node {
        Node::link(NodeServiceClient::new(self.wire.clone()), &self.control.mint_node_token(), name, "boot-1")
            .await
    }

    /// Sends bytes to a method and gives the status that its call ends with, wherever this encoding has it.
    pub(crate) async fn post(
        &self,
        path: &str,
        content_type: &str,
        token: Option<&str>,
        body: Vec<u8>,
    ) -> Status {
        let mut request = HttpRequest::post(path).header("content-type", content_type);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(tonic::body::Body::new(Body::from(body))).unwrap();
        let (head, body) = in_time(self.wire.clone().oneshot(request)).await.unwrap().into_parts();
        let collected = in_time(body.collect()).await.unwrap();
        let mut fields = head.headers;
        fields.extend(collected.trailers().cloned().unwrap_or_default());
        // grpc-web has them in a last frame of the body.
        let frame = collected.to_bytes();
        let lines = String::from_utf8_lossy(frame.get(5..).unwrap_or_default()).into_owned();
        for (name, value) in lines.split("\r\n").filter_map(|line| line.split_once(':')) {
            let name = HeaderName::from_bytes(name.trim().as_bytes()).unwrap();
            fields.insert(name, value.trim().parse().unwrap());
        }
        Status::from_header_map(&fields).expect("the call ends with a status")
    }

    pub(crate) async fn counts(&self) -> Counts {
        in_time(self.control.counts()).await.unwrap()
    }

    /// Waits until the counts are so.
    pub(crate) async fn counts_become(&self, what: &str, is_so: impl Fn(&Counts) -> bool) -> Counts {
        eventually(what, async || Some(self.counts().await).filter(|counts| is_so(counts))).await
    }
}

/// Somebody's client: the API and a token.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) api: CallServiceClient<Wire>,
    pub(crate) privacy: PrivacyServiceClient<Wire>,
    pub(crate) token: String,
}

impl Person {
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        with_token(message, &self.token)
    }

    pub(crate) async fn place(
        &self,
        session: &str,
        callee: &str,
        request_id: &str,
    ) -> Result<v1::Call, Status> {
        let message = v1::PlaceCallRequest {
            session_id: session.into(),
            request_id: request_id.into(),
            callee_handle: callee.into(),
            video: false,
        };
        in_time(self.api.clone().place_call(self.request(message))).await.map(call)
    }

    pub(crate) async fn accept(&self, session: &str, call_id: &str) -> Result<v1::Call, Status> {
        in_time(self.api.clone().accept_call(self.request(command(session, call_id)))).await.map(call)
    }

    pub(crate) async fn decline(&self, session: &str, call_id: &str) -> Result<v1::Call, Status> {
        in_time(self.api.clone().decline_call(self.request(command(session, call_id)))).await.map(call)
    }

    pub(crate) async fn hang_up(&self, session: &str, call_id: &str) -> Result<v1::Call, Status> {
        in_time(self.api.clone().hang_up(self.request(command(session, call_id)))).await.map(call)
    }

    pub(crate) async fn media(&self, session: &str, call_id: &str, audio: bool) -> Result<v1::Call, Status> {
        let message = v1::UpdateMediaRequest {
            session_id: session.into(),
            call_id: call_id.into(),
            media: Some(v1::MediaState { audio, video: false }),
        };
        in_time(self.api.clone().update_media(self.request(message))).await.map(call)
    }

    pub(crate) async fn connect(
        &self,
        session: &str,
        call_id: &str,
        leg_id: &str,
        sdp_offer: &str,
    ) -> Result<v1::ConnectLegResponse, Status> {
        let message = v1::ConnectLegRequest {
            session_id: session.into(),
            call_id: call_id.into(),
            leg_id: leg_id.into(),
            sdp_offer: sdp_offer.into(),
        };
        in_time(self.api.clone().connect_leg(self.request(message))).await.map(|answer| answer.into_inner())
    }

    pub(crate) async fn consent(
        &self,
        session: &str,
        call_id: &str,
        consent: bool,
    ) -> Result<v1::Call, Status> {
        let message = v1::SetDirectRequest { session_id: session.into(), call_id: call_id.into(), consent };
        in_time(self.api.clone().set_direct(self.request(message))).await.map(call)
    }

    pub(crate) async fn step(
        &self,
        session: &str,
        call_id: &str,
        attempt: u32,
        step: Option<v1::send_direct_request::Step>,
    ) -> Result<v1::SendDirectResponse, Status> {
        let message =
            v1::SendDirectRequest { session_id: session.into(), call_id: call_id.into(), attempt, step };
        in_time(self.api.clone().send_direct(self.request(message))).await.map(|answer| answer.into_inner())
    }

    pub(crate) async fn get(&self, call_id: &str) -> Result<v1::Call, Status> {
        let message = v1::GetCallRequest { call_id: call_id.into() };
        in_time(self.api.clone().get_call(self.request(message))).await.map(call)
    }

    pub(crate) async fn calls(
        &self,
        page_size: u32,
        page_token: &str,
    ) -> Result<v1::ListCallsResponse, Status> {
        let message = v1::ListCallsRequest { page_size, page_token: page_token.into() };
        in_time(self.api.clone().list_calls(self.request(message))).await.map(|answer| answer.into_inner())
    }

    pub(crate) async fn contacts(&self) -> Vec<v1::Contact> {
        let answer = in_time(self.api.clone().list_contacts(self.request(v1::ListContactsRequest {}))).await;
        answer.unwrap().into_inner().contacts
    }

    pub(crate) async fn profile(&self) -> Result<v1::GetProfileResponse, Status> {
        let answer = in_time(self.api.clone().get_profile(self.request(v1::GetProfileRequest {}))).await;
        answer.map(|answer| answer.into_inner())
    }
}

pub(crate) fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn command(session: &str, call_id: &str) -> v1::CallCommand {
    v1::CallCommand { session_id: session.into(), call_id: call_id.into() }
}

fn call(answer: tonic::Response<v1::CallResponse>) -> v1::Call {
    answer.into_inner().call.unwrap()
}

/// A development account with calling on.
pub(crate) fn account(handle: &str) -> v1::Account {
    v1::Account {
        account_id: dev_account_id(handle).expose().into(),
        handle: handle.into(),
        display_name: format!("The {handle}"),
        calling_enabled: Some(true),
        ..v1::Account::default()
    }
}

pub(crate) fn follow(follower: &str, followee: &str, following: bool) -> v1::Follow {
    v1::Follow {
        follower_account_id: dev_account_id(follower).expose().into(),
        followee_account_id: dev_account_id(followee).expose().into(),
        following,
    }
}

/// Bytes as one message of a request.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    frame
}

/// What is no message of any method: an endless number, and a field that is longer than what came.
pub(crate) fn unreadable() -> [Vec<u8>; 2] {
    [framed(&[0xff; 3]), framed(b"\x0a\x05abc")]
}

/// Code and reason of a failure, once it is sure that its sentence is one.
pub(crate) fn failure(status: &Status) -> (Code, String) {
    let reason = duocast_wire::error::reason(status);
    let reason = reason.unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert!(status.message().split(' ').count() >= 4, "{:?} does not say what to do", status.message());
    (status.code(), reason)
}

#[track_caller]
pub(crate) fn assert_fails<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, reason: &str) {
    let status = result.expect_err("this must fail");
    assert_eq!(failure(&status), (code, reason.to_owned()), "{status:?}");
}

/// The value, or a failed test if it takes unreasonably long.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this takes too long")
}

/// Looks again and again until there is a value.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            match look().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(found) => found,
        Err(_) => panic!("never happened: {what}"),
    }
}
