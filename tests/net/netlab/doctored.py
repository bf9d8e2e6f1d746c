"""Deliberate leaks: what a story really left behind, with one address or identifier put in. The oracle must find each.

Nothing of the product is changed: copies of the real files are. A leak that is not found fails the run.
"""

import base64
import copy
import ipaddress
import shutil
import sqlite3
import struct
from dataclasses import dataclass
from pathlib import Path

from . import capture
from .capture import MAGIC_COOKIE, SLL2_HEADER
from .oracle import SERVER, capture_identifiers, sdp_identifiers, xor
from .world import judge

XOR_MAPPED_ADDRESS, MAPPED_ADDRESS, USERNAME = 0x0020, 0x0001, 0x0006


@dataclass
class Leak:
    """A doctored part of what a story left behind."""

    name: str
    # What must be found.
    value: str
    places: list
    sdp: list
    files: dict


class Doctor:
    def __init__(self, world):
        self.world, self.homes = world, world.homes
        self.directory = world.directory / "doctored"
        self.directory.mkdir()
        a = self.homes["a"]
        self.public, self.private, self.six = a.public[0], a.private(), a.six()
        self.version = 6 if world.server.family == 6 else 4
        self.made = 0

    def copy(self, path):
        self.made += 1
        directory = self.directory / str(self.made)
        directory.mkdir()
        return Path(shutil.copy(path, directory / path.name))

    def place(self, name, owner, part, value, change):
        """Changes the first place of `owner` whose file name contains `part`."""
        found = next(((o, p, path) for o, p, path in self.world.places if o == owner and part in path.name), None)
        assert found, f"no place {part} of {owner}: the story left nothing to put a leak in"
        path = self.copy(found[2])
        change(path)
        return Leak(name, value, [(owner, found[1], path)], [], {})

    def written(self, name, owner, part, value, text):
        def change(path):
            data = path.read_bytes()
            middle = len(data) // 2
            path.write_bytes(data[:middle] + b" " + text + b" " + data[middle:])

        return self.place(name, owner, part, value, change)

    def packet(self, name, namespace, value, template, change, times=1):
        """Adds to a namespace's capture a packet like the first that `template` likes, with another payload."""
        source = self.world.files[namespace]
        likes = [packet for packet in capture.packets(source) if template(packet)]
        assert likes, f"{name}: no packet of this kind was captured at {namespace}"
        path = self.copy(source)
        with path.open("ab") as file:
            for at in range(times):
                like = likes[at % len(likes)]
                file.write(record(source.read_bytes(), like, *change(like)))
        others = {one: other for one, other in self.world.files.items() if one == "home.a"}
        return Leak(name, value, [], [], {**others, namespace: path})

    def description(self, name, value, line):
        """Adds a line to a description that Bob was given."""
        sdp = [copy.deepcopy(one) for one in self.world.sdp if one[0] in "ab"]
        at, (owner, descriptions, path) = next((at, one) for at, one in enumerate(sdp) if one[0] == "b")
        remote = next(one for one in descriptions if one["side"] == "remote" and "m=audio" in one["sdp"])
        remote["sdp"] = remote["sdp"].rstrip() + "\r\n" + line + "\r\n"
        sdp[at] = (owner, descriptions, self.copy(path))
        return Leak(name, value, [], sdp, {})


def record(data, packet, payload, source=None, destination=None):
    """A capture record like that of `packet`, with another payload and, if given, other IP addresses."""
    udp = packet.offset - 8
    header = udp - (40 if packet.source.version == 6 else 20)
    begin = header - SLL2_HEADER - 16
    ip = bytearray(data[header:udp])
    if packet.source.version == 6:
        struct.pack_into(">H", ip, 4, 8 + len(payload))
        sides = (8, 24)
    else:
        struct.pack_into(">H", ip, 2, 28 + len(payload))
        sides = (12, 16)
    for at, address in zip(sides, (source, destination), strict=True):
        if address:
            packed = ipaddress.ip_address(address).packed
            ip[at : at + len(packed)] = packed
    frame = data[begin + 16 : header] + bytes(ip) + data[udp : udp + 4] + struct.pack(">HH", 8 + len(payload), 0) + payload
    return data[begin : begin + 8] + struct.pack("<II", len(frame), len(frame)) + frame


def attribute(kind, value):
    return struct.pack(">HH", kind, len(value)) + value + bytes(-len(value) % 4)


def stun_with(packet, kind, value):
    message = bytearray(packet.payload + attribute(kind, value))
    struct.pack_into(">H", message, 2, len(message) - 20)
    return bytes(message)


