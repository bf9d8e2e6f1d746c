// How good the connection is, in one word and with the reason, from what WebRTC counts.

/** Counters of one moment; all but the round-trip time and the jitter only grow. */
export interface QualitySample {
  readonly atMs: number;
  readonly packetsReceived: number;
  readonly packetsLost: number;
  readonly samplesReceived: number;
  readonly samplesConcealed: number;
  readonly jitterMs: number;
  /** Null where it was not measured yet. */
  readonly roundTripMs: number | null;
  readonly framesDecoded: number;
  readonly freezes: number;
  /** What the router reports of our packets, 0 to 1. */
  readonly sentLoss: number | null;
}

export type Grade = "unknown" | "good" | "fair" | "poor";

export type Cause = "loss" | "delay" | "jitter" | "gaps" | "freezes" | "upload_loss" | "silence";

export interface Quality {
  readonly grade: Grade;
  /** What is worst, null when all is well. */
  readonly cause: Cause | null;
  readonly lossPercent: number;
  readonly roundTripMs: number | null;
  readonly jitterMs: number;
  readonly concealedPercent: number;
}

export const UNKNOWN_QUALITY: Quality = {
  grade: "unknown",
  cause: null,
  lossPercent: 0,
  roundTripMs: null,
  jitterMs: 0,
  concealedPercent: 0,
};

/** From which value on a thing is fair or poor, in the order in which ties are told. */
const LIMITS: readonly { readonly cause: Cause; readonly fair: number; readonly poor: number }[] = [
  { cause: "gaps", fair: 3, poor: 10 },
  { cause: "loss", fair: 2, poor: 8 },
  { cause: "upload_loss", fair: 2, poor: 8 },
  { cause: "delay", fair: 250, poor: 500 },
  { cause: "jitter", fair: 40, poor: 100 },
  { cause: "freezes", fair: 1, poor: 3 },
];

/** Grades the time between two samples; `now` is the later one. */
export function gradeBetween(before: QualitySample, now: QualitySample): Quality {
  const received = Math.max(0, now.packetsReceived - before.packetsReceived);
  const lost = Math.max(0, now.packetsLost - before.packetsLost);
  const lossPercent = percent(lost, received + lost);
  const concealedPercent = percent(
    Math.max(0, now.samplesConcealed - before.samplesConcealed),
    Math.max(0, now.samplesReceived - before.samplesReceived),
  );
  const numbers = { lossPercent, roundTripMs: now.roundTripMs, jitterMs: now.jitterMs, concealedPercent };
  if (received === 0) return { grade: "unknown", cause: "silence", ...numbers, concealedPercent: 0 };
  const values: Record<Cause, number> = {
    loss: lossPercent,
    delay: now.roundTripMs ?? 0,
    jitter: now.jitterMs,
    gaps: concealedPercent,
    freezes: Math.max(0, now.freezes - before.freezes),
    upload_loss: (now.sentLoss ?? 0) * 100,
    silence: 0,
  };
  const poor = LIMITS.find((limit) => values[limit.cause] >= limit.poor);
  if (poor) return { grade: "poor", cause: poor.cause, ...numbers };
  const fair = LIMITS.find((limit) => values[limit.cause] >= limit.fair);
  if (fair) return { grade: "fair", cause: fair.cause, ...numbers };
  return { grade: "good", cause: null, ...numbers };
}

function percent(part: number, whole: number): number {
  return whole > 0 ? (part / whole) * 100 : 0;
}

/** Samples over which a grade is taken, one a second. More is calmer, fewer tells sooner. */
export const WINDOW = 4;

/** The last few samples of one leg; a new leg starts a new window. */
export class QualityWindow {
  #samples: QualitySample[] = [];

  /** Takes the next sample and gives the grade over the window. */
  add(sample: QualitySample): Quality {
    this.#samples = [...this.#samples, sample].slice(-(WINDOW + 1));
    const first = this.#samples[0];
    return first && this.#samples.length > 1 ? gradeBetween(first, sample) : UNKNOWN_QUALITY;
  }

  reset(): void {
    this.#samples = [];
  }
}
