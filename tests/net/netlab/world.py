"""One network with a server and its people, in which stories are told one after another, each searched by the oracle."""

import json
import shutil
import subprocess
import time
import traceback
from dataclasses import dataclass, field

from .capture import Captures
from .oracle import SERVER, Oracle, Window, capture_identifiers, sdp_identifiers
from .parties import Missing, Server

# What an operator can ask of a server: each is run as each account after each story, as far as this build has it.
SHOWN = (
    ("contacts", "--as"),
    ("calls", "--as"),
    ("settings", "show", "--as"),
    ("grants", "list", "--as"),
    ("blocks", "list", "--as"),
    ("requests", "list", "--as"),
    ("callers",),
    ("callable",),
)


@dataclass
class Outcome:
    """How a story went."""

    story: str
    where: str
    findings: list = field(default_factory=list)
    between: int = 0
    searched: int = 0
    chance: float = 0.0
    seconds: float = 0.0
    error: str = ""
    missing: str = ""

    @property
    def passed(self):
        return not (self.findings or self.between or self.error or self.missing)

    def data(self):
        return {**self.__dict__, "findings": [one.data() for one in self.findings], "passed": self.passed}


class World:
    def __init__(self, lab, duocast, directory, family, where):
        self.lab, self.homes, self.root, self.where = lab, lab.homes, directory, where
        self.server = Server(duocast, directory / "data", family)
        self.browsers = []
        self._begin("start")

    def _begin(self, name):
        self.directory = self.root / name.replace(" ", "-").replace(":", "")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.calls = 0
        self.processes, self.places, self.sdp, self.windows = [], [], [], []
        self.log_from = self.server.log.stat().st_size

    def received(self, home, path):
        """A file with what reached a home's people or programs."""
        self.places.append((home.name, f"what {home.name} received", path))

    def may_meet(self, since, until=float("inf"), one="a", other="b"):
        """From then on two homes may learn each other's public address: both people said yes."""
        window = Window(one, other, since, until)
        self.windows.append(window)
        return window

    def described(self, home, descriptions, path):
        """Session descriptions that a home's device made ("local") and was given ("remote")."""
        self.sdp.append((home.name, descriptions, path))

    def tell(self, kind, name, story):
        """Tells a story under capture and searches what it left behind. What the story returns, if anything, looks at that as well."""
        self._begin(f"{kind} {name}")
        outcome = Outcome(name, f"{self.where} {kind}")
        began = time.monotonic()
        captures = Captures(self.lab.namespaces(), self.directory)
        after = None
        try:
            after = story(self)
        except Missing as missing:
            outcome.missing = str(missing)
        except AssertionError as error:
            outcome.error = str(error) or traceback.format_exc(limit=-1)
        except Exception as error:  # noqa: a story that broke is a story that failed, and the others go on
            outcome.error = f"{type(error).__name__}: {error}"
        finally:
            try:
                self._collect()
                files = captures.stop()
            except (AssertionError, RuntimeError, OSError) as error:
                outcome.error = outcome.error or str(error)
                files = {}
            finally:
                captures.kill()
        self._restore(outcome)
        self.files = files
        oracle = judge(self.homes, self.directory, self.places, self.sdp, files, self.windows)
        if after and files and not outcome.error:
            try:
                after(oracle, files)
            except AssertionError as error:
                outcome.error = str(error) or traceback.format_exc(limit=-1)
        outcome.findings, outcome.between = oracle.findings, oracle.crossed
        outcome.searched, outcome.chance = sum(oracle.searched.values()), oracle.chance
        outcome.seconds = time.monotonic() - began
        return outcome

    def _restore(self, outcome):
        """What one story leaves behind must not be another's finding."""
        for home in self.homes.values():
            if home.moved:
                self.lab.return_home(home)
        if outcome.error:
            for browser in self.browsers:
                browser.leave()
                browser.close()
            self.browsers.clear()

    def _collect(self):
        for browser in self.browsers:
            browser.collect(self)
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self.server.process.poll() is not None:
            raise AssertionError(f"the server ended: {self.server.log.read_text()[-1000:]}")
        self._collect_server()

    def _collect_server(self):
        kept = self.directory / "server"
        kept.mkdir(exist_ok=True)
        with self.server.log.open("rb") as log:
            log.seek(self.log_from)
            (kept / "log.txt").write_bytes(log.read())
        (kept / "metrics.txt").write_text(self.server.metrics())
        for what in SHOWN:
            for handle in ("alice", "bob", "carol"):
                try:
                    shown = self.server.ctl(*what, handle, "--json")
                except Missing:
                    break
                (kept / f"ctl-{what[0]}-{handle}.json").write_text(shown)
        for file in self.server.data.iterdir():
            if file.is_file():
                shutil.copy(file, kept / file.name)
        self.places += [(SERVER, "what the server keeps and shows", path) for path in sorted(kept.iterdir())]

    def close(self):
        for browser in self.browsers:
            browser.close()
        self.server.stop()


