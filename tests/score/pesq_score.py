#!/usr/bin/env python3
"""Scores how speech arrived: PESQ wide band (ITU-T P.862.2) of a recording against what was spoken.

    pesq_score.py REF REC --min 3.5        prints "PESQ-wb 4.12  delay 0.83 s"; exit 0 if the score is reached, 1 if not
    pesq_score.py REF REC --parts 0.3      prints "13 of 14 parts, PESQ-wb 4.12  delay 0.83 s"; exit 0 if that share of
                                           what was spoken was heard, 1 if not
    pesq_score.py REF REC --each           prints the score of each whole repetition of REF, as a JSON list

REF is what was spoken, REC what was recorded, both anything libsndfile reads. A recording starts when the recorder
does and may repeat REF, so REF is looked for in it by cross-correlation first: unaligned, PESQ is without meaning.
A jitter buffer stretches and shortens what it plays, by more than a pitch period and again and again where packets get
lost; so each part of REF may be found a little beside its place. PESQ itself aligns each utterance. A machine that stands still cuts speech between its words; each part of REF is looked for by itself, so --parts tells
speech that was cut from speech that is not there: silence, another voice, a wrong rate, frames out of order.
Exit 2: REF does not occur in REC at all (with --min), or a file cannot be read.
"""

import argparse
import json
import sys
from math import gcd

import numpy as np
import soundfile
from pesq import pesq
from scipy.ndimage import maximum_filter1d
from scipy.signal import correlate, resample_poly

RATE = 16_000  # PESQ wide band is defined for this rate.

# Height of the parts' peaks on average, 1 for equal signals, below which REC does not hold REF. Other speech stays below
# 0.2, two per cent of a wrong rate below 0.4; what a jitter buffer stretches or shortens by some milliseconds three times a second is at 0.6.
CORRELATION_MIN = 0.4

# How far from its place a part may be, in seconds: what a jitter buffer holds more or less than at the passage's beginning. Higher finds
# more in other speech, lower loses speech that was stretched.
STRETCH_S = 0.1

# Length of a part, in seconds. Longer ones are cut more often, shorter ones are found in other words.
PART_S = 0.8

# Height of the peak from which a part counts as heard. A codec leaves above 0.8; two per cent of a wrong rate below 0.6.
PART_CORRELATION_MIN = 0.7


class NotFound(Exception):
    """The reference does not occur in the recording."""


