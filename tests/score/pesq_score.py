#!/usr/bin/env python3
"""Scores how speech arrived: PESQ wide band (ITU-T P.862.2) of a recording against what was spoken.

    pesq_score.py REF REC --min 3.5        prints "PESQ-wb 4.12  delay 0.83 s"; exit 0 if the score is reached, 1 if not
    pesq_score.py REF REC --parts 0.3      prints "13 of 14 parts, PESQ-wb 4.12  delay 0.83 s"; exit 0 if that share of
                                           what was spoken was heard, 1 if not

REF is what was spoken, REC what was recorded, both anything libsndfile reads. A recording starts when the recorder
does and may repeat REF, so REF is looked for in it by cross-correlation first: unaligned, PESQ is without meaning.
A machine that stands still cuts speech between its words; each part of REF is looked for by itself, so --parts tells
speech that was cut from speech that is not there: silence, another voice, a wrong rate, frames out of order.
Exit 2: REF does not occur in REC at all (with --min), or a file cannot be read.
"""

import argparse
import sys
from math import gcd

import numpy as np
import soundfile
from pesq import pesq
from scipy.signal import correlate, resample_poly

RATE = 16_000  # PESQ wide band is defined for this rate.

# Height of the correlation's peak, 1 for equal signals, below which REC does not hold REF. Unrelated speech stays
# below 0.1; a codec at its worst stays above 0.5.
CORRELATION_MIN = 0.3

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


def find(ref, rec):
    """Where `ref` begins in `rec`, in samples: the place where it occurs best, and how well (0 to 1).

    Only places where the whole reference is inside the recording count.
    """
    if len(rec) < len(ref):
        raise NotFound(f"the recording ({len(rec) / RATE:.1f} s) is shorter than the reference ({len(ref) / RATE:.1f} s)")
    products = correlate(rec, ref, mode="valid", method="fft")
    energy = np.concatenate([[0.0], np.cumsum(rec**2)])
    window = energy[len(ref) :] - energy[: len(energy) - len(ref)]
    floor = 1e-4 * len(ref) * max(np.mean(rec**2), 1e-12)
    likeness = products / np.sqrt(np.maximum(window, floor) * max(np.sum(ref**2), 1e-12))
    at = int(np.argmax(likeness))
    return at, float(likeness[at])


def score(ref, rec):
    """PESQ-wb of the best occurrence of `ref` in `rec`, and where it begins in seconds."""
    at, likeness = find(ref, rec)
    if likeness < CORRELATION_MIN:
        raise NotFound(f"the reference does not occur in the recording (best correlation {likeness:.2f})")
    return float(pesq(RATE, ref, rec[at : at + len(ref)], "wb")), at / RATE


def parts_heard(ref, rec):
    """How many parts of `ref` occur in `rec`, and of how many; parts without speech do not count."""
    size = int(PART_S * RATE)
    parts = [ref[at : at + size] for at in range(0, len(ref) - size + 1, size)]
    spoken = [part for part in parts if np.mean(part**2) > 0.1 * np.mean(ref**2)]
    if len(rec) < size:
        return 0, len(spoken)
    return sum(find(part, rec)[1] >= PART_CORRELATION_MIN for part in spoken), len(spoken)


def main():
    parser = argparse.ArgumentParser(description="PESQ-wb of a recording against what was spoken")
    parser.add_argument("ref", help="WAV that was spoken")
    parser.add_argument("rec", help="WAV that was recorded")
    parser.add_argument("--min", type=float, default=0.0, help="lowest score that passes")
    parser.add_argument("--parts", type=float, help="judge by the least share of parts that was heard instead")
    asked = parser.parse_args()
    try:
        ref, rec = read(asked.ref), read(asked.rec)
    except OSError as error:
        print(f"pesq_score: {error}", file=sys.stderr)
        return 2
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