def judge(homes, directory, places, sdp, files, windows=()):
    """The oracle over what a story left behind."""
    oracle = Oracle(homes, directory, windows)
    open_values = {}
    for name, home in homes.items():
        if home.client in files:
            open_values[name] = capture_identifiers(files[home.client])
            for (kind, outgoing), values in open_values[name].items():
                if outgoing:
                    oracle.made_by(name, kind, values)
    for owner, descriptions, _ in sdp:
        for text in routed(descriptions):
            for kind, values in sdp_identifiers(text).items():
                oracle.made_by(owner, kind, values)
    oracle.identifiers = sorted(set(oracle.identifiers))
    oracle.made_twice(directory)

    for owner, place, path in places:
        oracle.bytes_at(owner, place, path)
        if owner != SERVER:
            oracle.identifiers_at(owner, place, path)
    for owner, descriptions, path in sdp:
        remote = [one["sdp"] for one in descriptions if one["side"] == "remote"]
        given = path.with_suffix(".remote.txt")
        given.write_text("\n".join(remote))
        oracle.bytes_at(owner, f"descriptions given to {owner}", given)
        for text in set(remote):
            for kind, values in sdp_identifiers(text).items():
                oracle.received_values(owner, kind, values, f"descriptions given to {owner}", given)
    for name, home in homes.items():
        for namespace in (home.client, home.router):
            if namespace in files:
                oracle.capture_at(name, files[namespace])
        for (kind, outgoing), values in open_values.get(name, {}).items():
            if not outgoing:
                oracle.received_values(name, kind, values, f"packets at {home.client}", files[home.client])
    if "inet" in files:
        oracle.between(files["inet"])
    return oracle


def routed(descriptions):
    """What a device said of itself to the router, which alone is ICE-lite, and not to the other party on a direct leg."""
    to_router = {one.get("peer") for one in descriptions if one["side"] == "remote" and "a=ice-lite" in one["sdp"]}
    return [one["sdp"] for one in descriptions if one["side"] == "local" and one.get("peer") in {None, *to_router}]


def report(outcomes, first=False):
    """A table for people."""
    if first:
        print(f"{'network':<32}{'story':<38}{'':<9}{'findings':>8}{'between':>9}{'searched':>11}")
    for one in outcomes:
        verdict = "ok" if one.passed else "no such" if one.missing else "FAILED"
        size = f"{one.searched / 1e6:.1f} MB"
        print(f"{one.where:<32}{one.story:<38}{verdict:<9}{len(one.findings):>8}{one.between:>9}{size:>11}{one.seconds:>6.1f} s", flush=True)
        for finding in one.findings[:5]:
            print(f"    {finding.line()}")
        if len(one.findings) > 5:
            print(f"    and {len(one.findings) - 5} more")
        if one.error or one.missing:
            print(f"    {one.error or 'this build has no ' + one.missing}")


def save(path, outcomes, doctored):
    path.write_text(json.dumps({"stories": [one.data() for one in outcomes], "doctored": doctored}, indent=1))