def mapped(address, transaction=None):
    """The value of a MAPPED-ADDRESS, or of an XOR-MAPPED-ADDRESS in the message with this transaction id."""
    address = ipaddress.ip_address(address)
    packed, port = address.packed, 50001
    if transaction is not None:
        packed, port = xor(packed, MAGIC_COOKIE + transaction), port ^ 0x2112
    return struct.pack(">BBH", 0, 1 if address.version == 4 else 2, port) + packed


def stun_answer(packet):
    return not packet.outgoing and capture.is_stun(packet.payload) and packet.payload[:2] == b"\1\1"


def rtp_in(packet):
    return packet.protocol == capture.UDP and not packet.outgoing and capture.is_rtp(packet.payload)


def media(packet):
    return packet.protocol == capture.UDP and capture.is_rtp(packet.payload)


def into_database(value):
    def change(path):
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE seen (at INTEGER, what)")
            database.execute("INSERT INTO seen VALUES (1, ?)", [value])
        database.close()

    return change


def sdk_leaks(doctor):
    public, private, six = doctor.public, doctor.private, doctor.six
    four, sixteen = ipaddress.ip_address(public).packed, ipaddress.ip_address(six).packed
    long_six = ipaddress.ip_address(six).exploded
    odd_six = "2001:db8:0061:0:0::2".replace("0061", f"{doctor.homes['a'].number:0>4}")
    host = doctor.homes["b"].client
    event = ("b", "watch-b.messages")
    yield doctor.written("an address in an event", *event, public, public.encode())
    yield doctor.written("an address and port in an event", *event, private, f"[{private}:50001]".encode())
    yield doctor.written("IPv6, long and in capitals", *event, six, long_six.upper().encode())
    yield doctor.written("IPv6, spelled oddly", *event, six, odd_six.encode())
    yield doctor.written("IPv4 as mapped IPv6", *event, public, f"::ffff:{public}".encode())
    yield doctor.written("an address as bytes in an event", *event, public, b"\x0a\x04" + four)
    yield doctor.written("IPv6 as bytes in an event", *event, six, sixteen)
    yield doctor.written("an address in base64", *event, public, base64.b64encode(b"\0\1\xc3\x51" + four))
    yield doctor.written("an address in hex", *event, public, four.hex().upper().encode())
    yield doctor.written("what the SDK's device received", "b", "call1.messages", six, b"\x12\x10" + sixteen)
    yield doctor.written("what duocast call printed", "b", "call1.json", private, private.encode())
    yield doctor.written("a log line", SERVER, "log.txt", public, f"leg connected from {public}:50001\n".encode())
    yield doctor.written("a log line of IPv6", SERVER, "log.txt", six, f"peer=[{six}]:50001\n".encode())
    yield doctor.written("a reverse name in the log", SERVER, "log.txt", public, ipaddress.ip_address(public).reverse_pointer.encode())
    yield doctor.written("a label of a metric", SERVER, "metrics.txt", public, f'legs{{peer="{public}"}} 1\n'.encode())
    yield doctor.written("what duocast ctl shows", SERVER, "ctl-calls-alice", private, private.encode())
    yield doctor.place("a text in the database", SERVER, "duocast.db", public, into_database(public))
    yield doctor.place("bytes in the database", SERVER, "duocast.db", six, into_database(sixteen))
    yield doctor.written("bytes in the write-ahead log", SERVER, "duocast.db-wal", public, four)

    def stun(name, address, masked):
        kind = XOR_MAPPED_ADDRESS if masked else MAPPED_ADDRESS

        def change(packet):
            return (stun_with(packet, kind, mapped(address, packet.payload[8:20] if masked else None)),)

        return doctor.packet(name, host, address, stun_answer, change)

    yield stun("an XOR-mapped address in STUN", public, True)
    yield stun("an XOR-mapped IPv6 address in STUN", six, True)
    yield stun("a plain mapped address in STUN", private, False)

    def in_extension(packet):
        return (b"\x90" + packet.payload[1:12] + b"\xbe\xde\0\2\x13" + four + b"\0\0\0tail",)

    yield doctor.packet("an address in an RTP header extension", host, public, rtp_in, in_extension)
    yield doctor.packet("an address in a datagram", host, private, media, lambda _: (b"\x00hello " + private.encode(),))
    yield doctor.packet(
        "an address in what looks like ciphertext, again and again", host, public, rtp_in, lambda p: (p.payload[:40] + four + p.payload[44:],), 3
    )
    bob = doctor.homes["b"]
    here, there = (public, bob.public[0]) if doctor.version == 4 else (six, bob.six())
    yield doctor.packet("a packet from the other party", host, here, rtp_in, lambda p: (p.payload, here))
    yield doctor.packet("a packet between the parties", "inet", there, media, lambda p: (p.payload, here, there))

    def first(kind):
        values = sorted(capture_identifiers(doctor.world.files["home.a"])[kind, True])
        assert values, f"no {kind} of alice's was captured: the oracle looks for nothing"
        return values[0]

    ssrc, ufrag = first("ssrc"), first("ufrag")
    yield doctor.packet("a shared SSRC", host, ssrc, rtp_in, lambda p: (p.payload[:8] + struct.pack(">I", int(ssrc)) + p.payload[12:],))

    for name, username in (("the other party's ufrag in STUN", f"xxxx:{ufrag}"), ("a shared ufrag", f"{ufrag}:xxxx")):
        yield doctor.packet(name, host, ufrag, stun_answer, lambda p, username=username: (stun_request(p, username),))

    certificates = [p for p in capture.packets(doctor.world.files["home.a"]) if p.outgoing and capture.dtls_certificates(p.payload)]
    assert certificates, "no certificate of alice's was captured: the oracle looks for nothing"
    shared = capture.dtls_certificates(certificates[0].payload)[0]
    yield doctor.packet("a shared certificate", host, shared, stun_answer, lambda _: (certificates[0].payload,))


