//! The same stories on every door, told by our own client.

mod common;

use bytes::Bytes;
use common::probe::{Ask, MAX_MESSAGE_BYTES, ProbeClient, ask};
use common::{Setup, TestServer, in_time};
use duocast_transport::Door;
use duocast_transport::client::{Channel, DoorChoice};
use futures_util::StreamExt as _;
use std::time::Duration;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};

macro_rules! on_each_door {
    ($($story:ident),* $(,)?) => {
        mod over_h3 {
            $(#[tokio::test] async fn $story() { super::$story(super::DoorChoice::H3).await; })*
        }
        mod over_h2 {
            $(#[tokio::test] async fn $story() { super::$story(super::DoorChoice::H2).await; })*
        }
    };
}

on_each_door!(
    a_unary_call_is_answered,
    a_stream_arrives_whole_and_in_order,
    requests_and_answers_stream_at_the_same_time,
    a_burst_of_small_messages_is_taken,
    a_generated_client_works,
    a_dropped_idle_stream_is_dropped_on_the_server,
    a_dropped_call_is_dropped_on_the_server,
    a_dropped_chat_is_dropped_on_the_server,
    a_call_ends_at_its_deadline,
    an_idle_stream_ends_at_its_deadline,
    a_client_that_reads_nothing_is_not_buffered_for_and_can_leave,
    a_message_that_is_too_large_fails_its_call_only,
    an_answer_that_is_too_large_fails_its_call_only,
    a_panic_fails_its_call_only,
    a_panic_in_a_stream_fails_that_stream_only,
    a_stream_outlives_the_channel_it_was_opened_on,
    an_unknown_method_is_unimplemented,
    a_drain_lets_a_running_stream_end,
    a_drain_refuses_new_calls,
    a_drain_tells_a_stream_that_does_not_end,
    a_stream_that_ignores_the_drain_is_cut_off,
    an_idle_connection_does_not_delay_a_drain,
    a_channel_connects_anew_after_a_restart,
    more_calls_than_one_connection_carries_wait_their_turn,
    both_loopback_addresses_are_served,
);

async fn a_unary_call_is_answered(door: DoorChoice) {
    let server = TestServer::start().await;
    let channel = server.channel(door).await;
    assert_eq!(channel.door(), if door == DoorChoice::H3 { Door::H3 } else { Door::H2 });
    let payload = Bytes::from(vec![7; 200_000]);
    let asked = Ask { payload: payload.clone(), ..ask("echo") };
    let answer = in_time(ProbeClient::new(channel).unary(asked)).await.unwrap();
    assert_eq!(answer.payload, payload);
    server.stop().await;
}

async fn a_stream_arrives_whole_and_in_order(door: DoorChoice) {
    let server = TestServer::start().await;
    let asked = Ask { number: 3000, payload: Bytes::from(vec![1; 500]), ..ask("count") };
    let answers = server.client(door).await.stream(asked).await.unwrap();
    let numbers: Vec<u32> = in_time(answers.map(|answer| answer.unwrap().number).collect()).await;
    assert_eq!(numbers, (1..=3000).collect::<Vec<_>>());
    server.probe.running(0).await;
}

async fn requests_and_answers_stream_at_the_same_time(door: DoorChoice) {
    let server = TestServer::start().await;
    let (say, asks) = tokio::sync::mpsc::channel(1);
    let mut client = server.client(door).await;
    let mut answers = in_time(client.chat(ReceiverStream::new(asks))).await.unwrap();
    for word in ["one", "two", "three"] {
        say.send(Ask { payload: word.into(), ..Ask::default() }).await.unwrap();
        assert_eq!(in_time(answers.message()).await.unwrap().unwrap().payload, word);
    }
    drop(say);
    assert_eq!(in_time(answers.message()).await.unwrap(), None);
    server.probe.running(0).await;
}

async fn a_burst_of_small_messages_is_taken(door: DoorChoice) {
    let server = TestServer::start().await;
    let burst = tokio_stream::iter((0..50_000).map(|_| ask("")));
    let answers = in_time(server.client(door).await.chat(burst)).await.unwrap();
    assert_eq!(in_time(answers.filter(|answer| std::future::ready(answer.is_ok())).count()).await, 50_000);
}

async fn a_generated_client_works(door: DoorChoice) {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    let server = TestServer::start().await;
    let mut client = HealthClient::new(server.channel(door).await);
    let asked = || HealthCheckRequest { service: "probe".to_owned() };
    assert_eq!(in_time(client.check(asked())).await.unwrap().into_inner().status, 1);
    let mut watched = in_time(client.watch(asked())).await.unwrap().into_inner();
    assert_eq!(in_time(watched.message()).await.unwrap().unwrap().status, 1);
}

async fn a_dropped_idle_stream_is_dropped_on_the_server(door: DoorChoice) {
    let server = TestServer::start().await;
    let mut client = server.client(door).await;
    let mut answers = client.stream(ask("idle")).await.unwrap();
    in_time(answers.message()).await.unwrap().unwrap();
    server.probe.running(1).await;
    drop(answers);
    server.probe.running(0).await;
    in_time(client.unary(ask("echo"))).await.unwrap();
}

async fn a_dropped_call_is_dropped_on_the_server(door: DoorChoice) {
    let server = TestServer::start().await;
    let mut client = server.client(door).await;
    {
        let mut waiting = std::pin::pin!(client.unary(ask("wait")));
        tokio::select! {
            _ = &mut waiting => panic!("nothing answers this call"),
            () = server.probe.running(1) => {}
        }
    }
    server.probe.running(0).await;
    in_time(client.unary(ask("echo"))).await.unwrap();
}

async fn a_dropped_chat_is_dropped_on_the_server(door: DoorChoice) {
    let server = TestServer::start().await;
    let (say, asks) = tokio::sync::mpsc::channel(1);
    let mut client = server.client(door).await;
    let mut answers = in_time(client.chat(ReceiverStream::new(asks))).await.unwrap();
    say.send(Ask::default()).await.unwrap();
    in_time(answers.message()).await.unwrap().unwrap();
    drop(answers);
    server.probe.running(0).await;
    in_time(say.closed()).await;
}

async fn a_call_ends_at_its_deadline(door: DoorChoice) {
    let server = TestServer::start().await;
    let mut request = Request::new(ask("wait"));
    request.set_timeout(Duration::from_millis(200));
    let failed = in_time(server.client(door).await.unary(request)).await.unwrap_err();
    assert_eq!(failed.code(), Code::DeadlineExceeded);
    server.probe.running(0).await;
}

async fn an_idle_stream_ends_at_its_deadline(door: DoorChoice) {
    let server = TestServer::start().await;
    let mut request = Request::new(ask("idle"));
    request.set_timeout(Duration::from_millis(500));
    let mut answers = server.client(door).await.stream(request).await.unwrap();
    in_time(answers.message()).await.unwrap().unwrap();
    assert_eq!(in_time(answers.message()).await.unwrap_err().code(), Code::DeadlineExceeded);
    server.probe.running(0).await;
}

async fn a_client_that_reads_nothing_is_not_buffered_for_and_can_leave(door: DoorChoice) {
    let server = TestServer::start().await;
    let asked = Ask { payload: Bytes::from(vec![1; 10_000]), ..ask("flood") };
    let answers = server.client(door).await.stream(asked).await.unwrap();
    server.probe.running(1).await;
    drop(answers);
    server.probe.running(0).await;
}

async fn a_message_that_is_too_large_fails_its_call_only(door: DoorChoice) {
    let server = TestServer::start().await;
    let mut client = server.client(door).await;
    let mut idle = client.stream(ask("idle")).await.unwrap();
    let large = Ask { payload: Bytes::from(vec![1; 2 * MAX_MESSAGE_BYTES]), ..ask("echo") };
    let status = in_time(client.unary(large)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("at most 262144 bytes"), "{status:?}");
    in_time(client.unary(ask("echo"))).await.unwrap();
    in_time(idle.message()).await.unwrap().unwrap();
    server.probe.running(1).await;
}

async fn an_answer_that_is_too_large_fails_its_call_only(door: DoorChoice) {
    let server = TestServer::start().await;
    let mut client = server.client(door).await;
    let mut limited = client.clone().taking_at_most(1000);
    let large = Ask { payload: Bytes::from(vec![1; 2000]), ..ask("echo") };
    assert_eq!(in_time(limited.unary(large.clone())).await.unwrap_err().code(), Code::OutOfRange);
    in_time(client.unary(large)).await.unwrap();
}

async fn a_panic_fails_its_call_only(door: DoorChoice) {
    let server = TestServer::start().await;
    let mut client = server.client(door).await;
    let mut other = client.stream(Ask { number: 2, ..ask("count") }).await.unwrap();
    assert_eq!(in_time(client.unary(ask("panic"))).await.unwrap_err().code(), Code::Internal);
    assert_eq!(in_time(other.message()).await.unwrap().unwrap().number, 1);
    in_time(client.unary(ask("echo"))).await.unwrap();
}

async fn a_panic_in_a_stream_fails_that_stream_only(door: DoorChoice) {
    let server = TestServer::start().await;
    let mut client = server.client(door).await;
    let mut other = client.stream(ask("idle")).await.unwrap();
    let mut answers = client.stream(ask("panic")).await.unwrap();
    assert_eq!(in_time(answers.message()).await.unwrap().unwrap().number, 1);
    assert_eq!(in_time(answers.message()).await.unwrap_err().code(), Code::Internal);
    in_time(other.message()).await.unwrap().unwrap();
    server.probe.running(1).await;
}

async fn a_stream_outlives_the_channel_it_was_opened_on(door: DoorChoice) {
    let server = TestServer::start().await;
    let asked = Ask { number: 500, payload: Bytes::from(vec![1; 5000]), ..ask("count") };
    let mut client = server.client(door).await;
    let answers = client.stream(asked).await.unwrap();
    drop(client);
    assert_eq!(in_time(answers.filter(|answer| std::future::ready(answer.is_ok())).count()).await, 500);
}

async fn an_unknown_method_is_unimplemented(door: DoorChoice) {
    let server = TestServer::start().await;
    let channel = server.channel(door).await;
    let mut client = tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel);
    let request = tonic_reflection::pb::v1::ServerReflectionRequest::default();
    let failed = in_time(client.server_reflection_info(tokio_stream::once(request))).await.unwrap_err();
    assert_eq!(failed.code(), Code::Unimplemented);
}

async fn a_drain_lets_a_running_stream_end(door: DoorChoice) {
    let mut server = TestServer::start().await;
    let (say, asks) = tokio::sync::mpsc::channel(1);
    let mut client = server.client(door).await;
    let mut answers = in_time(client.chat(ReceiverStream::new(asks))).await.unwrap();
    server.probe.running(1).await;
    server.shutdown.cancel();
    for _ in 0..3 {
        say.send(Ask::default()).await.unwrap();
        in_time(answers.message()).await.unwrap().unwrap();
    }
    drop(say);
    assert_eq!(in_time(answers.message()).await.unwrap(), None);
    server.stopped().await;
}

async fn a_drain_refuses_new_calls(door: DoorChoice) {
    let server = TestServer::start().await;
    let mut client = server.client(door).await;
    let mut answers = client.stream(ask("idle")).await.unwrap();
    in_time(answers.message()).await.unwrap().unwrap();
    server.shutdown.cancel();
    // Twice: the first may cross GOAWAY on the old connection, the second needs a new one, which is refused.
    for _ in 0..2 {
        let refused = in_time(client.unary(ask("echo"))).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    }
    server.probe.running(1).await;
}

async fn a_drain_tells_a_stream_that_does_not_end(door: DoorChoice) {
    let setup = Setup { drain_grace: Duration::from_millis(100), ..Setup::default() };
    let mut server = TestServer::start_with(setup).await;
    let mut answers = server.client(door).await.stream(ask("idle")).await.unwrap();
    in_time(answers.message()).await.unwrap().unwrap();
    server.shutdown.cancel();
    assert_eq!(in_time(answers.message()).await.unwrap_err().code(), Code::Unavailable);
    server.stopped().await;
}

async fn a_stream_that_ignores_the_drain_is_cut_off(door: DoorChoice) {
    let setup = Setup { drain_timeout: Duration::from_millis(100), ..Setup::default() };
    let mut server = TestServer::start_with(setup).await;
    let mut answers = server.client(door).await.stream(ask("idle")).await.unwrap();
    in_time(answers.message()).await.unwrap().unwrap();
    server.shutdown.cancel();
    server.stopped().await;
    assert_eq!(in_time(answers.message()).await.unwrap_err().code(), Code::Unavailable);
    server.probe.running(0).await;
}

async fn an_idle_connection_does_not_delay_a_drain(door: DoorChoice) {
    let server = TestServer::start().await;
    let mut client = server.client(door).await;
    in_time(client.unary(ask("echo"))).await.unwrap();
    server.stop().await;
    assert_eq!(in_time(client.unary(ask("echo"))).await.unwrap_err().code(), Code::Unavailable);
}

async fn a_channel_connects_anew_after_a_restart(door: DoorChoice) {
    let first = TestServer::start().await;
    let mut client = first.client(door).await;
    in_time(client.unary(ask("echo"))).await.unwrap();
    let (port, identity) = (first.port, Some(first.identity.clone()));
    first.stop().await;
    let second = TestServer::start_with(Setup { port, identity, ..Setup::default() }).await;
    in_time(client.unary(ask("echo"))).await.unwrap();
    second.stop().await;
}

async fn more_calls_than_one_connection_carries_wait_their_turn(door: DoorChoice) {
    let mut setup = Setup::default();
    setup.limits.streams_per_connection = 2;
    let server = TestServer::start_with(setup).await;
    let mut client = server.client(door).await;
    let first = client.stream(ask("idle")).await.unwrap();
    let _second = client.stream(ask("idle")).await.unwrap();
    server.probe.running(2).await;
    let mut waiting = std::pin::pin!(client.unary(ask("echo")));
    tokio::select! {
        _ = &mut waiting => panic!("a third call ran on a connection that carries two"),
        () = tokio::time::sleep(Duration::from_millis(200)) => {}
    }
    drop(first);
    in_time(waiting).await.unwrap();
}

async fn both_loopback_addresses_are_served(door: DoorChoice) {
    let server = TestServer::start().await;
    for host in ["127.0.0.1", "[::1]"] {
        let config = server.config_for(&format!("https://{host}:{}", server.port), door);
        let mut client = ProbeClient::new(in_time(Channel::connect(config)).await.unwrap());
        in_time(client.unary(ask("echo"))).await.unwrap();
    }
}
