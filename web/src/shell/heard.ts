// What was really heard over changes of path, for the tests and for bug reports: samples and concealed samples of the
// path that was played, path after path.

import type { MediaKind } from "../core/direct";
import { readStats, type LegStats, type StatsEntry } from "../core/stats";

export interface Heard {
  /** Changes of path since the page was loaded. */
  readonly switches: Readonly<Record<MediaKind, number>>;
  readonly samples: number;
  /** Made up by the jitter buffer because nothing had arrived, silence included. */
  readonly concealedSamples: number;
}

interface Count {
  readonly samples: number;
  readonly concealed: number;
}

const NOTHING: Count = { samples: 0, concealed: 0 };

export class HeardCounter {
  #switches = { audio: 0, video: 0 };
  /** Of the paths played before the present one. */
  #before: Count = NOTHING;
  /** What the present path had counted when it began to be played. */
  #base: Count = NOTHING;
  #path: RTCPeerConnection | null = null;
  /** One look after the other, in the order of the changes. */
  #looks: Promise<void> = Promise.resolve();

  /** The path that is heard from now on. */
  changed(kind: MediaKind, connection: RTCPeerConnection | null): void {
    this.#switches[kind] += 1;
    if (kind === "audio") this.hear(connection);
  }

  /** The same for the first path of a call, or one that replaces another without a switch. */
  hear(next: RTCPeerConnection | null): void {
    const path = this.#path;
    this.#path = next;
    // Both are counted now, and only then is it waited for whatever was asked before.
    const counts = Promise.all([count(path), count(next)]);
    this.#looks = this.#looks.then(async () => {
      const [old, fresh] = await counts;
      this.#before = plus(this.#before, minus(old, this.#base));
      this.#base = fresh;
    });
  }

  async now(): Promise<Heard> {
    const present = count(this.#path);
    await this.#looks;
    const { samples, concealed } = plus(this.#before, minus(await present, this.#base));
    return { switches: { ...this.#switches }, samples, concealedSamples: concealed };
  }
}

export async function statsOf(connection: RTCPeerConnection): Promise<LegStats> {
  return readStats((await connection.getStats()).values() as Iterable<StatsEntry>);
}

async function count(connection: RTCPeerConnection | null): Promise<Count> {
  if (!connection) return NOTHING;
  const report = await connection.getStats().catch(() => new Map());
  for (const entry of report.values() as Iterable<StatsEntry>) {
    if (entry["type"] !== "inbound-rtp" || entry["kind"] !== "audio") continue;
    return { samples: Number(entry["totalSamplesReceived"] ?? 0), concealed: Number(entry["concealedSamples"] ?? 0) };
  }
  return NOTHING;
}

function plus(one: Count, other: Count): Count {
  return { samples: one.samples + other.samples, concealed: one.concealed + other.concealed };
}

function minus(one: Count, other: Count): Count {
  return { samples: Math.max(0, one.samples - other.samples), concealed: Math.max(0, one.concealed - other.concealed) };
}

