"""tcpdump in every namespace, and a reader for what it wrote."""

import hashlib
import ipaddress
import signal
import struct
import subprocess
import time
from dataclasses import dataclass

from .cage import until
from .lab import inside

SLL2 = 276
SLL2_HEADER = 20
MAGIC_COOKIE = bytes.fromhex("2112a442")
# The kernel hands packets over in blocks, at the latest after a second.
HANDOVER_SECONDS = 1.1
UDP, TCP, FRAGMENT = 17, 6, 44
EXTENSION_HEADERS = {0, 43, 60}


class Captures:
    """Whole packets of every interface of every namespace, one file for each."""

    def __init__(self, namespaces, directory):
        directory.mkdir(parents=True, exist_ok=True)
        self.running = {}
        for namespace in namespaces:
            path, log = directory / f"{namespace}.pcap", directory / f"{namespace}.tcpdump.log"
            command = ["tcpdump", "-i", "any", "-y", "LINUX_SLL2", "-U", "-s", "0", "-B", "32768", "-Z", "root"]
            with log.open("wb") as errors:
                process = subprocess.Popen(inside(namespace, *command, "-w", path), stdin=subprocess.DEVNULL, stderr=errors)
            self.running[namespace] = (process, path, log)
        for namespace, (process, _, log) in self.running.items():
            until(f"tcpdump listens in {namespace}", lambda: "listening" in log.read_text() or process.poll() is not None, 10)

    def stop(self):
        """Ends them; gives the files. Fails if one of them missed packets: then nothing was proved."""
        time.sleep(HANDOVER_SECONDS)
        for process, _, _ in self.running.values():
            process.send_signal(signal.SIGINT)
        files = {}
        for namespace, (process, path, log) in self.running.items():
            process.wait(10)
            text = log.read_text()
            dropped = [line for line in text.splitlines() if "dropped by kernel" in line]
            if not dropped or not dropped[0].startswith("0 "):
                raise AssertionError(f"the capture in {namespace} is not whole: {text.strip()}")
            files[namespace] = path
        self.running = {}
        return files

    def kill(self):
        for process, _, _ in self.running.values():
            process.kill()
            process.wait()


@dataclass
class Packet:
    """One IP packet of a capture."""

    number: int
    time: float
    outgoing: bool
    source: object
    destination: object
    protocol: int
    source_port: int
    destination_port: int
    # What UDP or TCP carries; for other protocols all after the IP header.
    payload: bytes
    # Where `payload` begins in the file.
    offset: int


def packets(path):
    """Every IP packet of a capture file."""
    data = path.read_bytes()
    magic, *_, linktype = struct.unpack_from("<IHHiIII", data)
    if magic != 0xA1B2C3D4 or linktype & 0xFFFF != SLL2:
        raise ValueError(f"{path}: not a little-endian pcap file of LINUX_SLL2")
    at, number = 24, 0
    while at + 16 <= len(data):
        seconds, micros, length, original = struct.unpack_from("<IIII", data, at)
        frame = at + 16
        at, number = frame + length, number + 1
        if length != original:
            raise ValueError(f"{path}: packet {number} was cut off")
        ethertype, kind = struct.unpack_from(">H", data, frame)[0], data[frame + 10]
        decoded = decode(data, frame + SLL2_HEADER, frame + length, ethertype)
        if decoded:
            yield Packet(number, seconds + micros / 1e6, kind == 4, *decoded)


def decode(data, at, end, ethertype):
    if ethertype == 0x0800:
        header = (data[at] & 15) * 4
        end = min(end, at + struct.unpack_from(">H", data, at + 2)[0])
        first = struct.unpack_from(">H", data, at + 6)[0] & 0x1FFF == 0
        protocol = data[at + 9]
        source, destination = ipaddress.IPv4Address(data[at + 12 : at + 16]), ipaddress.IPv4Address(data[at + 16 : at + 20])
        at += header
    elif ethertype == 0x86DD:
        end = min(end, at + 40 + struct.unpack_from(">H", data, at + 4)[0])
        protocol, first = data[at + 6], True
        source, destination = ipaddress.IPv6Address(data[at + 8 : at + 24]), ipaddress.IPv6Address(data[at + 24 : at + 40])
        at += 40
        while protocol in EXTENSION_HEADERS or protocol == FRAGMENT:
            if protocol == FRAGMENT:
                first = struct.unpack_from(">H", data, at + 2)[0] >> 3 == 0
                protocol, at = data[at], at + 8
            else:
                protocol, at = data[at], at + 8 + data[at + 1] * 8
    else:
        return None
    ports = struct.unpack_from(">HH", data, at) if first and protocol in (UDP, TCP) and at + 4 <= end else (0, 0)
    if first and protocol == UDP:
        at += 8
    elif first and protocol == TCP:
        at += (data[at + 12] >> 4) * 4
    return source, destination, protocol, *ports, data[at:end], at


def is_stun(payload):
    return len(payload) >= 20 and payload[0] < 4 and payload[4:8] == MAGIC_COOKIE


def is_rtp(payload):
    """RTP, and not RTCP (RFC 5761)."""
    return len(payload) >= 12 and 128 <= payload[0] < 192 and not 192 <= payload[1] < 224


def is_dtls(payload):
    return len(payload) >= 13 and (20 <= payload[0] <= 25 or 32 <= payload[0] < 64)


def clear_part(packet):
    """How much at the payload's beginning is readable to anybody on the way; the rest is ciphertext."""
    payload = packet.payload
    if packet.protocol == TCP:
        # TLS: the type and length of a record. A ClientHello holds only what the client chose.
        return 5 if payload[:1] in (b"\x14", b"\x15", b"\x16", b"\x17") else 0
    if packet.protocol != UDP or is_stun(payload):
        return len(payload)
    if is_rtp(payload):
        header = 12 + 4 * (payload[0] & 15)
        if payload[0] & 16 and len(payload) >= header + 4:
            header += 4 + 4 * struct.unpack_from(">H", payload, header + 2)[0]
        return min(header, len(payload))
    if len(payload) >= 8 and 128 <= payload[0] < 192 and 192 <= payload[1] < 224:
        return 8
    if is_dtls(payload):
        return len(payload) if payload[0] == 22 and payload[3:5] == b"\0\0" else 13
    if payload[:1] and payload[0] & 0x40:
        # QUIC: a short header is one byte and the connection id; a long one ends after the ids at the latest.
        return 47 if payload[0] & 0x80 else 9
    return len(payload)


def stun_usernames(payload):
    """The USERNAME of a STUN message: the receiver's and the sender's ufrag."""
    at = 20
    while at + 4 <= len(payload):
        kind, length = struct.unpack_from(">HH", payload, at)
        if kind == 6:
            return payload[at + 4 : at + 4 + length].decode("latin1").split(":")
        at += 4 + (length + 3) // 4 * 4
    return []


def dtls_certificates(payload):
    """SHA-256 of each certificate in clear DTLS 1.2 handshake records that hold a whole Certificate message."""
    at, found = 0, []
    while at + 25 <= len(payload) and payload[at] == 22:
        length = struct.unpack_from(">H", payload, at + 11)[0]
        body = payload[at + 13 : at + 13 + length]
        at += 13 + length
        if len(body) < 18 or body[0] != 11 or body[1:4] != body[9:12] or body[6:9] != b"\0\0\0":
            continue
        size = int.from_bytes(body[15:18], "big")
        found.append(hashlib.sha256(body[18 : 18 + size]).hexdigest())
    return found