def read(path):
    """The file's first channel at 16 kHz."""
    samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
    common = gcd(rate, RATE)
    return resample_poly(samples[:, 0], RATE // common, rate // common)


def likeness(part, rec):
    """How well `part` occurs at each place of `rec` (0 to 1)."""
    products = correlate(rec, part, mode="valid", method="fft")
    energy = np.concatenate([[0.0], np.cumsum(rec**2)])
    window = energy[len(part) :] - energy[: len(energy) - len(part)]
    floor = 1e-4 * len(part) * max(np.mean(rec**2), 1e-12)
    return products / np.sqrt(np.maximum(window, floor) * max(np.sum(part**2), 1e-12))


def spoken_parts(ref):
    """The parts of `ref` with speech in them, each with its place in samples."""
    size = int(PART_S * RATE)
    parts = [(at, ref[at : at + size]) for at in range(0, len(ref) - size + 1, size)]
    return [(at, part) for at, part in parts if np.mean(part**2) > 0.1 * np.mean(ref**2)]


def places(ref, rec):
    """How well `ref` occurs from each place of `rec` on, on average over its parts, of which each may be a little beside its own place.

    Only places where the whole reference is inside the recording count.
    """
    count = len(rec) - len(ref) + 1
    if count < 1:
        raise NotFound(f"the recording ({len(rec) / RATE:.1f} s) is shorter than the reference ({len(ref) / RATE:.1f} s)")
    parts = spoken_parts(ref)
    if not parts:
        raise NotFound("nothing is spoken in the reference")
    near = 2 * int(STRETCH_S * RATE) + 1
    return sum(maximum_filter1d(likeness(part, rec), near)[at : at + count] for at, part in parts) / len(parts)


def settle(ref, rec, at):
    """The place near `at` from which on most parts of `ref` are where they should be."""
    reach = int(STRETCH_S * RATE)
    shifts, weights = [], []
    for offset, part in spoken_parts(ref):
        begin = max(at + offset - reach, 0)
        around = likeness(part, rec[begin : at + offset + reach + len(part)])
        best = int(np.argmax(around))
        shifts.append(begin + best - offset)
        weights.append(max(float(around[best]), 0))
    order = np.argsort(shifts)
    passed = np.cumsum(np.array(weights)[order])
    median = np.array(shifts)[order][np.searchsorted(passed, passed[-1] / 2)]
    return int(min(max(median, 0), len(rec) - len(ref)))


def score_at(ref, rec, at):
    return float(pesq(RATE, ref, rec[at : at + len(ref)], "wb"))


def score(ref, rec):
    """PESQ-wb of the best occurrence of `ref` in `rec`, and where it begins in seconds."""
    like = places(ref, rec)
    best = int(np.argmax(like))
    if like[best] < CORRELATION_MIN:
        raise NotFound(f"the reference does not occur in the recording (best correlation {like[best]:.2f})")
    at = settle(ref, rec, best)
    return score_at(ref, rec, at), at / RATE


def each_score(ref, rec):
    """PESQ-wb of each whole occurrence of `ref` in `rec` and where it begins in seconds, in their order."""
    like = places(ref, rec)
    found = []
    while like.max() >= CORRELATION_MIN:
        best = int(np.argmax(like))
        at = settle(ref, rec, best)
        found.append((score_at(ref, rec, at), at / RATE))
        # What overlaps with it is none.
        like[max(best - len(ref) + 1, 0) : best + len(ref)] = 0
    return sorted(found, key=lambda one: one[1])


def parts_heard(ref, rec):
    """How many parts of `ref` occur in `rec`, and of how many; parts without speech do not count."""
    spoken = spoken_parts(ref)
    if len(rec) < PART_S * RATE:
        return 0, len(spoken)
    return sum(likeness(part, rec).max() >= PART_CORRELATION_MIN for _, part in spoken), len(spoken)


def main():
    parser = argparse.ArgumentParser(description="PESQ-wb of a recording against what was spoken")
    parser.add_argument("ref", help="WAV that was spoken")
    parser.add_argument("rec", help="WAV that was recorded")
    parser.add_argument("--min", type=float, default=0.0, help="lowest score that passes")
    parser.add_argument("--parts", type=float, help="judge by the least share of parts that was heard instead")
    parser.add_argument("--each", action="store_true", help="print the score of each whole repetition")
    asked = parser.parse_args()
    try:
        ref, rec = read(asked.ref), read(asked.rec)
    except OSError as error:
        print(f"pesq_score: {error}", file=sys.stderr)
        return 2
    if asked.each:
        print(json.dumps([{"pesq_wb": got, "delay_s": delay} for got, delay in each_score(ref, rec)]))
        return 0
    return judge_parts(ref, rec, asked.parts) if asked.parts is not None else judge_score(ref, rec, asked.min)


def judge_parts(ref, rec, least):
    heard, spoken = parts_heard(ref, rec)
    try:
        whole = "PESQ-wb {:.2f}  delay {:.2f} s".format(*score(ref, rec))
    except NotFound:
        whole = "never whole"
    print(f"{heard} of {spoken} parts, {whole}")
    if heard < least * spoken:
        print(f"pesq_score: heard {heard} of {spoken} parts, less than {least:.0%}", file=sys.stderr)
        return 1
    return 0


def judge_score(ref, rec, least):
    try:
        got, delay = score(ref, rec)
    except NotFound as error:
        print(f"pesq_score: {error}", file=sys.stderr)
        return 2
    print(f"PESQ-wb {got:.2f}  delay {delay:.2f} s")
    if got < least:
        print(f"pesq_score: {got:.2f} is below {least:.2f}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
