#!/usr/bin/env python3
"""The same call by the server and directly, under the same network: what is heard and seen of each?

    run.py                    12 conditions: round trip 20 and 80 ms, loss 0, 3 and 10 %, 500 kbit/s and 2 Mbit/s (half an hour)
    run.py --short            two of them, with fewer passages
    run.py --rtt 80 --loss 10 those that fit; --json FILE keeps what was measured and adds to what is there
    run.py --table FILE       the table of what was kept, measuring nothing; --markdown for docs

Two Chromium in two homes. All shaping is on the homes' ways to the internet, and every packet between the two goes up one and down the other,
by the server or not: both ways have the same delay, loss and bottleneck. The server's own way has no limit. In each call the pages go by
the server first and then directly, or the other way round (--first): what comes first has the call's start in it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import run as leak  # noqa: E402
from netlab import direct_stories  # noqa: E402
from netlab.cage import until  # noqa: E402
from netlab.lab import Lab, Shape  # noqa: E402
from netlab.parties import PYTHON, ROOT, Browser  # noqa: E402
from netlab.world import World  # noqa: E402
from routes import table  # noqa: E402

SCORE = ROOT / "tests/score"
RTTS_MS, LOSSES_PERCENT, RATES_KBIT = (20, 80), (0, 3, 10), (500, 2000)
# The least that says something of both ends: nothing in the way, and all of it.
SHORT = ((20, 0, 2000), (80, 10, 500))
# After a way came into use: estimates of the bandwidth have grown, and redundant sound has begun (browsers report every five seconds).
SETTLE_SECONDS = 12
# A passage lasts 10.7 s and is said again and again, so twice that has a whole one in it, and mostly two.
LISTEN_SECONDS, LISTEN_SECONDS_SHORT = 24, 22
CAMERA = {"width": 640, "height": 360}
WAYS = {"routed": False, "direct": True}
ORDERS = {"routed": ("routed", "direct"), "direct": ("direct", "routed")}


def shape(rtt_ms, loss_percent, seed):
    """Each home's part: a round trip goes through four of them, a packet through two."""
    return Shape(rtt_ms / 4, 1 - (1 - loss_percent / 100) ** 0.5, 0, seed)


def load():
    """How busy the machine was since it started, as (busy, stolen, all) ticks."""
    ticks = [int(one) for one in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], ticks[7], sum(ticks)


def scored(*command):
    """What a scorer found in a recording; None, with its reason on stderr, where it could not tell."""
    done = subprocess.run([PYTHON, *map(str, command)], capture_output=True, text=True, cwd=SCORE)
    if done.returncode == 0:
        return json.loads(done.stdout)
    print(f"routes: {command[0]}: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}", file=sys.stderr, flush=True)
    return None


def scorers_run():
    """Whether what scores recordings is installed: a run without it would measure for half an hour and know nothing of the sound."""
    done = [subprocess.run([PYTHON, scorer, "--help"], capture_output=True, cwd=SCORE).returncode for scorer in ("pesq_score.py", "delay.py")]
    return done == [0, 0]


def listens(pages, way, seconds, folder):
    """What each page hears and sees on this way."""
    began = load()
    files = {page.handle: (folder / f"{page.handle}-{way}-said.wav", folder / f"{page.handle}-{way}-heard.wav") for page in pages}
    running = [
        page.begins("listens", 4 * seconds, span=seconds, direct=WAYS[way], said=str(files[page.handle][0]), heard=str(files[page.handle][1]))
        for page in pages
    ]
    told = [done() for done in running]
    busy, stolen, ticks = (now - then for now, then in zip(load(), began, strict=True))
    heard = [
        {
            **counted(told[n]["before"], told[n]["after"]),
            "peer_sizes": told[1 - n]["after"]["sizes"],
            "peer_sends_red": told[1 - n]["after"]["sendsRed"],
            "scores": [one["pesq_wb"] for one in scored("pesq_score.py", folder / f"{pages[1 - n].handle}.wav", files[page.handle][1], "--each") or []],
            "delay": scored("delay.py", files[pages[1 - n].handle][0], files[page.handle][1], "--head", (told[n]["heardAtMs"] - told[1 - n]["saidAtMs"]) / 1000),
        }
        for n, page in enumerate(pages)
    ]
    return {"pages": heard, "busy": busy / ticks, "stolen": stolen / ticks, "load": os.getloadavg()[0]}


