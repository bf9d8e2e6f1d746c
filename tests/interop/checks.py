"""Runs checks and counts them; the messages of the services that are called, encoded by hand."""

import argparse
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request
from pathlib import Path

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
HEALTH_WATCH = "/grpc.health.v1.Health/Watch"
HEALTH_SERVICE = "grpc.health.v1.Health"
# Both versions have the same messages.
REFLECTIONS = (
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
)
PROBE = "/duocast.test.Probe/"
GET_PROFILE = "/duocast.v1.CallService/GetProfile"
SUBSCRIBE = "/duocast.v1.CallService/Subscribe"

OK = 0
CANCELLED = 1
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
RESOURCE_EXHAUSTED = 8
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
UNAUTHENTICATED = 16

# Larger than any message that a server takes.
OVERSIZED_BYTES = 8 * 1024 * 1024
# A probe that drains waits 5 s for the calls in flight.
STOP_SECONDS = 20


class Skip(Exception):
    """The server has not what this check needs."""


def arguments(description):
    """The command line that every client has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--target", required=True, help="host:port")
    parser.add_argument("--ca", required=True, help="PEM file with the certificate to trust")
    parser.add_argument("--token", help="bearer token of an account, for the calls of the API itself")
    parser.add_argument("--metrics", help="URL of the server's metrics, to see there what it still holds")
    parser.add_argument("--probe", help="the probe example: started once more for the checks that stop a server")
    given = parser.parse_args()
    with open(given.ca, "rb") as file:
        given.ca_pem = file.read()
    given.host, _, port = given.target.rpartition(":")
    given.host = given.host.strip("[]")
    given.port = int(port)
    return given


class ProbeServer:
    """The probe example, on ports of its own."""

    def __init__(self, binary):
        if not binary:
            raise Skip("no --probe given")
        self.directory = tempfile.TemporaryDirectory()
        command = [binary, self.directory.name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        given = dict(word.split("=", 1) for word in self.process.stdout.readline().split())
        self.port, self.target = int(given["port"]), f"localhost:{given['port']}"
        self.ca_pem = Path(given["ca"]).read_bytes()

    def drain(self):
        """It ends when its standard input does."""
        self.process.stdin.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.directory.cleanup()


def streams(metrics):
    """How many streams of devices the server holds."""
    if not metrics:
        raise Skip("no --metrics given")
    with urllib.request.urlopen(metrics, timeout=STOP_SECONDS) as answer:
        lines = answer.read().decode().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("duocast_control_streams "))


def streams_at_rest(metrics, rest_seconds=0.5):
    """The same, once it stays what it is: one that the last story cancelled is held for a moment more."""
    count, since, began = streams(metrics), time.monotonic(), time.monotonic()
    while time.monotonic() - since < rest_seconds:
        assert time.monotonic() - began < STOP_SECONDS, "streams of devices come and go"
        time.sleep(0.05)
        now = streams(metrics)
        if now != count:
            count, since = now, time.monotonic()
    return count


class Tally:
    """Counts what passed, failed and was skipped."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def record(self, name, error=None):
        name = name.replace("_", " ")
        if error is None:
            self.passed += 1
            print(f"ok    {name}")
        elif isinstance(error, Skip):
            self.skipped += 1
            print(f"skip  {name}: {error}")
        else:
            self.failed += 1
            print(f"FAIL  {name}")
            traceback.print_exception(error)

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        sys.exit(1 if self.failed else 0)


def text_field(number, text):
    """A protobuf string or bytes field."""
    data = text.encode() if isinstance(text, str) else text
    return varint(number << 3 | 2) + varint(len(data)) + data


def number_field(number, value):
    """A protobuf varint field."""
    return varint(number << 3) + varint(value)


def varint(value):
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def health_request(service=""):
    return text_field(1, service) if service else b""


def reflection_lists():
    """ServerReflectionRequest: the services that there are."""
    return text_field(7, "*")


def reflection_of(symbol):
    """ServerReflectionRequest: the file with this symbol."""
    return text_field(4, symbol)


# In the answers to them: a ServiceResponse with this name, and a FileDescriptorProto of this package.
HEALTH_LISTED = text_field(1, HEALTH_SERVICE)
HEALTH_DESCRIBED = text_field(2, "grpc.health.v1")


def ask(command, number=0, payload=b""):
    """duocast.test.Ask."""
    message = text_field(1, command)
    if number:
        message += number_field(2, number)
    if payload:
        message += text_field(3, payload)
    return message


# HealthCheckResponse { status: SERVING }.
SERVING = number_field(1, 1)


class Stopwatch:
    """How long something took, in seconds."""

    def __enter__(self):
        self.began = time.monotonic()
        return self

    def so_far(self):
        return time.monotonic() - self.began

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.began
