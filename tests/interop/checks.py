"""Runs checks and counts them; the messages of the services that are called, encoded by hand."""

import argparse
import sys
import time
import traceback

HEALTH_CHECK = "/grpc.health.v1.Health/Check"
HEALTH_WATCH = "/grpc.health.v1.Health/Watch"
PROBE = "/duocast.test.Probe/"
GET_PROFILE = "/duocast.v1.CallService/GetProfile"
SUBSCRIBE = "/duocast.v1.CallService/Subscribe"

OK = 0
CANCELLED = 1
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
RESOURCE_EXHAUSTED = 8
OUT_OF_RANGE = 11
UNIMPLEMENTED = 12
INTERNAL = 13
UNAUTHENTICATED = 16

# Larger than any message that a server takes.
OVERSIZED_BYTES = 8 * 1024 * 1024


class Skip(Exception):
    """The server has not what this check needs."""


def arguments(description):
    """The command line that every client has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--target", required=True, help="host:port")
    parser.add_argument("--ca", required=True, help="PEM file with the certificate to trust")
    parser.add_argument("--token", help="bearer token of an account, for the calls of the API itself")
    given = parser.parse_args()
    with open(given.ca, "rb") as file:
        given.ca_pem = file.read()
    given.host, _, port = given.target.rpartition(":")
    given.host = given.host.strip("[]")
    given.port = int(port)
    return given


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

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.began
