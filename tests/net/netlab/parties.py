"""The server and the people: SDK clients, browsers, and a client of nobody's making, each inside its own home."""

import json
import math
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import wave
from pathlib import Path

from .cage import until
from .lab import SERVER4, SERVER6, inside, run

ROOT = Path(__file__).resolve().parents[3]
NET = ROOT / "tests/net"
PYTHON = ROOT / ".venv/bin/python"
API_PORT = 4433
PAGE = "http://127.0.0.1:8080"
READY_SECONDS = 30
# Half of what a person is given: a story of an unanswered call waits for it.
RING_SECONDS = 20
# A debug build on a loaded machine; a passing story never waits this long.
PATIENCE_SECONDS = 30


class Missing(Exception):
    """This build of the server does not have what a story is about."""


class Server:
    """`duocast up` in the server's namespace."""

    def __init__(self, duocast, data, family):
        self.duocast, self.data, self.family = duocast, data, family
        data.mkdir(parents=True)
        self.log = data.parent / "server.log"
        address = SERVER6 if family == 6 else SERVER4
        self.host = f"[{address}]" if family == 6 else address
        self.url = f"https://{self.host}:{API_PORT}"
        self.ca = data / "cert.pem"
        flags = ["--json", "--data-dir", data, "--http", "127.0.0.1:8080", "--announce", address]
        flags += ["--listen", f"0.0.0.0:{API_PORT}", "--listen", f"[::]:{API_PORT}"]
        # As much as a server ever logs of itself, and only warnings of the libraries that it uses.
        flags += ["--log-level", os.environ.get("NET_LOG", "warn,duocast=trace")]
        environment = os.environ | {"DUOCAST_TLS__NAMES": json.dumps([SERVER4, SERVER6]), "NO_COLOR": "1"}
        environment["DUOCAST_CALLS__RING_SECONDS"] = str(RING_SECONDS)
        with self.log.open("wb") as log:
            command = inside("srv", duocast, "up", *flags)
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment)
        ready = self.process.stdout.readline()
        if not ready:
            raise RuntimeError(f"the server did not start: {self.log.read_text()}")
        for handle in ("alice", "bob", "carol"):
            self.ctl("account", handle)
        for one, other in (("alice", "bob"), ("carol", "alice"), ("carol", "bob")):
            self.ctl("follow", one, other, "--mutual")

    def ctl(self, *arguments, check=True):
        where = ["--url", f"https://localhost:{API_PORT}", "--data-dir", self.data]
        done = subprocess.run(inside("srv", self.duocast, "ctl", *arguments, *where), capture_output=True, text=True)
        if done.returncode == 2 and "unrecognized subcommand" in done.stderr:
            raise Missing(f"duocast ctl {arguments[0]}")
        if check and done.returncode != 0:
            raise RuntimeError(f"ctl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout + done.stderr

    def token(self, handle):
        """A file with a token."""
        path = self.data.parent / f"{handle}.token"
        if not path.exists():
            done = subprocess.run([self.duocast, "ctl", "token", handle, "--data-dir", self.data], capture_output=True, text=True, check=True)
            path.write_text(done.stdout)
        return path

    def metrics(self):
        return run("srv", "curl", "-sS", f"{PAGE}/metrics")

    def metric(self, name):
        lines = [line.split() for line in self.metrics().splitlines() if line.startswith(f"{name} ") or line.startswith(f"{name}{{")]
        return sum(float(line[-1]) for line in lines)

    def stop(self):
        self.process.kill()
        self.process.wait()


class Sdk:
    """One `duocast call`."""

    def __init__(self, world, home, handle, *flags):
        self.home, self.handle = home, handle
        world.calls += 1
        # What it printed reached its user: a place.
        self.out = world.directory / f"{home.name}.{handle}.call{world.calls}.json"
        self.log = self.out.with_suffix(".log")
        server = world.server
        self.messages = messages = self.out.with_suffix(".messages")
        messages.touch()
        command = [server.duocast, "call", "--url", server.url, "--ca", server.ca, "--json", "--token", server.token(handle)]
        command += ["--received", messages]
        with self.out.open("wb") as out, self.log.open("wb") as log:
            environment = os.environ | {"RUST_LOG": "info"}
            process = inside(home.client, *command, *flags)
            listens = subprocess.PIPE if "--commands" in flags else subprocess.DEVNULL
            self.process = subprocess.Popen(process, stdin=listens, stdout=out, stderr=log, env=environment)
        world.received(home, self.out)
        world.received(home, self.log)
        world.received(home, messages)
        world.processes.append(self.process)

    def says(self, command):
        """One of its `--commands`."""
        self.process.stdin.write(f"{command}\n".encode())
        self.process.stdin.flush()

    def session(self):
        """The id of its session, which is the first that it is told."""
        return re.search(rb"[0-9a-f]{32}", self.messages.read_bytes())[0].decode()

    def stop(self):
        """ctrl-C."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def fails(self, seconds=PATIENCE_SECONDS):
        """Waits until it has given up without a call."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"{self.handle}'s duocast call did not give up in {seconds} s") from late
        assert code == 1 and not self.out.read_text().strip(), f"exit code {code}: {self.out.read_text()}"

    def result(self, seconds=PATIENCE_SECONDS):
        """What it printed in the end."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired as late:
            raise AssertionError(f"{self.handle}'s duocast call did not end in {seconds} s") from late
        text = self.out.read_text().strip()
        if not text:
            raise AssertionError(f"{self.handle}'s duocast call failed: {self.log.read_text().strip()[-500:]}")
        return json.loads(text.splitlines()[-1])


class Lines:
    """A program that takes commands and gives answers as JSON lines."""

    def __init__(self, command, log, environment=None):
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )
        self.log = log
        self.answers, self.events, self.next = {}, [], 0
        self.changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            message = json.loads(line)
            with self.changed:
                if "id" in message:
                    self.answers[message["id"]] = message
                else:
                    self.events.append(message)
                self.changed.notify_all()
        with self.changed:
            self.answers[None] = True
            self.changed.notify_all()

    def send(self, **command):
        self.next += 1
        self.process.stdin.write(json.dumps({"id": self.next, **command}) + "\n")
        self.process.stdin.flush()
        return self.next

    def ask(self, seconds=PATIENCE_SECONDS, **command):
        return self.answer(self.send(**command), command, seconds)

    def answer(self, number, command, seconds=PATIENCE_SECONDS):
        """The answer to what was sent under this number."""
        with self.changed:
            done = self.changed.wait_for(lambda: number in self.answers or None in self.answers, seconds)
        if number not in self.answers:
            why = "ended" if done else f"gave no answer in {seconds} s"
            raise AssertionError(f"{command}: the program {why}: {self.log.read_text()[-800:]}")
        return self.answers.pop(number)

    def kill(self):
        self.process.kill()
        self.process.wait()


class Foreign(Lines):
    """A client of nobody's making (foreign.py), signed in as somebody; by default it only listens."""

    def __init__(self, world, home, handle, device=None):
        self.home, self.handle = home, handle
        self.record = world.directory / f"{home.name}.{handle}.{device or 'foreign'}.messages"
        self.record.touch()
        world.received(home, self.record)
        server = world.server
        target = f"{server.host}:{API_PORT}"
        command = inside(home.client, PYTHON, NET / "foreign.py", target, server.ca, server.token(handle), self.record)
        super().__init__(command, self.record.with_suffix(".log"))
        world.processes.append(self.process)
        self.session = None
        if device:
            self.subscribe(device)

    def subscribe(self, device):
        self.send(subscribe={"deviceId": device})
        started = self.until("its session started", lambda event: event.get("sessionStarted"))
        self.session = started["sessionStarted"]["sessionId"]

    def until(self, what, look, seconds=PATIENCE_SECONDS):
        """The newest event that `look` likes."""

        def newest():
            return next((e["event"] for e in reversed(self.events) if "event" in e and look(e["event"])), None)

        with self.changed:
            if not self.changed.wait_for(newest, seconds):
                last = self.events[-1:] or "none"
                raise AssertionError(f"waited {seconds} s in vain until {self.handle} sees {what}; last event: {last}")
            return newest()

    def sees_call(self, state, seconds=PATIENCE_SECONDS, after=None):
        """The call in this state."""

        def look(event):
            call = event.get("callUpdated", {}).get("call", {})
            return call.get("state") == f"CALL_STATE_{state}" and call["callId"] != after

        return self.until(f"a call {state.lower()}", look, seconds)["callUpdated"]["call"]

    def call(self, method, **body):
        """A unary call that must work."""
        answer = self.ask(method=method, body=body)
        if answer.get("error") == "UNIMPLEMENTED":
            raise Missing(method)
        assert "ok" in answer, f"{self.handle}: {method}: {answer}"
        return answer["ok"]

    def refused(self, method, **body):
        """A unary call that must not work; gives the status."""
        answer = self.ask(method=method, body=body)
        if answer.get("error") == "UNIMPLEMENTED":
            raise Missing(method)
        assert "error" in answer, f"{self.handle}: {method} was not refused: {answer}"
        return answer["error"]


class Browser(Lines):
    """Chromium with the web client (browser.mjs), signed in as somebody."""

    def __init__(self, world, home, handle, **opens):
        self.home, self.handle = home, handle
        base = world.root / f"{home.name}-{handle}"
        executable = base.with_suffix(".chromium.sh")
        executable.write_text(f'#!/bin/sh\nexec ip netns exec {home.client} /usr/bin/chromium "$@"\n')
        executable.chmod(0o755)
        server = world.server
        environment = os.environ | {"CHROMIUM": str(executable)}
        command = ["node", str(NET / "browser.mjs"), server.url, str(server.ca), handle, server.token(handle).read_text().strip()]
        super().__init__(command, base.with_suffix(".chromium.log"), environment)
        world.browsers.append(self)
        self.does("open", seconds=60, **opens)

    def does(self, what, seconds=PATIENCE_SECONDS + 10, **more):
        return self.begins(what, seconds, **more)()

    def begins(self, what, seconds=PATIENCE_SECONDS + 10, **more):
        """The same, without waiting: what it gives waits."""
        number = self.send(do=what, **more)

        def done():
            answer = self.answer(number, what, seconds)
            assert "error" not in answer, f"{self.handle}'s browser: {what}: {answer['error']}"
            return answer.get("ok")

        return done

    def collect(self, world):
        """What the page received, and its descriptions, into files."""
        collected = self.does("collect")
        base = world.directory / f"{self.home.name}.{self.handle}.page"
        messages, descriptions = base.with_suffix(".page.messages"), base.with_suffix(".page.sdp.json")
        messages.write_bytes(b"".join(bytes.fromhex(body) + b"\n" for body in collected["received"]))
        descriptions.write_text(json.dumps(collected["descriptions"], indent=1))
        world.received(self.home, messages)
        world.described(self.home, collected["descriptions"], descriptions)

    def leave(self):
        """Hangs up whatever there is: a call whose page is just gone would hold its account for half a minute."""
        try:
            self.does("home", seconds=25)
        except AssertionError:
            pass

    def close(self):
        try:
            self.does("close", seconds=10)
        except AssertionError:
            pass
        self.kill()


def speech(path, seconds=4):
    """A WAV file with a tone that rises and falls: never silent, so that it is never left out."""
    rate = 48_000
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        frames = (int(9000 * math.sin(2 * math.pi * (220 + 60 * math.sin(at / rate * 3)) * at / rate)) for at in range(rate * seconds))
        file.writeframes(b"".join(struct.pack("<h", frame) for frame in frames))
    return path


