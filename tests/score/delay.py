#!/usr/bin/env python3
"""How long speech took from a microphone to a loudspeaker: the delay of what was heard against what was said.

    delay.py SAID HEARD --head 0.25        prints {"delay_ms": 92.1, "p95_ms": 101.0, "parts": 31, "of": 40}

Both are recordings; HEARD began --head seconds after SAID did, on one clock. Each part of SAID with speech in it is looked for in HEARD by
cross-correlation, and the median over the parts is the delay: a jitter buffer does not hold all of them for the same time.
"""

import argparse
import json
import sys

import numpy as np

from pesq_score import PART_S, RATE, likeness, read, spoken_parts

# The longest delay that is looked for, in seconds. The speech repeats itself after ten.
DELAY_MAX_S = 2.0

# Height of the peak from which a part tells its delay: one that is made up in part may look like its neighbour.
PEAK_MIN = 0.6


def delays(said, heard, head):
    """The delay of each spoken part that was found, in seconds, and of how many parts."""
    parts = spoken_parts(said)
    found, sought = [], 0
    for at, part in parts:
        begin = round(at - head * RATE)
        around = heard[max(begin, 0) : begin + int((DELAY_MAX_S + PART_S) * RATE)]
        if begin < 0 or len(around) < int((DELAY_MAX_S + PART_S) * RATE):
            continue
        sought += 1
        like = likeness(part, around)
        best = int(np.argmax(like))
        if like[best] >= PEAK_MIN:
            # Where the part begins on the clock of `heard` lies between two samples.
            found.append((begin + best) / RATE + head - at / RATE)
    return found, sought


def main():
    parser = argparse.ArgumentParser(description="delay of what was heard against what was said")
    parser.add_argument("said", help="WAV of the microphone")
    parser.add_argument("heard", help="WAV of the loudspeaker")
    parser.add_argument("--head", type=float, default=0.0, help="seconds by which HEARD began after SAID")
    asked = parser.parse_args()
    found, sought = delays(read(asked.said), read(asked.heard), asked.head)
    if not found:
        print(f"delay: none of {sought} parts was heard", file=sys.stderr)
        return 2
    figures = {"delay_ms": 1000 * float(np.median(found)), "p95_ms": 1000 * float(np.percentile(found, 95))}
    print(json.dumps({**figures, "parts": len(found), "of": sought}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