def counted(before, after):
    """Of one page, between two looks at its statistics."""
    sound, picture = ({name: after[kind][name] - before[kind][name] for name in after[kind]} for kind in ("audio", "video"))

    def kbit(kind):
        return kind["bytesReceived"] * 8 / kind["timestamp"] if kind["timestamp"] else 0.0

    # What came again, or to make up for losses; a browser may fill up with it what it wants to know of the way. table.py says how much of it is picture.
    repair = {name: picture[name] for name in ("timestamp", "retransmittedBytesReceived", "fecBytesReceived")}
    repair["bytesReceived"] = repair["retransmittedBytesReceived"] + repair["fecBytesReceived"]
    decoded = max(picture["framesDecoded"], 1)
    emitted = max(sound["jitterBufferEmittedCount"], 1)

    def lost(kind):
        return kind["packetsLost"] / max(kind["packetsReceived"] + kind["packetsLost"], 1)

    return {
        "seconds": picture["timestamp"] / 1000,
        "audio_kbit": kbit(sound),
        "audio_lost": lost(sound),
        "audio_concealed": sound["concealedSamples"] / max(sound["totalSamplesReceived"], 1),
        "red": sound["fecPacketsReceived"] / max(sound["packetsReceived"], 1),
        "jitter_buffer_ms": 1000 * sound["jitterBufferDelay"] / emitted,
        "jitter_target_ms": 1000 * sound["jitterBufferTargetDelay"] / emitted,
        "video_kbit": kbit(picture) - kbit(repair),
        "repair_kbit": kbit(repair),
        "quantiser": picture["qpSum"] / decoded,
        "video_lost": lost(picture),
        "fps": picture["framesDecoded"] * 1000 / max(picture["timestamp"], 1),
        "lines": after["video"]["frameHeight"],
        "freezes": picture["freezeCount"],
        "frozen_seconds": picture["totalFreezesDuration"],
    }


def calls(world, kbit, given, keep):
    """One call; tells `keep` of each way that was listened to."""
    names = {"a": ("alice", "female"), "b": ("bob", "male")}
    for home, (handle, voice) in names.items():
        wav = world.root / f"{handle}.wav"
        subprocess.run([SCORE / "speech.sh", wav, voice], check=True)
        layers = {"codec": "VP8", "mode": "L1T1"} if given.one_size else None
        Browser(world, world.homes[home], handle, camera=CAMERA, layers=layers, wav=str(wav), plainSound=given.no_red)
    seconds = LISTEN_SECONDS_SHORT if given.short else LISTEN_SECONDS
    # Both ways begin with it: a way that narrows in its midst is another test's matter (../layers).
    for home in "ab":
        world.lab.limit(world.homes[home], kbit, kbit)
    with direct_stories.page_call(world, (direct_stories.ASK, direct_stories.ASK)) as (alice, bob, _):
        for way in ORDERS[given.first]:
            GO[way](alice, bob)
            time.sleep(SETTLE_SECONDS)
            keep(way, listens((alice, bob), way, seconds, world.root))
            assert all(goes(page, way) for page in (alice, bob)), f"it did not stay {way}: {[page.does('state')['direct'] for page in (alice, bob)]}"


def go_direct(alice, bob):
    alice.does("click", target="go-direct")
    bob.does("shows", target="direct-question")
    bob.does("click", target="direct-yes")
    wait_for("direct", alice, bob)


def go_routed(alice, bob):
    """A call begins so; only from a direct one there is something to do."""
    if is_direct(alice):
        alice.does("click", target="go-private")
    wait_for("routed", alice, bob)


GO = {"routed": go_routed, "direct": go_direct}