def stun_request(packet, username):
    name = attribute(USERNAME, username.encode())
    return b"\0\1" + struct.pack(">H", len(name)) + packet.payload[4:20] + name


def chromium_leaks(doctor):
    public, private, six = doctor.public, doctor.private, doctor.six
    made = [one["sdp"] for owner, descriptions, _ in doctor.world.sdp if owner == "a" for one in descriptions if one["side"] == "local"]
    identifiers = {}
    for sdp in made:
        for kind, values in sdp_identifiers(sdp).items():
            identifiers.setdefault(kind, sorted(values)[0])
    for kind in ("ufrag", "pwd", "fingerprint", "ssrc", "cname", "msid", "session"):
        assert kind in identifiers, f"alice's descriptions have no {kind}: the oracle looks for nothing"
    yield doctor.description("a candidate passed on", private, f"a=candidate:1 1 udp 2122260223 {private} 50001 typ host")
    yield doctor.description("a candidate of IPv6", six, f"a=candidate:1 1 udp 2122260223 {six} 50001 typ host")
    yield doctor.description("a raddr", private, f"a=candidate:1 1 udp 1686052607 192.0.2.30 40000 typ srflx raddr {private} rport 50001")
    yield doctor.description("a connection line", public, f"c=IN IP4 {public}")
    yield doctor.description("a shared CNAME", identifiers["cname"], f"a=ssrc:1 cname:{identifiers['cname']}")
    yield doctor.description("a shared stream id", identifiers["msid"], f"a=msid:{identifiers['msid']} x")
    yield doctor.description("a shared SSRC", identifiers["ssrc"], f"a=ssrc:{identifiers['ssrc']} cname:x")
    yield doctor.description("a shared certificate", identifiers["fingerprint"], f"a=fingerprint:sha-256 {identifiers['fingerprint'].lower()}")
    yield doctor.description("a shared ufrag", identifiers["ufrag"], f"a=ice-ufrag:{identifiers['ufrag']}")
    yield doctor.description("a shared password", identifiers["pwd"], f"a=ice-pwd:{identifiers['pwd']}")
    yield doctor.description("a shared session id", identifiers["session"], f"o=- {identifiers['session']} 2 IN IP4 0.0.0.0")
    page = ("b", "page.messages")
    yield doctor.written("an address in what the page received", *page, public, public.encode())
    leak = doctor.written("a shared CNAME in what the page received", *page, identifiers["cname"], identifiers["cname"].encode())
    leak.sdp = [one for one in doctor.world.sdp if one[0] == "a"]
    yield leak


def check(world, kind):
    """Puts leaks into what the last story left behind; which of them were found."""
    doctor = Doctor(world)
    results = []
    for leak in (sdk_leaks if kind == "sdk" else chromium_leaks)(doctor):
        oracle = judge(world.homes, doctor.directory, leak.places, leak.sdp, leak.files)
        hits = [one for one in oracle.findings if one.what.lower() == leak.value.lower()]
        strange = [one.line() for one in oracle.findings if one not in hits]
        results.append({"leak": leak.name, "network": f"{world.where} {kind}", "caught": bool(hits), "as": hits[0].line() if hits else "", "also": strange})
    shutil.rmtree(doctor.directory)
    missed = [one["leak"] for one in results if not one["caught"]]
    print(f"    {len(results) - len(missed)} of {len(results)} deliberate leaks caught", *(f"\n    NOT CAUGHT: {name}" for name in missed), flush=True)
    return results
