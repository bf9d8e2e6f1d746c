//! A small gRPC service that does what a test asks of it, and its client. Also served by the `probe` example, against
//! which foreign clients are run.

#![allow(dead_code, unreachable_pub, reason = "each test file and the example use a part of it")]

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::uri::PathAndQuery;
use http::{Request, Response};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::server::{Grpc, NamedService, ServerStreamingService, StreamingService, UnaryService};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

/// Largest message the service takes.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// What is asked.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ask {
    /// `echo`, `wait`, `panic`; for a stream `count`, `idle`, `flood`, `panic`, `until_drained`.
    #[prost(string, tag = "1")]
    pub command: String,
    /// How many messages `count` streams.
    #[prost(uint32, tag = "2")]
    pub number: u32,
    /// Comes back.
    #[prost(bytes = "bytes", tag = "3")]
    pub payload: Bytes,
}

/// What comes back.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Answer {
    /// Counts the messages of a stream from 1.
    #[prost(uint32, tag = "1")]
    pub number: u32,
    /// The payload that was asked with.
    #[prost(bytes = "bytes", tag = "2")]
    pub payload: Bytes,
}

pub fn ask(command: &str) -> Ask {
    Ask { command: command.to_owned(), ..Ask::default() }
}

/// The service. Clones share the count of what is running.
#[derive(Clone)]
pub struct Probe {
    running: Arc<watch::Sender<usize>>,
}

impl Default for Probe {
    fn default() -> Self {
        Self { running: Arc::new(watch::Sender::new(0)) }
    }
}

impl Probe {
    /// Waits until this many handlers and streams are alive.
    pub async fn running(&self, count: usize) {
        let mut running = self.running.subscribe();
        let reached = running.wait_for(|now| *now == count);
        let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
        assert!(reached.is_ok(), "{} calls are running, not {count}", *self.running.borrow());
    }

    fn enter(&self) -> Running {
        self.running.send_modify(|count| *count += 1);
        Running(self.clone())
    }

    async fn answer(self, ask: Ask) -> Result<Answer, Status> {
        let _running = self.enter();
        match ask.command.as_str() {
            "echo" => Ok(Answer { number: 1, payload: ask.payload }),
            "wait" => pending().await,
            "panic" => panic!("a test asked for it"),
            other => Err(Status::invalid_argument(format!("{other:?} is no command"))),
        }
    }

    fn answers(self, ask: Ask) -> Result<Answers, Status> {
        let running = self.enter();
        let one = |number| Ok(Answer { number, payload: Bytes::new() });
        let payload = ask.payload;
        let answers: Answers = match ask.command.as_str() {
            "count" => {
                let number = move |number| Ok(Answer { number, payload: payload.clone() });
                stream::iter((1..=ask.number).map(number)).boxed()
            }
            "idle" => stream::once(async move { one(1) }).chain(stream::pending()).boxed(),
            "flood" => {
                stream::repeat_with(move || Ok(Answer { number: 1, payload: payload.clone() })).boxed()
            }
            "panic" => {
                // The pause lets the first message out: tonic sends together what is ready together.
                let panics = stream::once(async {
                    tokio::task::yield_now().await;
                    panic!("a test asked for it")
                });
                stream::once(async move { one(1) }).chain(panics).boxed()
            }
            other => return Err(Status::invalid_argument(format!("{other:?} is no command"))),
        };
        Ok(while_running(answers, running))
    }

    fn chat(self, asks: Streaming<Ask>) -> Answers {
        let running = self.enter();
        while_running(asks.map(|ask| Ok(Answer { number: 1, payload: ask?.payload })).boxed(), running)
    }
}

/// Counts as running until it is dropped.
struct Running(Probe);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.send_modify(|count| *count -= 1);
    }
}

pub type Answers = Pin<Box<dyn Stream<Item = Result<Answer, Status>> + Send>>;

fn while_running(answers: Answers, running: Running) -> Answers {
    answers
        .inspect(move |_| {
            let _ = &running;
        })
        .boxed()
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl UnaryService<Ask> for Probe {
    type Response = Answer;
    type Future = BoxFuture<Result<tonic::Response<Answer>, Status>>;
    fn call(&mut self, request: tonic::Request<Ask>) -> Self::Future {
        let answer = self.clone().answer(request.into_inner());
        Box::pin(async move { answer.await.map(tonic::Response::new) })
    }
}

impl ServerStreamingService<Ask> for Probe {
    type Response = Answer;
    type ResponseStream = Answers;
    type Future = BoxFuture<Result<tonic::Response<Answers>, Status>>;
    fn call(&mut self, request: tonic::Request<Ask>) -> Self::Future {
        let probe = self.clone();
        Box::pin(async move { probe.answers(request.into_inner()).map(tonic::Response::new) })
    }
}

impl StreamingService<Ask> for Probe {
    type Response = Answer;
    type ResponseStream = Answers;
    type Future = BoxFuture<Result<tonic::Response<Answers>, Status>>;
    fn call(&mut self, request: tonic::Request<Streaming<Ask>>) -> Self::Future {
        let probe = self.clone();
        Box::pin(async move { Ok(tonic::Response::new(probe.chat(request.into_inner()))) })
    }
}

impl NamedService for Probe {
    const NAME: &'static str = "duocast.test.Probe";
}

impl<B> Service<Request<B>> for Probe
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let probe = self.clone();
        let mut grpc =
            Grpc::new(ProstCodec::<Answer, Ask>::default()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/duocast.test.Probe/Unary" => grpc.unary(probe, request).await,
                "/duocast.test.Probe/Stream" => grpc.server_streaming(probe, request).await,
                "/duocast.test.Probe/Chat" => grpc.streaming(probe, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// The client, as a generated one is made.
#[derive(Clone)]
pub struct ProbeClient<T> {
    inner: tonic::client::Grpc<T>,
}

impl<T> ProbeClient<T>
where
    T: GrpcService<Body>,
    T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <T::ResponseBody as http_body::Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    pub fn new(channel: T) -> Self {
        Self { inner: tonic::client::Grpc::new(channel) }
    }

    pub fn taking_at_most(self, bytes: usize) -> Self {
        Self { inner: self.inner.max_decoding_message_size(bytes) }
    }

    pub async fn unary(&mut self, request: impl tonic::IntoRequest<Ask>) -> Result<Answer, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/duocast.test.Probe/Unary");
        let codec = ProstCodec::<Ask, Answer>::default();
        Ok(self.inner.unary(request.into_request(), path, codec).await?.into_inner())
    }

    pub async fn stream(
        &mut self,
        request: impl tonic::IntoRequest<Ask>,
    ) -> Result<Streaming<Answer>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/duocast.test.Probe/Stream");
        let codec = ProstCodec::<Ask, Answer>::default();
        Ok(self.inner.server_streaming(request.into_request(), path, codec).await?.into_inner())
    }

    pub async fn chat(
        &mut self,
        request: impl tonic::IntoStreamingRequest<Message = Ask>,
    ) -> Result<Streaming<Answer>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/duocast.test.Probe/Chat");
        let codec = ProstCodec::<Ask, Answer>::default();
        Ok(self.inner.streaming(request.into_streaming_request(), path, codec).await?.into_inner())
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.inner.ready().await.map_err(|error| Status::unavailable(error.into().to_string()))
    }
}
