"""Who learned which address, and what else ties the two ends of a call together.

A place is something that one home received, or that the server keeps or shows. It is searched for every address of every
other home (of all homes, if it is the server's), in each form that a program would write one in, and for identifiers that
another home made. What may be there is exactly: a home's own addresses and identifiers, in its own places. README.md says
how to read a finding.
"""

import base64
import bisect
import ipaddress
import re
import urllib.parse
from collections import defaultdict
from dataclasses import asdict, dataclass

from . import capture
from .capture import MAGIC_COOKIE
from .lab import SERVER4, SERVER6

SERVER = "server"
# Four given bytes turn up in ciphertext by chance, once in 4 GB for each form. A leak comes again; chance does not.
CHANCE_HITS_MAX = 2
# Shorter values are compared where they stand in a description, not searched for in everything.
SEARCHED_VALUE_MIN = 8


@dataclass
class Finding:
    """One address or identifier in a place where it must not be."""

    whose: str
    what: str
    form: str
    place: str
    file: str
    offset: int
    packet: int = 0

    def line(self):
        packet = f" packet {self.packet}" if self.packet else ""
        return f"{self.what} ({self.whose}) as {self.form} in {self.place}: {self.file} byte {self.offset}{packet}"

    def data(self):
        return asdict(self)


def text_forms(address):
    """How an address is written by people and programs, in lower case."""
    forms = {"text": str(address), "reverse name": address.reverse_pointer}
    forms["hex"] = address.packed.hex()
    forms["percent-encoded"] = urllib.parse.quote(str(address), safe=".")
    forms["text with dashes"] = str(address).replace(".", "-").replace(":", "-")
    if address.version == 6:
        forms["text, long"] = address.exploded
        forms["text, not shortened"] = ":".join(f"{int(part, 16):x}" for part in address.exploded.split(":"))
        forms["text, v4 tail"] = ":".join(forms["text, not shortened"].split(":")[:6]) + f":{ipaddress.IPv4Address(address.packed[12:])}"
    else:
        forms["text, mapped"] = f"::ffff:{address.packed[:2].hex()}:{address.packed[2:].hex()}"
        forms["colon hex"] = address.packed.hex(":")
    seen = {}
    for form, text in forms.items():
        if text not in seen.values():
            seen[form] = text
    return {form: text.lower().encode() for form, text in seen.items()}


def binary_forms(address):
    packed = address.packed
    forms = {"binary": packed}
    if address.version == 4:
        forms["binary, reversed"] = packed[::-1]
        forms["XOR-mapped"] = xor(packed, MAGIC_COOKIE)
    return forms


def xor(one, other):
    return bytes(a ^ b for a, b in zip(one, other, strict=False))


def occurrences(needle, hay):
    at = hay.find(needle)
    while at >= 0:
        yield at
        at = hay.find(needle, at + 1)


def stands_alone(hay, at, length):
    """False inside a longer number: 10.61.0.2 is not in 10.61.0.23, nor in 110.61.0.2."""
    before, after = hay[at - 1 : at], hay[at + length : at + length + 1]
    if before.isdigit() and hay[at : at + 1].isdigit():
        return False
    if after in b"abcdef0123456789" and after:
        return False
    return not (after == b"." and hay[at + length + 1 : at + length + 2].isdigit())


@dataclass
class Window:
    """A time in which two homes may know of each other, because their people said yes.

    Only public addresses cross then (IPv6 ones of a host are public): never private ones. A `guess` is what a home does by
    itself: it sends to the other's address without having been told. Then its own packets are no leak, and neither that the other's
    NAT sees and drops them; whatever passes that NAT is one.
    """

    one: str
    other: str
    since: float
    until: float = float("inf")
    guess: bool = False


