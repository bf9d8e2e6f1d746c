#!/usr/bin/env python3
"""A viewer's way narrows from 2 Mbit/s to 300 kbit/s and widens again, in a call of two Chromium: what is heard and seen of it?

Alice's page publishes a picture in three sizes, and then in one stream with three spatial layers (VP9, L3T3_KEY). Bob's home has a queue of 200 ms.
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import run as leak  # noqa: E402
from netlab.browser_stories import end, live  # noqa: E402
from netlab.lab import Lab, Shape  # noqa: E402
from netlab.parties import Browser  # noqa: E402
from netlab.world import World, report  # noqa: E402

DELAY_MS = 20
WIDE_KBIT, NARROW_KBIT = 2000, 300
# Seconds of each phase: Chromium takes its time until it sends all of a picture.
PHASES = (("wide", WIDE_KBIT, 15), ("narrow", NARROW_KBIT, 20), ("wide again", WIDE_KBIT, 12))
# Chromium sends three sizes, and three spatial layers, from 960 x 540 on.
CAMERA = {"width": 960, "height": 540}
KINDS = {"simulcast": None, "L3T3_KEY": {"codec": "VP9", "mode": "L3T3_KEY"}}
LOOK_SECONDS = 0.1
# What is wanted of them, where limits are judged (TEST_JUDGE=1).
CONCEALED_MAX, BACK_SECONDS_MAX = 0.02, 8
# In the worst five seconds a full queue alone is nearly 3 % (docs/performance.md): they have a bound of their own, so that a longer gap is noticed.
WINDOW_SECONDS, WINDOW_CONCEALED_MAX = 5, 0.05


def story(given, kind, results):
    def tell(world):
        alice = Browser(world, world.homes["a"], "alice", camera=CAMERA, layers=KINDS[kind])
        # Who takes one codec alone must be sent that.
        layers = KINDS[kind] and {**KINDS[kind], "mode": "L1T1"}
        bob = Browser(world, world.homes["b"], "bob", camera={"width": 320, "height": 180}, layers=layers)
        for page in (alice, bob):
            page.does("online")
        alice.does("calls", callee="bob")
        bob.does("accepts")
        live(alice, bob, video=True)
        samples, began = [], []
        for _, kbit, seconds in PHASES:
            world.lab.limit(world.homes["b"], 0, kbit)
            began.append(time.monotonic())
            while time.monotonic() - began[-1] < seconds:
                leg = bob.does("stats")["leg"]
                sound, picture = leg["audioIn"], leg["videoIn"]
                samples.append((time.monotonic(), sound["samples"], sound["concealedSamples"], picture["framesDecoded"], picture["height"], sound["packets"], sound["lost"], sound["emitted"], picture["bytes"]))
                time.sleep(LOOK_SECONDS)
        results[kind] = figures(samples, began)
        if given.samples:
            given.samples.write(json.dumps({"kind": kind, "began": began, "samples": samples}) + "\n")
        end(alice, bob)
        for page in (alice, bob):
            page.close()
        world.browsers.clear()

    return tell


def figures(samples, began):
    """Sound made up in each phase and in the worst five seconds, longest time without a new picture, lines seen at the end of each phase, seconds until all is back."""
    after = [one for one in samples if one[0] >= began[1] - WINDOW_SECONDS]
    concealed = 0.0
    for at, (time_at, heard, made_up, *_) in enumerate(after):
        later = next((one for one in after[at:] if one[0] >= time_at + WINDOW_SECONDS), None)
        if later and later[1] > heard:
            concealed = max(concealed, (later[2] - made_up) / (later[1] - heard))
    phases = []
    for begin, end_ in zip(began, [*began[1:], float("inf")], strict=True):
        within = [one for one in samples if begin <= one[0] < end_]
        heard = within[-1][1] - within[0][1] if within else 0
        phases.append((within[-1][2] - within[0][2]) / heard if heard else 1.0)
    stall, changed = 0.0, after[0]
    for one in after:
        if one[3] != changed[3]:
            changed = one
        stall = max(stall, one[0] - changed[0])
    ends = [*began[1:], float("inf")]
    lines = [[one[4] for one in samples if one[0] < last][-1] for last in ends]
    back = next((one[0] - began[2] for one in samples if one[0] >= began[2] and one[4] >= lines[0]), float("inf"))
    return {"phases": phases, "concealed": concealed, "stall": stall, "lines": lines, "back": back}


def judge(kind, figure):
    """Says the figures; gives what is wrong with them."""
    lines = ", ".join(f"{name} {count}" for (name, _, _), count in zip(PHASES, figure["lines"], strict=True))
    phases = ", ".join(f"{name} {share:.1%}" for (name, _, _), share in zip(PHASES, figure["phases"], strict=True))
    print(f"figure layers: {kind}: sound made up: {phases}, in the worst {WINDOW_SECONDS} s {figure['concealed']:.1%}; "
          f"longest stall {figure['stall']:.1f} s, lines: {lines}, all of it back after {figure['back']:.1f} s")
    if figure["lines"][0] != CAMERA["height"] or figure["lines"][1] >= figure["lines"][0]:
        yield f"{kind}: lines {figure['lines']}: all of it where the way is wide, and less where it is narrow"
    if os.environ.get("TEST_JUDGE") != "1":
        return
    for (name, _, seconds), share in zip(PHASES, figure["phases"], strict=True):
        if share > CONCEALED_MAX:
            yield f"{kind}: {share:.1%} of the sound was made up in the {seconds} s of {name!r}; at most {CONCEALED_MAX:.0%} are allowed"
    if figure["concealed"] > WINDOW_CONCEALED_MAX:
        yield f"{kind}: {figure['concealed']:.1%} of the sound was made up in the worst {WINDOW_SECONDS} s; at most {WINDOW_CONCEALED_MAX:.0%} are allowed"
    if figure["back"] > BACK_SECONDS_MAX:
        yield f"{kind}: all of the picture was back after {figure['back']:.1f} s; {BACK_SECONDS_MAX} are allowed"


def main(given, duocast, directory):
    lab = Lab(shape=Shape(DELAY_MS, 0, 0, given.seed), log=sys.stderr)
    results, world, outcomes = {}, None, []
    try:
        world = World(lab, duocast, directory / "layers", 4, "2 Mbit/s, 300 kbit/s, 2 Mbit/s")
        for kind in given.kind or KINDS:
            outcomes.append(world.tell("chromium", f"a rate step, {kind}", story(given, kind, results)))
        report(outcomes, first=True)
    finally:
        if world:
            world.close()
        lab.close()
        shutil.rmtree(directory)
    wrong = [line for kind, figure in results.items() for line in judge(kind, figure)]
    for line in wrong:
        print(f"layers: {line}")
    return 0 if all(outcome.passed for outcome in outcomes) and not wrong else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", action="append", choices=KINDS, help="again for more; all by default")
    parser.add_argument("--samples", type=argparse.FileType("a"), help="a file for all that was looked at")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--duocast", default=os.environ.get("TEST_DUOCAST", "target/debug/duocast"))
    sys.exit(leak.caged(parser.parse_args(), main))
