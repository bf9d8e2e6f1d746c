"""aioquic, a QUIC and HTTP/3 stack of its own, speaks gRPC to a server over HTTP/3: the framing is done here by hand."""

import asyncio
import struct
import sys
from contextlib import asynccontextmanager

from aioquic.asyncio import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, ErrorCode, FrameType, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

import checks

PATIENCE = 20


def main():
    given = checks.arguments(__doc__)
    asyncio.run(run(given))


async def run(given):
    tally = checks.Tally()
    for check in CHECKS:
        try:
            async with asyncio.timeout(3 * PATIENCE):
                async with connection_to(given.host, given.port, given.ca_pem) as client:
                    client.given, client.token = given, given.token
                    await check(client)
            tally.record(check.__name__)
        except Exception as error:
            tally.record(check.__name__, error)
    tally.finish()


@asynccontextmanager
async def connection_to(host, port, ca_pem):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=host)
    configuration.load_verify_locations(cadata=ca_pem)
    async with connect(host, port, configuration=configuration, create_protocol=Client) as client:
        client.authority = f"{host}:{port}"
        yield client


class Http(H3Connection):
    """aioquic skips GOAWAY; this says that it came."""

    def __init__(self, quic):
        super().__init__(quic)
        self.goaway = asyncio.Event()

    def _check_control_frame_type(self, frame_type):
        super()._check_control_frame_type(frame_type)
        if frame_type == FrameType.GOAWAY:
            self.goaway.set()