def wait_for(way, *pages):
    for page in pages:
        until(f"{page.handle}'s page is {way}", lambda page=page: goes(page, way), 40, every=0.5)


def goes(page, way):
    return is_direct(page) if way == "direct" else is_routed(page)


def is_routed(page):
    """It sends and plays by the server, and nothing directly."""
    direct = page.does("state")["direct"]
    return direct["plays"] == {"audio": "routed", "video": "routed"} and direct["sends"]["routed"]["audio"] and not direct["sends"]["direct"]["audio"]


def is_direct(page):
    """It sends and plays directly, and nothing by the server."""
    direct = page.does("state")["direct"]
    return direct["phase"] == "active" and direct["plays"]["audio"] == "direct" and not direct["sends"]["routed"]["audio"]


def conditions(given):
    if given.short:
        return SHORT
    every = [(rtt, loss, rate) for rtt in RTTS_MS for loss in LOSSES_PERCENT for rate in RATES_KBIT]
    wanted = (given.rtt, given.loss, given.rate)
    return [one for one in every if all(not some or value in some for value, some in zip(one, wanted, strict=True))]


def main(given, duocast, directory):
    os.environ.setdefault("NET_LOG", "warn")
    rows, wrong = [], []
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
    kept = table.read(given.json) if given.json else []
    for rtt, loss, rate in conditions(given):
        name = f"{rtt} ms, {loss} %, {rate} kbit/s"

        def keep(way, measured, condition=(rtt, loss, rate)):
            rows.append({"rtt_ms": condition[0], "loss_percent": condition[1], "rate_kbit": condition[2], "way": way, "red_allowed": not given.no_red, "one_size": given.one_size, "first": given.first, **measured})
            if given.json:
                given.json.write_text(json.dumps(kept + rows, indent=1))

        lab, world = Lab(shape=shape(rtt, loss, given.seed), log=sys.stderr), None
        try:
            world = World(lab, duocast, directory / f"{rtt}-{loss}-{rate}", 4, name)
            calls(world, rate, given, keep)
        except (AssertionError, RuntimeError) as error:
            wrong.append(f"{name}: {error}")
        finally:
            if world:
                world.close()
            lab.close()
            if given.keep:
                shutil.copytree(directory, given.keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data"))
        print(f"{name}: {'no figures' if wrong[-1:] and wrong[-1].startswith(name) else 'measured'}", file=sys.stderr, flush=True)
    shutil.rmtree(directory)
    print((table.markdown if given.markdown else table.terminal)(rows))
    for line in wrong:
        print(f"routes: {line}")
    return 1 if wrong or not rows else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="two conditions")
    parser.add_argument("--rtt", type=int, action="append", choices=RTTS_MS, help="only this round trip, ms; again for more")
    parser.add_argument("--loss", type=int, action="append", choices=LOSSES_PERCENT, help="only this loss, percent")
    parser.add_argument("--rate", type=int, action="append", choices=RATES_KBIT, help="only this rate, kbit/s")
    parser.add_argument("--one-size", action="store_true", help="the pages send the router one size of their picture, as they do directly")
    parser.add_argument("--first", choices=ORDERS, default="routed", help="the way that calls begin with")
    parser.add_argument("--no-red", action="store_true", help="the pages know no redundant sound")
    parser.add_argument("--seed", type=int, default=1, help="of the loss")
    parser.add_argument("--json", type=Path, help="add what was measured to this file")
    parser.add_argument("--table", type=Path, help="show the table of such a file and measure nothing")
    parser.add_argument("--markdown", action="store_true", help="show it as Markdown")
    parser.add_argument("--keep", type=Path, help="keep the recordings in this directory")
    parser.add_argument("--duocast", default=os.environ.get("TEST_DUOCAST", "target/debug/duocast"))
    arguments = parser.parse_args()
    if arguments.table:
        print((table.markdown if arguments.markdown else table.terminal)(table.read(arguments.table)))
        sys.exit(0)
    if not scorers_run():
        sys.exit("routes: what scores sound is not installed: tests/score/setup.sh")
    sys.exit(leak.caged(arguments, main))