class Search:
    """Looks for the addresses of some homes in bytes."""

    def __init__(self, addresses):
        # [(address, whose)]
        self.addresses = addresses
        self.text = [(a, whose, form, needle) for a, whose in addresses for form, needle in text_forms(a).items()]
        self.binary = [(a, whose, form, needle) for a, whose in addresses for form, needle in binary_forms(a).items()]
        self.six = [(a, whose) for a, whose in addresses if a.version == 6]

    def in_text(self, hay):
        """(address, whose, form, offset) of each written address."""
        lower = hay.lower()
        for address, whose, form, needle in self.text:
            for at in occurrences(needle, lower):
                if form == "hex" or stands_alone(lower, at, len(needle)):
                    yield address, whose, form, at

    def in_spelled(self, hay):
        """IPv6 addresses in any spelling; only for text, for it takes time."""
        for token in re.finditer(rb"[0-9a-fA-F:]*:[0-9a-fA-F:]*:[0-9a-fA-F:.]*", hay):
            try:
                found = ipaddress.IPv6Address(token[0].decode().rstrip("."))
            except ValueError:
                continue
            mapped = found.ipv4_mapped
            for address, whose in self.addresses:
                if address in (found, mapped):
                    yield address, whose, "text, spelled its own way", token.start()

    def in_encoded(self, hay):
        """Binary forms inside base64."""
        for token in re.finditer(rb"[A-Za-z0-9+/_-]{6,}={0,2}", hay):
            text = token[0].rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
            text = text[: len(text) - (len(text) % 4 == 1)]
            decoded = base64.b64decode(text + b"=" * (-len(text) % 4))
            for address, whose, form, _ in self.in_binary(decoded):
                yield address, whose, f"base64 of {form}", token.start()
            for address, whose, form, _ in self.in_text(decoded):
                yield address, whose, f"base64 of {form}", token.start()

    def in_binary(self, hay):
        for address, whose, form, needle in self.binary:
            for at in occurrences(needle, hay):
                yield address, whose, form, at
        yield from self.in_stun(hay)

    def in_stun(self, hay):
        """IPv6 is masked with each message's own transaction id (RFC 8489 section 14.2)."""
        if not self.six:
            return
        for cookie in occurrences(MAGIC_COOKIE, hay):
            mask = hay[cookie : cookie + 16]
            message = hay[cookie : cookie + 1500]
            if len(mask) < 16:
                continue
            for address, whose in self.six:
                for at in occurrences(xor(address.packed, mask), message):
                    yield address, whose, "XOR-mapped", cookie + at


class Oracle:
    """Searches the places of one story."""

    def __init__(self, homes, directory, windows=()):
        self.homes = homes
        self.directory = directory
        self.windows = windows
        # Packets between homes that may be, by pair of homes, in order.
        self.direct = []
        self.crossed = 0
        self.findings = []
        self.searched = defaultdict(int)
        self.chance = 0.0
        self.identifiers = []

    def others(self, owner):
        return [(address, what) for name, home in self.homes.items() if name != owner for address, what in home.addresses.items()]

    def name(self, path):
        return str(path.relative_to(self.directory)) if path.is_relative_to(self.directory) else str(path)

    def report(self, whose, what, form, place, path, offset, packet=0):
        self.findings.append(Finding(whose, str(what), form, place, self.name(path), offset, packet))

    def whose(self, address):
        return next((name for name, home in self.homes.items() if address in home.addresses), None)

    def may_know(self, owner, address, at=None):
        """True if a direct leg told `owner` this address; `at`: then."""
        other = self.whose(address)
        if other is None or not self.homes[other].is_public(address):
            return False
        pairs = (w for w in self.windows if not w.guess and {w.one, w.other} == {owner, other})
        return any(at is None or w.since <= at <= w.until for w in pairs)

    def guessed(self, owner, namespace, packet):
        """True for a packet that its sender's home sent to an address that nobody told it."""
        source, destination = self.whose(packet.source), self.whose(packet.destination)
        here = {f"home.{source}", f"nat.{source}", f"nat.{destination}", "inet"}
        return namespace in here and any(
            w.guess and (w.one, w.other) == (source, destination) and w.since <= packet.time <= w.until for w in self.windows
        )

    def bytes_at(self, owner, place, path):
        """A file that `owner` received, or that the server keeps: searched in every form."""
        hay = path.read_bytes()
        self.searched[place] += len(hay)
        search = Search(self.others(owner))
        hits = {}
        for found in (search.in_text(hay), search.in_binary(hay), search.in_spelled(hay), search.in_encoded(hay)):
            for address, whose, form, at in found:
                # One spelling is one finding, whichever way it was found.
                hits.setdefault((address, at), (whose, form))
        for (address, at), (whose, form) in hits.items():
            if self.may_know(owner, address):
                continue
            self.report(whose, address, form, place, path, at)

    def capture_at(self, owner, path):
        """Everything that passed in a namespace of `owner`'s home."""
        place = f"packets at {path.stem}"
        others = self.others(owner)
        whose = dict(others)
        search = Search(others)
        seen = list(capture.packets(path))
        hay = bytearray()
        starts = []
        for packet in seen:
            starts.append(len(hay))
            hay += packet.payload + b"\0"
            for address, side in ((packet.source, "from"), (packet.destination, "to")):
                if address not in whose or self.may_know(owner, address, packet.time) or self.guessed(owner, path.stem, packet):
                    continue
                self.report(whose[address], address, f"packet {side} it", place, path, packet.offset, packet.number)
        hay = bytes(hay)
        self.searched[place] += len(hay)
        by_start = Positions(starts, seen)
        for address, who, form, at in search.in_text(hay):
            packet, within = by_start.find(at)
            if not self.may_know(owner, address, packet.time):
                self.report(who, address, form, place, path, packet.offset + within, packet.number)
        weak = defaultdict(list)
        for address, who, form, at in search.in_binary(hay):
            packet, within = by_start.find(at)
            # The end of one packet and the beginning of the next are no address.
            if within + len(address.packed) > len(packet.payload) or self.may_know(owner, address, packet.time):
                continue
            found = (who, address, form, place, path, packet.offset + within, packet.number)
            in_clear = within + len(address.packed) <= capture.clear_part(packet)
            if in_clear or address.version == 6:
                self.report(*found)
            else:
                weak[address, form].append(found)
        self.chance += len(hay) * sum(len(needle) == 4 for *_, needle in search.binary) / 2**32
        for hits in weak.values():
            if len(hits) > CHANCE_HITS_MAX:
                self.report(*hits[0])

    def between(self, path):
        """Packets from one home to another, where the internet sees them."""
        for packet in capture.packets(path):
            source, destination = self.whose(packet.source), self.whose(packet.destination)
            if source is None or destination is None or source == destination or packet.outgoing:
                continue
            if self.may_know(destination, packet.source, packet.time) and self.may_know(source, packet.destination, packet.time):
                self.direct.append((source, destination, packet.time))
                continue
            if self.guessed(source, "inet", packet):
                continue
            self.crossed += 1
            form = f"packet from {packet.source} to {packet.destination}"
            self.report(f"{source} and {destination}", packet.destination, form, "packets at inet", path, packet.offset, packet.number)

    def made_by(self, owner, kind, values):
        """Identifiers that `owner`'s device made up."""
        self.identifiers += [(owner, kind, value) for value in values]

    def made_twice(self, path):
        """Two homes that use one value are tied together by it."""
        makers = {}
        for maker, kind, value in self.identifiers:
            first = makers.setdefault((kind, value.lower()), maker)
            if first != maker:
                self.report(f"{first}'s and {maker}'s {kind}", value, "the same value", "what both sent", path, 0)

    def received_values(self, owner, kind, values, place, path):
        """Identifiers of one kind that reached `owner`."""
        values = {value.lower() for value in values}
        for maker, made, value in self.identifiers:
            if maker != owner and made == kind and value.lower() in values:
                self.report(f"{maker}'s {kind}", value, "the same value", place, path, 0)

    def identifiers_at(self, owner, place, path):
        """A file that reached `owner`: searched for whatever another device made up."""
        hay = path.read_bytes().lower()
        for maker, kind, value in self.identifiers:
            if maker == owner or len(value) < SEARCHED_VALUE_MIN:
                continue
            for at in occurrences(value.lower().encode(), hay):
                self.report(f"{maker}'s {kind}", value, "the same value", place, path, at)


