// A plain account of what a leg carries, read out of a WebRTC stats report.

import type { LegTransport } from "./leg";
import type { QualitySample } from "./quality";

/** One entry of an RTCStatsReport. */
export type StatsEntry = Readonly<Record<string, unknown>>;

export interface DirectionStats {
  readonly packets: number;
  readonly bytes: number;
}

export interface LegStats {
  readonly audioIn: DirectionStats & {
    readonly lost: number;
    /** Sum over time of the squared level; it grows while something is heard. */
    readonly energy: number;
    readonly samples: number;
    readonly concealedSamples: number;
    /** Samples that were decoded and left the jitter buffer. */
    readonly emitted: number;
    readonly jitterMs: number;
  };
  readonly audioOut: DirectionStats & { readonly energy: number };
  readonly videoIn: DirectionStats & {
    readonly lost: number;
    readonly framesDecoded: number;
    readonly freezes: number;
    readonly width: number;
    readonly height: number;
  };
  readonly videoOut: DirectionStats & { readonly framesEncoded: number };
  readonly roundTripMs: number | null;
  readonly sentLoss: number | null;
  readonly sentAudioLoss: number | null;
  /** What the browser takes the way out to carry, bit/s for all that it sends; null where it does not say. */
  readonly availableOutgoingBitrate: number | null;
  /** How many different candidates of the other end this browser knows; a routed leg knows the router's only. */
  readonly remoteCandidates: number;
  /** host, srflx, prflx or relay, of the pair in use; "" before there is one. */
  readonly remoteCandidateType: string;
  /** What the packets go over; "" before a pair is chosen. */
  readonly transport: LegTransport | "";
  readonly remoteAddress: string;
}

export function readStats(entries: Iterable<StatsEntry>): LegStats {
  const all = [...entries];
  const one = (type: string, kind: string): StatsEntry =>
    all.find((entry) => entry["type"] === type && entry["kind"] === kind) ?? {};
  const audioIn = one("inbound-rtp", "audio");
  const audioOut = one("outbound-rtp", "audio");
  const videoIn = one("inbound-rtp", "video");
  // One for each size that the picture is sent in.
  const videoOut = all.filter((entry) => entry["type"] === "outbound-rtp" && entry["kind"] === "video");
  const source = one("media-source", "audio");
  const echoes = all.filter((entry) => entry["type"] === "remote-inbound-rtp");
  const pair = usedPair(all);
  const remote = all.filter((entry) => entry["type"] === "remote-candidate");
  const used = remote.find((entry) => entry["id"] === pair?.["remoteCandidateId"]);
  const local = all.find((entry) => entry["id"] === pair?.["localCandidateId"]);
  return {
    audioIn: {
      packets: num(audioIn, "packetsReceived"),
      bytes: num(audioIn, "bytesReceived"),
      lost: num(audioIn, "packetsLost"),
      energy: num(audioIn, "totalAudioEnergy"),
      samples: num(audioIn, "totalSamplesReceived"),
      concealedSamples: num(audioIn, "concealedSamples") - num(audioIn, "silentConcealedSamples"),
      emitted: num(audioIn, "jitterBufferEmittedCount"),
      jitterMs: num(audioIn, "jitter") * 1000,
    },
    audioOut: {
      packets: num(audioOut, "packetsSent"),
      bytes: num(audioOut, "bytesSent"),
      energy: num(source, "totalAudioEnergy"),
    },
    videoIn: {
      packets: num(videoIn, "packetsReceived"),
      bytes: num(videoIn, "bytesReceived"),
      lost: num(videoIn, "packetsLost"),
      framesDecoded: num(videoIn, "framesDecoded"),
      freezes: num(videoIn, "freezeCount"),
      width: num(videoIn, "frameWidth"),
      height: num(videoIn, "frameHeight"),
    },
    videoOut: {
      packets: sum(videoOut, "packetsSent"),
      bytes: sum(videoOut, "bytesSent"),
      framesEncoded: sum(videoOut, "framesEncoded"),
    },
    roundTripMs: toMs(pair?.["currentRoundTripTime"]) ?? toMs(echoes[0]?.["roundTripTime"]),
    sentLoss: worst(echoes.map((entry) => entry["fractionLost"])),
    sentAudioLoss: worst(echoes.filter((entry) => entry["kind"] === "audio").map((entry) => entry["fractionLost"])),
    availableOutgoingBitrate: numberOrNull(pair?.["availableOutgoingBitrate"]),
    remoteCandidates: new Set(remote.map((entry) => `${text(entry, "address")}:${num(entry, "port")}`)).size,
    remoteCandidateType: text(used, "candidateType"),
    transport: transportOf(local),
    remoteAddress: text(used, "address"),
  };
}

export function toSample(stats: LegStats, atMs: number): QualitySample {
  return {
    atMs,
    packetsReceived: stats.audioIn.packets + stats.videoIn.packets,
    packetsLost: stats.audioIn.lost + stats.videoIn.lost,
    samplesReceived: stats.audioIn.samples,
    samplesConcealed: stats.audioIn.concealedSamples,
    jitterMs: stats.audioIn.jitterMs,
    roundTripMs: stats.roundTripMs,
    framesDecoded: stats.videoIn.framesDecoded,
    freezes: stats.videoIn.freezes,
    sentLoss: stats.sentLoss,
  };
}

/** What leaves this device. Of a relay's candidate, `protocol` is what goes on from the relay to the router. */
function transportOf(local: StatsEntry | undefined): LegTransport | "" {
  if (text(local, "relayProtocol") === "tls" || text(local, "candidateType") === "relay") return "tls";
  const protocol = text(local, "protocol");
  return protocol === "udp" || protocol === "tcp" ? protocol : "";
}

function usedPair(all: readonly StatsEntry[]): StatsEntry | undefined {
  const chosen = all.find((entry) => entry["type"] === "transport")?.["selectedCandidatePairId"];
  const pairs = all.filter((entry) => entry["type"] === "candidate-pair");
  return pairs.find((pair) => (chosen ? pair["id"] === chosen : pair["nominated"] === true && pair["state"] === "succeeded"));
}

function num(entry: StatsEntry | undefined, key: string): number {
  const value = entry?.[key];
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

function sum(entries: readonly StatsEntry[], key: string): number {
  return entries.reduce((total, entry) => total + num(entry, key), 0);
}

function text(entry: StatsEntry | undefined, key: string): string {
  const value = entry?.[key];
  return typeof value === "string" ? value : "";
}

function numberOrNull(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function toMs(seconds: unknown): number | null {
  const known = numberOrNull(seconds);
  return known === null ? null : known * 1000;
}

function worst(values: readonly unknown[]): number | null {
  const numbers = values.filter((value): value is number => typeof value === "number" && Number.isFinite(value));
  return numbers.length > 0 ? Math.max(...numbers) : null;
}
