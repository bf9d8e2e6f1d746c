#!/usr/bin/env python3
"""The leak test: does anything tell one party of a call the address of the other?

run.py --short            what tests/all.sh runs: each kind of story once
run.py                    the whole matrix: IPv4 and IPv6, cone and symmetric NAT, SDK and Chromium
run.py --story 'routed'   stories whose name contains this
"""

import argparse
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from netlab import browser_stories, cage, direct_stories, doctored, stories, tcp_stories  # noqa: E402
from netlab.lab import Lab  # noqa: E402
from netlab.parties import PYTHON, ROOT  # noqa: E402
from netlab.world import World, report, save  # noqa: E402

TOOLS = ("ip", "nft", "tcpdump", "curl", "mount", "node", "chromium")


@dataclass
class Network:
    """A network and who tells which stories in it."""

    family: int
    nats: tuple
    sdk: tuple = ()
    chromium: tuple = ()

    @property
    def name(self):
        return f"IPv{self.family} {self.nats[0]}/{self.nats[1]}"


SDK = (
    stories.STORIES
    | direct_stories.SDK_STORIES
    | direct_stories.TROUBLE_STORIES
    | direct_stories.SYMMETRIC_STORIES
    | tcp_stories.SDK_STORIES
)
PAGES = (
    browser_stories.STORIES
    | direct_stories.PAGE_STORIES
    | direct_stories.TROUBLE_PAGE_STORIES
    | direct_stories.SYMMETRIC_PAGE_STORIES
    | tcp_stories.PAGE_STORIES
)

ALL = tuple(stories.STORIES)
DIRECT = tuple(direct_stories.SDK_STORIES | direct_stories.TROUBLE_STORIES)
NO_WAY = tuple(direct_stories.SYMMETRIC_STORIES)
BLOCKED = tuple(tcp_stories.SDK_STORIES)
ALL_PAGES = tuple(
    browser_stories.STORIES | direct_stories.PAGE_STORIES | direct_stories.TROUBLE_PAGE_STORIES | tcp_stories.PAGE_STORIES
)
NO_WAY_PAGES = tuple(direct_stories.SYMMETRIC_PAGE_STORIES)
# Home c has a cone NAT: from there only a symmetric one is in the way.
NO_WAY_PAGES_CONE = ("direct: no way through",)
# Stories that are slow for what they add, or that other stories contain.
LONG = ("nobody answers", "network change, ICE restart", "callee is busy")
SHORT = tuple(name for name in ALL if name not in LONG)

# Behind symmetric NAT pages still meet by IPv6, which SDK clients take only if they reach the server by it.
SYMMETRIC_PAGES = ("routed call", "ICE restart", "network change", "direct: yes, and private again", *NO_WAY_PAGES)

MATRIX = (
    Network(4, ("cone", "cone"), ALL + DIRECT + BLOCKED, ALL_PAGES),
    Network(4, ("symmetric", "symmetric"), ALL + NO_WAY, SYMMETRIC_PAGES),
    Network(4, ("cone", "symmetric"), ("routed call", "forged accepts", *NO_WAY), ("routed call", *NO_WAY_PAGES_CONE)),
    Network(6, ("cone", "cone"), ALL + DIRECT + BLOCKED, ALL_PAGES),
    Network(6, ("symmetric", "symmetric"), ("direct: both say yes",)),
)
SHORT_MATRIX = (
    Network(4, ("cone", "symmetric"), SHORT),
    Network(
        4,
        ("cone", "cone"),
        ("direct: both say yes", "UDP is blocked at both", "nothing but TLS"),
        ("routed call", "ICE restart", "network change", "direct: malicious client", "UDP is blocked, then not", "nothing but TLS"),
    ),
    Network(6, ("cone", "cone"), ("routed call", "offers with every address"), ()),
)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="each kind of story once")
    parser.add_argument("--story", action="append", default=[], help="only stories whose name contains this")
    parser.add_argument("--family", type=int, choices=(4, 6), help="only this kind of address")
    parser.add_argument("--kind", choices=("sdk", "chromium"), help="only these clients")
    parser.add_argument("--duocast", default=os.environ.get("TEST_DUOCAST", "target/debug/duocast"))
    parser.add_argument("--out", type=Path, default=ROOT / "out/net", help="where result.json goes, and what failed stories captured")
    parser.add_argument("--keep", action="store_true", help="keep what was captured, whatever the result")
    return parser.parse_args()