class Client(QuicConnectionProtocol):
    """One HTTP/3 connection, with a call for each request stream."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = Http(self._quic)
        self.calls = {}
        self.authority = self.token = self.given = None

    def call(self, path, timeout=None, metadata=()):
        """Begins a call: its header section is sent, its message is not."""
        stream_id = self._quic.get_next_available_stream_id()
        headers = [
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", self.authority.encode()),
            (b":path", path.encode()),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        ]
        if timeout is not None:
            headers.append((b"grpc-timeout", f"{round(timeout * 1000)}m".encode()))
        headers.extend(metadata)
        call = self.calls[stream_id] = Call(self, stream_id)
        self.http.send_headers(stream_id, headers)
        return call

    def unary(self, path, message, timeout=None, metadata=()):
        """Begins a call with one message."""
        call = self.call(path, timeout, metadata)
        call.send(message, end=True)
        return call

    async def health(self):
        messages, status = await self.unary(checks.HEALTH_CHECK, b"").collect()
        assert (messages, status) == ([checks.SERVING], checks.OK), (messages, status)

    async def probe(self):
        """Skips unless the probe service is there."""
        _, status = await self.unary(checks.PROBE + "Unary", checks.ask("echo")).collect()
        if status == checks.UNIMPLEMENTED:
            raise checks.Skip("no probe service")
        assert status == checks.OK, status

    def authorization(self):
        if not self.token:
            raise checks.Skip("no token given")
        return [(b"authorization", f"Bearer {self.token}".encode())]

    def quic_event_received(self, event):
        if isinstance(event, StreamReset) and event.stream_id in self.calls:
            self.calls[event.stream_id].events.put_nowait(("reset", event.error_code))
        if isinstance(event, ConnectionTerminated):
            for call in self.calls.values():
                call.events.put_nowait(("closed", event.error_code))
        for http_event in self.http.handle_event(event):
            call = self.calls.get(getattr(http_event, "stream_id", None))
            if call:
                call.received(http_event)


class Call:
    """One request stream. Events: ("headers", dict), ("message", bytes), ("end", status), ("reset" | "closed", code)."""

    def __init__(self, client, stream_id):
        self.client, self.stream_id = client, stream_id
        self.events = asyncio.Queue()
        self.partial = b""
        self.fields = {}

    def send(self, message, end=False):
        self.client.http.send_data(self.stream_id, struct.pack(">BI", 0, len(message)) + message, end)
        self.client.transmit()

    def end(self):
        self.client.http.send_data(self.stream_id, b"", True)
        self.client.transmit()

    def cancel(self):
        """As RFC 9114 section 4.1.1 has it: the receiving part is stopped, what is still open to send is reset."""
        quic = self.client._quic
        quic.stop_stream(self.stream_id, ErrorCode.H3_REQUEST_CANCELLED)
        if not quic._streams[self.stream_id].sender.is_finished:
            quic.reset_stream(self.stream_id, ErrorCode.H3_REQUEST_CANCELLED)
        self.client.transmit()

    def received(self, event):
        if isinstance(event, HeadersReceived):
            self.fields.update((name.decode(), value.decode()) for name, value in event.headers)
            self.events.put_nowait(("headers", dict(self.fields)))
        elif isinstance(event, DataReceived):
            self.partial += event.data
            while len(self.partial) >= 5:
                compressed, length = struct.unpack(">BI", self.partial[:5])
                assert compressed == 0
                if len(self.partial) < 5 + length:
                    break
                self.events.put_nowait(("message", self.partial[5 : 5 + length]))
                self.partial = self.partial[5 + length :]
        if event.stream_ended:
            self.events.put_nowait(("end", int(self.fields.get("grpc-status", -1))))

    async def event(self):
        return await asyncio.wait_for(self.events.get(), PATIENCE)

    async def message(self):
        """The next message; fails if the call ends instead."""
        while True:
            kind, value = await self.event()
            if kind == "message":
                return value
            assert kind == "headers", (kind, value, self.fields)

    async def collect(self):
        """All messages that are still to come, and the status."""
        messages = []
        while True:
            kind, value = await self.event()
            if kind == "message":
                messages.append(value)
            elif kind == "end":
                return messages, value
            else:
                assert kind == "headers", (kind, value)


async def a_unary_call_is_answered(client):
    call = client.unary(checks.HEALTH_CHECK, b"")
    messages, status = await call.collect()
    assert (messages, status) == ([checks.SERVING], checks.OK), (messages, status)
    assert call.fields[":status"] == "200"
    assert call.fields["content-type"] == "application/grpc"


async def an_unknown_service_is_not_found(client):
    messages, status = await client.unary(checks.HEALTH_CHECK, checks.health_request("nobody")).collect()
    assert (messages, status) == ([], checks.NOT_FOUND), (messages, status)


async def an_unknown_method_is_unimplemented(client):
    messages, status = await client.unary("/nobody.Nothing/Never", b"").collect()
    assert (messages, status) == ([], checks.UNIMPLEMENTED), (messages, status)


async def a_stream_begins_at_once_and_can_be_cancelled(client):
    watched = client.unary(checks.HEALTH_WATCH, b"")
    assert await watched.message() == checks.SERVING
    watched.cancel()
    # The server answers the cancellation by resetting its part, at once and not when it has something to send.
    while True:
        kind, _ = await watched.event()
        assert kind in ("reset", "message"), kind
        if kind == "reset":
            break
    await client.health()


async def an_idle_stream_ends_at_its_deadline(client):
    watched = client.unary(checks.HEALTH_WATCH, b"", timeout=0.5)
    with checks.Stopwatch() as watch:
        messages, status = await watched.collect()
    assert (messages, status) == ([checks.SERVING], checks.DEADLINE_EXCEEDED), (messages, status)
    assert 0.4 < watch.seconds < 5, watch.seconds


async def a_call_whose_message_never_comes_ends_at_its_deadline(client):
    call = client.call(checks.HEALTH_CHECK, timeout=0.5)
    client.transmit()
    messages, status = await call.collect()
    assert (messages, status) == ([], checks.DEADLINE_EXCEEDED), (messages, status)


async def an_oversized_message_fails_its_call_only(client):
    watched = client.unary(checks.HEALTH_WATCH, b"")
    await watched.message()
    message = checks.health_request("x" * checks.OVERSIZED_BYTES)
    messages, status = await client.unary(checks.HEALTH_CHECK, message).collect()
    assert (messages, status) == ([], checks.RESOURCE_EXHAUSTED), (messages, status)
    await client.health()
    assert watched.events.empty(), "the other stream on the connection broke"


async def a_message_in_many_small_frames_is_taken(client):
    call = client.call(checks.HEALTH_CHECK)
    body = struct.pack(">BI", 0, 8) + checks.health_request("nobody")
    for byte in body:
        client.http.send_data(call.stream_id, bytes([byte]), False)
    call.end()
    assert await call.collect() == ([], checks.NOT_FOUND)


async def an_empty_frame_between_others_is_ignored(client):
    call = client.call(checks.HEALTH_CHECK)
    body = struct.pack(">BI", 0, 8) + checks.health_request("nobody")
    for part in (body[:4], b"", body[4:]):
        client.http.send_data(call.stream_id, part, False)
        client.transmit()
        await asyncio.sleep(0.05)
    call.end()
    assert await call.collect() == ([], checks.NOT_FOUND)


async def a_malformed_message_fails_its_call_only(client):
    for message in (b"\xff\xff\xff", b"\x0a\x05x"):
        messages, status = await client.unary(checks.HEALTH_CHECK, message).collect()
        assert messages == [] and status == checks.INVALID_ARGUMENT, (messages, status)
    await client.health()


async def many_calls_at_once_are_answered(client):
    for _ in range(5):
        calls = [client.unary(checks.HEALTH_CHECK, b"") for _ in range(100)]
        for call in calls:
            assert await call.collect() == ([checks.SERVING], checks.OK)


async def grpc_web_works_over_http3(client):
    stream_id = client._quic.get_next_available_stream_id()
    call = client.calls[stream_id] = Call(client, stream_id)
    content_type = b"application/grpc-web+proto"
    headers = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", client.authority.encode()),
        (b":path", checks.HEALTH_CHECK.encode()),
        (b"content-type", content_type),
        (b"accept", content_type),
        (b"origin", b"https://calls.example"),
    ]
    client.http.send_headers(stream_id, headers)
    call.received = lambda event: call.events.put_nowait(event)
    call.send(b"", end=True)
    fields, body, ended = {}, b"", False
    while not ended:
        event = await call.event()
        fields.update(event.headers if isinstance(event, HeadersReceived) else [])
        body += event.data if isinstance(event, DataReceived) else b""
        ended = event.stream_ended
    assert fields[b"content-type"] == content_type, fields
    assert b"grpc-status" in fields[b"access-control-expose-headers"], fields
    assert body.startswith(struct.pack(">BI", 0, 2) + checks.SERVING + b"\x80") and b"grpc-status:0" in body, body


async def both_versions_of_reflection_list_and_describe(client):
    for path in checks.REFLECTIONS:
        call = client.call(path)
        call.send(checks.reflection_lists())
        assert checks.HEALTH_LISTED in await call.message(), path
        call.send(checks.reflection_of(checks.HEALTH_SERVICE), end=True)
        assert checks.HEALTH_DESCRIBED in await call.message(), path
        assert await call.collect() == ([], checks.OK), path


async def a_long_stream_arrives_whole_and_in_order(client):
    await client.probe()
    message = checks.ask("count", 3000, b"x" * 500)
    messages, status = await client.unary(checks.PROBE + "Stream", message).collect()
    assert (len(messages), status) == (3000, checks.OK), (len(messages), status)
    for number, answer in enumerate(messages, 1):
        assert answer.startswith(checks.number_field(1, number)), number


async def requests_and_answers_stream_at_the_same_time(client):
    await client.probe()
    call = client.call(checks.PROBE + "Chat")
    for word in (b"one", b"two", b"three"):
        call.send(checks.ask("", payload=word))
        assert (await call.message()).endswith(word)
    call.end()
    assert await call.collect() == ([], checks.OK)


async def a_panic_fails_its_call_only(client):
    await client.probe()
    idle = client.unary(checks.PROBE + "Stream", checks.ask("idle"))
    await idle.message()
    assert await client.unary(checks.PROBE + "Unary", checks.ask("panic")).collect() == ([], checks.INTERNAL)
    messages, status = await client.unary(checks.PROBE + "Stream", checks.ask("panic")).collect()
    assert (len(messages), status) == (1, checks.INTERNAL), (messages, status)
    await client.health()
    assert idle.events.empty(), "the other stream on the connection broke"


async def a_call_without_a_token_is_unauthenticated(client):
    _, status = await client.unary(checks.GET_PROFILE, b"").collect()
    if status == checks.UNIMPLEMENTED:
        raise checks.Skip("no CallService")
    assert status == checks.UNAUTHENTICATED, status


async def a_call_with_the_token_is_answered(client):
    metadata = client.authorization()
    messages, status = await client.unary(checks.GET_PROFILE, b"", metadata=metadata).collect()
    assert (len(messages), status) == (1, checks.OK), (messages, status)


async def a_session_stream_begins_with_its_first_event(client):
    request = checks.text_field(1, "interop-aioquic")
    events = client.unary(checks.SUBSCRIBE, request, metadata=client.authorization())
    assert await events.message()
    events.cancel()


async def a_call_that_is_cancelled_is_dropped_by_the_server(client):
    before = checks.streams_at_rest(client.given.metrics)
    request = checks.text_field(1, "interop-aioquic-cancelled")
    events = client.unary(checks.SUBSCRIBE, request, metadata=client.authorization())
    await events.message()
    assert checks.streams(client.given.metrics) == before + 1
    events.cancel()
    async with asyncio.timeout(PATIENCE):
        while checks.streams(client.given.metrics) != before:
            await asyncio.sleep(0.05)
    await client.health()


async def a_drain_lets_the_call_in_flight_end_and_takes_no_more(client):
    with checks.ProbeServer(client.given.probe) as server:
        async with connection_to("localhost", server.port, server.ca_pem) as other:
            call = other.call(checks.PROBE + "Chat")
            call.send(checks.ask("", payload=b"before"))
            assert (await call.message()).endswith(b"before")
            assert not other.http.goaway.is_set()
            server.drain()
            await asyncio.wait_for(other.http.goaway.wait(), PATIENCE)
            call.send(checks.ask("", payload=b"after"))
            assert (await call.message()).endswith(b"after")
            # One more may cross GOAWAY: it is answered, with a no.
            assert await other.unary(checks.HEALTH_CHECK, b"").collect() == ([], checks.UNAVAILABLE)
            call.end()
            assert await call.collect() == ([], checks.OK)
        assert await asyncio.to_thread(server.process.wait, checks.STOP_SECONDS) == 0


CHECKS = [
    a_unary_call_is_answered,
    an_unknown_service_is_not_found,
    an_unknown_method_is_unimplemented,
    a_stream_begins_at_once_and_can_be_cancelled,
    an_idle_stream_ends_at_its_deadline,
    a_call_whose_message_never_comes_ends_at_its_deadline,
    an_oversized_message_fails_its_call_only,
    a_message_in_many_small_frames_is_taken,
    an_empty_frame_between_others_is_ignored,
    a_malformed_message_fails_its_call_only,
    many_calls_at_once_are_answered,
    grpc_web_works_over_http3,
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