class Positions:
    """Which packet a position in joined payloads belongs to."""

    def __init__(self, starts, seen):
        self.starts, self.seen = starts, seen

    def find(self, at):
        index = bisect.bisect_right(self.starts, at) - 1
        return self.seen[index], at - self.starts[index]


def capture_identifiers(path):
    """What a client's packets say openly: {(kind, outgoing): values}.

    What the client made is taken from packets to and from the server only: a direct leg shows the other party its identifiers by
    design, and that they are others than those on the routed leg is what this is for.
    """
    found = defaultdict(set)
    for packet in capture.packets(path):
        payload = packet.payload
        remote = str(packet.destination if packet.outgoing else packet.source)
        with_server = remote in (SERVER4, SERVER6)
        if packet.protocol != capture.UDP or (packet.outgoing and not with_server):
            continue
        if capture.is_stun(payload):
            names = capture.stun_usernames(payload)
            if len(names) == 2 and payload[:2] == b"\0\1":
                to, of = names
                found["ufrag", packet.outgoing].add(of)
                if with_server:
                    found["ufrag", not packet.outgoing].add(to)
        elif capture.is_rtp(payload):
            ssrc = int.from_bytes(payload[8:12], "big")
            # Chromium's padding before the first frame has no source: 0 for everybody.
            if ssrc:
                found["ssrc", packet.outgoing].add(str(ssrc))
        elif payload[:1] == b"\x16":
            found["certificate", packet.outgoing].update(capture.dtls_certificates(payload))
    return found


def sdp_identifiers(sdp):
    """Every value of a description that ties it to one device: {kind: values}."""
    found = defaultdict(set)
    for line in sdp.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if name == "a=ice-ufrag":
            found["ufrag"].add(value)
        elif name == "a=ice-pwd":
            found["pwd"].add(value)
        elif name == "a=fingerprint":
            found["fingerprint"].add(words[1])
        elif name == "a=ssrc-group":
            found["ssrc"].update(words[1:])
        elif name == "a=msid":
            found["msid"].update(word for word in words if word != "-")
        elif name == "a=ssrc":
            found["ssrc"].add(words[0])
            attribute, _, given = value.partition(" ")[2].partition(":")
            if attribute == "cname":
                found["cname"].add(given)
            elif attribute == "msid":
                found["msid"].update(word for word in given.split() if word != "-")
        elif name == "a=candidate" and words[4].endswith(".local"):
            found["mDNS name"].add(words[4])
        elif line.startswith("o="):
            found["session"].add(line.split()[1])
    return found