def workplace():
    """A directory for what is captured; takes away what runs left that were killed."""
    for left in Path(tempfile.gettempdir()).glob("duocast-net-*"):
        if not Path("/proc", left.name.split("-")[2]).exists():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"duocast-net-{os.getpid()}-"))


def main(given, duocast, directory):
    given.out.mkdir(parents=True, exist_ok=True)
    outcomes, caught = [], []
    try:
        for network in SHORT_MATRIX if given.short else MATRIX:
            if given.family in (None, network.family):
                tell(given, network, duocast, directory, outcomes, caught)
    finally:
        failed = [one for one in outcomes if not one.passed]
        save(given.out / "result.json", outcomes, caught)
        if given.keep or failed:
            kept = Path(shutil.copytree(directory, given.out / "captured", dirs_exist_ok=True))
            print(f"what was captured: {kept}")
        shutil.rmtree(directory)
    missed = [one for one in caught if not one["caught"]]
    print(f"figure leak: {len(outcomes)} stories, {len(failed)} failed; addresses found {sum(len(o.findings) for o in outcomes)}, "
          f"packets between the parties {sum(o.between for o in outcomes)}, searched {sum(o.searched for o in outcomes) / 1e6:.0f} MB")
    print(f"figure leak: {len(caught) - len(missed)} of {len(caught)} deliberate leaks caught")
    return 1 if failed or missed or not outcomes else 0


def tell(given, network, duocast, directory, outcomes, caught):
    chosen = [("sdk", name, SDK[name]) for name in network.sdk]
    chosen += [("chromium", name, PAGES[name]) for name in network.chromium]
    chosen = [one for one in chosen if given.kind in (None, one[0]) and (not given.story or any(part in one[1] for part in given.story))]
    if not chosen:
        return
    root = directory / network.name.replace(" ", "-").replace("/", "-")
    lab = Lab((*network.nats, "cone"), log=sys.stderr)
    world = None
    try:
        world = World(lab, duocast, root, network.family, network.name)
        for kind, name, story in chosen:
            outcomes.append(world.tell(kind, name, story))
            report(outcomes[-1:], first=len(outcomes) == 1)
            if name == "routed call" and outcomes[-1].passed:
                caught += doctored.check(world, kind)
    finally:
        if world:
            world.close()
        lab.close()


def ready(given):
    """What a run needs; says what is missing."""
    duocast = (ROOT / given.duocast).resolve()
    wrong = [f"{tool} is not installed: tools/setup.sh test" for tool in TOOLS if not shutil.which(tool)]
    if not duocast.is_file():
        wrong.append(f"{duocast} is not there: tests/lib/build.sh, or name another with --duocast")
    if not PYTHON.exists():
        wrong.append("no .venv: tests/interop/setup.sh")
    for line in wrong:
        print(f"leak: {line}", file=sys.stderr)
    return None if wrong else duocast


def caged(given, run):
    """Runs `run` in a cage, if there can be one; gives the exit code."""
    try:
        cage.possible()
        binary = ready(given)
        if binary is None:
            return 1
        directory = workplace()
        return cage.run(lambda: run(given, binary, directory))
    except cage.NoNamespaces as error:
        if os.environ.get("DUOCAST_SKIP_NETNS") == "1":
            print(f"leak: skipped, network namespaces are not available ({error})")
            return 0
        print(f"leak: network namespaces are not available ({error}): run it as root, or set DUOCAST_SKIP_NETNS=1", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(caged(arguments(), main))
