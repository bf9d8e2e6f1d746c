#!/usr/bin/env python3
"""Scores how speech arrived: PESQ wide band (ITU-T P.862.2) of a recording against what was spoken.

    pesq_score.py REF REC --min 3.5        prints "PESQ-wb 4.12  delay 0.83 s"; exit 0 if the score is reached, 1 if not

REF is what was spoken, REC what was recorded, both anything libsndfile reads. A recording starts when the recorder
does and may repeat REF, so REF is looked for in it by cross-correlation first: unaligned, PESQ is without meaning.
Exit 2: REF does not occur in REC at all, or a file cannot be read.
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


def main():
    parser = argparse.ArgumentParser(description="PESQ-wb of a recording against what was spoken")
    parser.add_argument("ref", help="WAV that was spoken")
    parser.add_argument("rec", help="WAV that was recorded")
    parser.add_argument("--min", type=float, default=0.0, help="lowest score that passes")
    asked = parser.parse_args()
    try:
        got, delay = score(read(asked.ref), read(asked.rec))
    except (NotFound, OSError) as error:
        print(f"pesq_score: {error}", file=sys.stderr)
        return 2
    print(f"PESQ-wb {got:.2f}  delay {delay:.2f} s")
    if got < asked.min:
        print(f"pesq_score: {got:.2f} is below {asked.min:.2f}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
