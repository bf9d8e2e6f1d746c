"""grpcio (gRPC's own C core) calls a server over HTTP/2 with TLS."""

import queue
import sys
import threading
import time

import grpc
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import checks

PATIENCE = 20


def main():
    given = checks.arguments(__doc__)
    tally = checks.Tally()
    for check in CHECKS:
        with channel_to(given.target, given.ca_pem) as channel:
            try:
                check(Client(channel, given))
                tally.record(check.__name__)
            except Exception as error:
                tally.record(check.__name__, error)
    tally.finish()


def channel_to(target, ca_pem):
    """A channel of its own for each check; `grpc.use_local_subchannel_pool` keeps grpcio from sharing connections."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(ca_pem), options)


class Client:
    def __init__(self, channel, given):
        self.channel = channel
        self.given = given
        self.token = given.token
        self.health = health_pb2_grpc.HealthStub(channel)

    def unary(self, path, message, timeout=PATIENCE, metadata=None):
        return self.channel.unary_unary(path)(message, timeout=timeout, metadata=metadata)

    def stream(self, path, message, timeout=PATIENCE, metadata=None):
        return self.channel.unary_stream(path)(message, timeout=timeout, metadata=metadata)

    def probe(self):
        """Skips unless the probe service is there."""
        try:
            self.unary(checks.PROBE + "Unary", checks.ask("echo"))
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                raise checks.Skip("no probe service") from error
            raise

    def authorization(self):
        if not self.token:
            raise checks.Skip("no token given")
        return [("authorization", f"Bearer {self.token}")]


def expect_code(code, call):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()} ({error.details()}) instead of {code}"
        return error
    raise AssertionError(f"the call succeeded instead of failing with {code}")


def a_unary_call_is_answered(client):
    answer = client.health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def an_unknown_service_is_not_found(client):
    request = health_pb2.HealthCheckRequest(service="nobody")
    expect_code(grpc.StatusCode.NOT_FOUND, lambda: client.health.Check(request, timeout=PATIENCE))


def an_unknown_method_is_unimplemented(client):
    expect_code(grpc.StatusCode.UNIMPLEMENTED, lambda: client.unary("/nobody.Nothing/Never", b""))


def a_stream_begins_at_once_and_ends_when_it_is_cancelled(client):
    watched = client.health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    assert next(watched).status == health_pb2.HealthCheckResponse.SERVING
    watched.cancel()
    expect_code(grpc.StatusCode.CANCELLED, lambda: next(watched))
    a_unary_call_is_answered(client)


def an_idle_stream_ends_at_its_deadline(client):
    watched = client.health.Watch(health_pb2.HealthCheckRequest(), timeout=0.5)
    next(watched)
    with checks.Stopwatch() as watch:
        expect_code(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: next(watched))
    assert watch.seconds < 5, watch.seconds


def an_oversized_message_fails_its_call_only(client):
    watched = client.health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
    next(watched)
    message = checks.health_request("x" * checks.OVERSIZED_BYTES)
    try:
        client.unary(checks.HEALTH_CHECK, message)
        raise AssertionError("a message of 8 MiB was taken")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, f"{error.code()} ({error.details()})"
    a_unary_call_is_answered(client)
    assert watched.is_active(), "the other stream on the connection broke"
    watched.cancel()


def many_calls_at_once_are_answered(client):
    call = client.channel.unary_unary(checks.HEALTH_CHECK)
    futures = [call.future(b"", timeout=PATIENCE) for _ in range(500)]
    assert all(future.result() == checks.SERVING for future in futures)


def reflection_lists_the_services(client):
    services = set(ProtoReflectionDescriptorDatabase(client.channel).get_services())
    assert checks.HEALTH_SERVICE in services, services


def both_versions_of_reflection_list_and_describe(client):
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services="*"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=checks.HEALTH_SERVICE),
    ]
    for path in checks.REFLECTIONS:
        call = client.channel.stream_stream(
            path,
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        listed, described = call(iter(requests), timeout=PATIENCE)
        services = [service.name for service in listed.list_services_response.service]
        assert checks.HEALTH_SERVICE in services, (path, services)
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(file)
            for file in described.file_descriptor_response.file_descriptor_proto
        ]
        assert any(service.name == "Health" for file in files for service in file.service), (path, files)


def a_long_stream_arrives_whole_and_in_order(client):
    client.probe()
    answers = list(client.stream(checks.PROBE + "Stream", checks.ask("count", 3000, b"x" * 500)))
    assert len(answers) == 3000
    for number, answer in enumerate(answers, 1):
        assert answer.startswith(checks.number_field(1, number)), number


def requests_and_answers_stream_at_the_same_time(client):
    client.probe()
    said = threading.Semaphore(0)

    def asks():
        for word in (b"one", b"two", b"three"):
            yield checks.ask("", payload=word)
            assert said.acquire(timeout=PATIENCE), "no answer while the requests are open"

    answers = client.channel.stream_stream(checks.PROBE + "Chat")(asks(), timeout=PATIENCE)
    heard = []
    for answer in answers:
        heard.append(answer)
        said.release()
    assert [answer[-3:] for answer in heard] == [b"one", b"two", b"ree"], heard


def a_panic_fails_its_call_only(client):
    client.probe()
    idle = client.stream(checks.PROBE + "Stream", checks.ask("idle"))
    next(idle)
    path = checks.PROBE + "Unary"
    expect_code(grpc.StatusCode.INTERNAL, lambda: client.unary(path, checks.ask("panic")))
    panics = client.stream(checks.PROBE + "Stream", checks.ask("panic"))
    next(panics)
    expect_code(grpc.StatusCode.INTERNAL, lambda: next(panics))
    client.unary(path, checks.ask("echo"))
    assert idle.is_active(), "the other stream on the connection broke"
    idle.cancel()


def a_call_without_a_token_is_unauthenticated(client):
    try:
        client.unary(checks.GET_PROFILE, b"")
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNIMPLEMENTED:
            raise checks.Skip("no CallService") from error
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error.code()
        return
    raise AssertionError("answered without a token")


def a_call_with_the_token_is_answered(client):
    assert client.unary(checks.GET_PROFILE, b"", metadata=client.authorization())


def a_session_stream_begins_with_its_first_event(client):
    request = checks.text_field(1, "interop-grpcio")
    events = client.stream(checks.SUBSCRIBE, request, metadata=client.authorization())
    assert next(events)
    events.cancel()


def a_call_that_is_cancelled_is_dropped_by_the_server(client):
    before = checks.streams_at_rest(client.given.metrics)
    request = checks.text_field(1, "interop-grpcio-cancelled")
    events = client.stream(checks.SUBSCRIBE, request, metadata=client.authorization())
    next(events)
    assert checks.streams(client.given.metrics) == before + 1
    events.cancel()
    with checks.Stopwatch() as watch:
        while checks.streams(client.given.metrics) != before:
            assert watch.so_far() < PATIENCE, "the server still holds the stream"
            time.sleep(0.05)
    a_unary_call_is_answered(client)


def a_drain_lets_the_call_in_flight_end_and_takes_no_more(client):
    with checks.ProbeServer(client.given.probe) as server, channel_to(server.target, server.ca_pem) as channel:
        left = threading.Event()
        words = queue.Queue()
        answers = channel.stream_stream(checks.PROBE + "Chat")(iter(words.get, None), timeout=PATIENCE)
        words.put(checks.ask("", payload=b"before"))
        assert next(answers).endswith(b"before")
        ready = threading.Event()

        def changed(state):
            if state is grpc.ChannelConnectivity.READY:
                ready.set()
            elif ready.is_set():
                left.set()

        channel.subscribe(changed)
        assert ready.wait(PATIENCE), "the channel is not connected"
        server.drain()
        # At GOAWAY a channel gives the connection up for further calls, while the call goes on on it.
        assert left.wait(PATIENCE), "the channel heard of no GOAWAY"
        words.put(checks.ask("", payload=b"after"))
        assert next(answers).endswith(b"after")
        expect_code(grpc.StatusCode.UNAVAILABLE, lambda: channel.unary_unary(checks.HEALTH_CHECK)(b"", timeout=PATIENCE))
        words.put(None)
        assert list(answers) == [] and answers.code() is grpc.StatusCode.OK, answers
        assert server.process.wait(checks.STOP_SECONDS) == 0


CHECKS = [
    a_unary_call_is_answered,
    an_unknown_service_is_not_found,
    an_unknown_method_is_unimplemented,
    a_stream_begins_at_once_and_ends_when_it_is_cancelled,
    an_idle_stream_ends_at_its_deadline,
    an_oversized_message_fails_its_call_only,
    many_calls_at_once_are_answered,
    reflection_lists_the_services,
    both_versions_of_reflection_list_and_describe,
    a_long_stream_arrives_whole_and_in_order,
    requests_and_answers_stream_at_the_same_time,
    a_panic_fails_its_call_only,
    a_call_without_a_token_is_unauthenticated,
    a_call_with_the_token_is_answered,
    a_session_stream_begins_with_its_first_event,
    a_call_that_is_cancelled_is_dropped_by_the_server,
    a_drain_lets_the_call_in_flight_end_and_takes_no_more,
]

if __name__ == "__main__":
    sys.exit(main())
