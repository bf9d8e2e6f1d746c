import { describe, expect, it } from "vitest";
import { Code, ConnectError } from "@connectrpc/connect";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { backoffMs } from "../src/core/backoff";
import { gradeBetween, QualityWindow, type QualitySample } from "../src/core/quality";
import { agreedToRepeat, asAnswer, CLEAN_MS, LOSSY_FROM, NO_REDUNDANCY, repeatingSound, soundOrdered, stepRedundancy } from "../src/core/redundancy";
import { handleIn, matchContacts } from "../src/core/search";
import { readStats } from "../src/core/stats";
import { readToken, tokenFromFragment, tokenFromPaste } from "../src/core/token";
import { CallSchema, CallState, EndReason, Role } from "../src/gen/duocast/v1/call_pb";
import { ErrorInfoSchema } from "../src/gen/google/rpc/error_details_pb";
import { toCall, toFailure } from "../src/shell/wire";
import { clock, endedText, explain, spoken } from "../src/text";
import { ANN, refusal } from "./make";
import { reportingWhenAsked } from "../src/core/reports";
import { neededForAll, pausedIn, sizesOf } from "../src/core/sizes";

function token(claims: object): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "EdDSA" })}.${part(claims)}.sig`;
}

describe("a token", () => {
  it("tells handle, name and expiry", () => {
    expect(readToken(token({ handle: "zoe", name: "Zoë 李", exp: 10 }))).toEqual({ handle: "zoe", name: "Zoë 李", expiresAt: 10_000 });
    expect(readToken(token({ handle: "zoe" }))).toEqual({ handle: "zoe", name: "zoe", expiresAt: null });
  });

  it("is nothing else", () => {
    for (const bad of ["", "a.b", "a.b.c", "a.%%.c", token({}), token({ handle: 3 }), `${token({ handle: "zoe" })}.x`]) {
      expect(readToken(bad), bad).toBeNull();
    }
  });

  it("is found in a link and in what was pasted", () => {
    const good = token({ handle: "zoe" });
    expect(tokenFromFragment(`#token=${good}`)).toBe(good);
    expect(tokenFromFragment("#other=1")).toBeNull();
    expect(tokenFromPaste(`  http://localhost:8080/#token=${good}\n`)).toBe(good);
    expect(tokenFromPaste(good)).toBe(good);
    expect(tokenFromPaste("hello")).toBeNull();
  });
});

describe("the backoff", () => {
  it("doubles up to its bound and keeps at least half", () => {
    const backoff = { firstMs: 100, maxMs: 1_000 };
    expect([0, 1, 2, 3, 4, 99].map((attempt) => backoffMs(backoff, attempt, 0))).toEqual([50, 100, 200, 400, 500, 500]);
    expect(backoffMs(backoff, 0, 0.999)).toBe(100);
  });
});

describe("the quality", () => {
  const start: QualitySample = {
    atMs: 0,
    packetsReceived: 0,
    packetsLost: 0,
    samplesReceived: 0,
    samplesConcealed: 0,
    jitterMs: 5,
    roundTripMs: 40,
    framesDecoded: 0,
    freezes: 0,
    sentLoss: 0,
  };
  const later = (more: Partial<QualitySample>): QualitySample => ({ ...start, packetsReceived: 100, samplesReceived: 48_000, ...more });

  it("is good when all arrives in time", () => {
    expect(gradeBetween(start, later({}))).toMatchObject({ grade: "good", cause: null });
  });

  it("names what is worst", () => {
    expect(gradeBetween(start, later({ packetsLost: 4 }))).toMatchObject({ grade: "fair", cause: "loss" });
    expect(gradeBetween(start, later({ packetsLost: 20 }))).toMatchObject({ grade: "poor", cause: "loss" });
    expect(gradeBetween(start, later({ roundTripMs: 600 }))).toMatchObject({ grade: "poor", cause: "delay" });
    expect(gradeBetween(start, later({ jitterMs: 60 }))).toMatchObject({ grade: "fair", cause: "jitter" });
    expect(gradeBetween(start, later({ samplesConcealed: 24_000 }))).toMatchObject({ grade: "poor", cause: "gaps", concealedPercent: 50 });
    expect(gradeBetween(start, later({ sentLoss: 0.1 }))).toMatchObject({ grade: "poor", cause: "upload_loss" });
  });

  it("is unknown when nothing arrives, which is not the same as good", () => {
    expect(gradeBetween(start, { ...start })).toMatchObject({ grade: "unknown", cause: "silence" });
  });

  it("forgets old trouble once its window has passed", () => {
    const window = new QualityWindow();
    const grades = [0, 1, 2, 3, 4, 5, 6].map((second) =>
      window.add(later({ packetsReceived: second * 50, packetsLost: second > 0 ? 30 : 0, samplesReceived: second * 48_000 })).grade,
    );
    expect(grades).toEqual(["unknown", "poor", "poor", "poor", "poor", "good", "good"]);
  });
});

describe("the stats", () => {
  it("tell what came, and from whom", () => {
    const stats = readStats([
      { type: "inbound-rtp", kind: "audio", packetsReceived: 50, totalAudioEnergy: 0.2, concealedSamples: 100, silentConcealedSamples: 40, jitter: 0.004 },
      { type: "inbound-rtp", kind: "video", framesDecoded: 30 },
      { type: "transport", selectedCandidatePairId: "p1" },
      { type: "candidate-pair", id: "p0", remoteCandidateId: "r0", currentRoundTripTime: 9, availableOutgoingBitrate: 1 },
      { type: "candidate-pair", id: "p1", remoteCandidateId: "r1", currentRoundTripTime: 0.02, availableOutgoingBitrate: 500_000 },
      { type: "remote-candidate", id: "r1", candidateType: "host", address: "203.0.113.5", port: 7 },
      { type: "remote-inbound-rtp", fractionLost: 0.5 },
    ]);
    expect(stats.audioIn).toMatchObject({ packets: 50, energy: 0.2, concealedSamples: 60, jitterMs: 4 });
    expect(stats.videoIn.framesDecoded).toBe(30);
    expect(stats).toMatchObject({ availableOutgoingBitrate: 500_000, roundTripMs: 20, sentLoss: 0.5, remoteCandidates: 1, remoteCandidateType: "host", remoteAddress: "203.0.113.5" });
  });

  it("are zero for an empty report", () => {
    expect(readStats([])).toMatchObject({ availableOutgoingBitrate: null, roundTripMs: null, remoteCandidates: 0, remoteCandidateType: "", audioIn: { packets: 0 } });
  });
});

describe("the search", () => {
  const contacts = ["Ann Müller", "Bob", "Annika"].map((name, index) => ({
    person: { handle: `h${index}.x`, name },
    online: index === 2,
  }));

  it("finds by the start of any word, without accents, online first", () => {
    expect(matchContacts(contacts, "ann").map((one) => one.person.name)).toEqual(["Annika", "Ann Müller"]);
    expect(matchContacts(contacts, "muller ann").map((one) => one.person.name)).toEqual(["Ann Müller"]);
    expect(matchContacts(contacts, "@h1").map((one) => one.person.name)).toEqual(["Bob"]);
  });

  it("knows what can be a handle", () => {
    expect(handleIn(" @Bob ")).toBe("bob");
    expect(handleIn("bob smith")).toBeNull();
    expect(handleIn("")).toBeNull();
  });
});

describe("the wire", () => {
  it("becomes a call", () => {
    const wire = create(CallSchema, {
      callId: "c1",
      revision: 7n,
      state: CallState.ENDED,
      endReason: EndReason.PARTY_LOST,
      role: Role.CALLEE,
      peer: { handle: "ann" },
      acceptedAt: timestampFromMs(5_000),
      onThisDevice: true,
      withoutPictures: true,
    });
    expect(toCall(wire)).toMatchObject({ id: "c1", revision: 7, state: "ended", endReason: "party_lost", role: "callee", peer: { name: "ann" }, acceptedAt: 5_000, liveAt: null, withoutPictures: true });
  });

  it("tells a refusal with its reason from a server that cannot be reached", () => {
    const detail = { desc: ErrorInfoSchema, value: { reason: "CALLEE_OFFLINE", domain: "duocast.dev" } };
    const refused = new ConnectError("Try later.", Code.FailedPrecondition, undefined, [detail]);
    expect(toFailure(refused)).toEqual({ kind: "refused", reason: "CALLEE_OFFLINE", message: "Try later." });
    expect(toFailure(new TypeError("Failed to fetch")).kind).toBe("unreachable");
    expect(toFailure(new ConnectError("", Code.Unauthenticated)).kind).toBe("signed_out");
  });

  it("does not take another domain's reason for ours", () => {
    const detail = { desc: ErrorInfoSchema, value: { reason: "CALLEE_OFFLINE", domain: "example.org" } };
    expect(toFailure(new ConnectError("", Code.NotFound, undefined, [detail])).reason).toBe("");
  });
});

describe("the words", () => {
  it("tell time on a clock and in a sentence", () => {
    expect([7_000, 754_000, 3_723_000].map(clock)).toEqual(["0:07", "12:34", "1:02:03"]);
    expect([300, 61_000, 3_723_000].map(spoken)).toEqual(["less than a second", "1 minute 1 second", "1 hour 2 minutes"]);
  });

  it("say what to do about every refusal, known or not", () => {
    expect(explain(refusal("CALLEE_OFFLINE"), "Ann").title).toBe("Ann is not reachable");
    expect(explain(refusal("SOMETHING_NEW"), "Ann").hint).toBe("No.");
  });

  it("tell both ends of an unanswered call apart", () => {
    const ended = { peer: ANN, video: false, durationMs: null, ending: { type: "ended", reason: "timed_out", byMe: false } } as const;
    expect(endedText({ ...ended, role: "caller" }).title).toBe("Ann did not answer");
    expect(endedText({ ...ended, role: "callee" }).title).toBe("Missed call");
  });
});

describe("redundant sound", () => {
  const described = (sound: string, more = "a=rtpmap:63 red/48000/2\r\n"): string =>
    `v=0\r\n${sound}\r\na=rtpmap:111 opus/48000/2\r\n${more}m=video 9 UDP/TLS/RTP/SAVPF 96 118\r\na=rtpmap:118 red/90000\r\n`;

  it("goes first in a description, or last, and pictures stay as they are", () => {
    const [plain, redundant] = ["111 63 9 0", "63 111 9 0"].map((types) => described(`m=audio 9 UDP/TLS/RTP/SAVPF ${types}`)) as [string, string];
    expect(soundOrdered(plain, true, false)).toBe(redundant);
    expect(soundOrdered(redundant, true, false)).toBe(redundant);
    expect(soundOrdered(redundant, false, false)).toBe(plain);
    const alone = described("m=audio 9 UDP/TLS/RTP/SAVPF 111 9 0", "");
    expect(soundOrdered(alone, true, false)).toBe(alone);
    expect(soundOrdered("", true, false)).toBe("");
  });

  it("goes without Opus's own repetitions to one who asks for what is lost, and with them to others", () => {
    const answer = (fec: number): string => described("m=audio 9 UDP/TLS/RTP/SAVPF 111 63", `a=rtpmap:63 red/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=${fec}\r\n`);
    const redundant = (fec: number): string => answer(fec).replace("111 63", "63 111");
    expect(soundOrdered(answer(1), true, true)).toBe(redundant(0));
    expect(soundOrdered(redundant(0), false, true)).toBe(answer(1));
    expect(soundOrdered(answer(1), true, false)).toBe(redundant(1));
  });

  it("is offered with what was lost to be sent again, and the browser is not told of the yes", () => {
    const offer = described("m=audio 9 UDP/TLS/RTP/SAVPF 111 63");
    const asking = offer.replace("opus/48000/2\r\n", "opus/48000/2\r\na=rtcp-fb:111 nack\r\n");
    expect(repeatingSound(offer)).toBe(asking);
    expect(agreedToRepeat(asking)).toEqual({ sdp: offer, repeats: true });
    expect(agreedToRepeat(offer)).toEqual({ sdp: offer, repeats: false });
    expect([repeatingSound(""), agreedToRepeat("").repeats]).toEqual(["", false]);
  });

  it("is agreed on without the other end: its offer becomes an answer", () => {
    expect(asAnswer("m=audio\r\na=setup:actpass\r\n")).toBe("m=audio\r\na=setup:passive\r\n");
    expect(asAnswer("m=audio\r\na=setup:active\r\n")).toBe("m=audio\r\na=setup:active\r\n");
  });

  const after = (...losses: (number | null)[]): boolean => {
    const end = losses.reduce((state, loss, second) => stepRedundancy(state, loss, second * 1000), NO_REDUNDANCY);
    return end.on;
  };
  const clean = (seconds: number): number[] => Array.from({ length: seconds }, () => 0);

  it("begins when packets get lost, and not before anything is known", () => {
    expect(after(null, null)).toBe(false);
    expect(after(0, LOSSY_FROM - 0.001)).toBe(false);
    expect(after(0, LOSSY_FROM)).toBe(true);
    expect(after(LOSSY_FROM, null)).toBe(true);
  });

  it("ends when next to nothing was lost for a while", () => {
    const seconds = CLEAN_MS / 1000;
    expect(after(0.1, ...clean(seconds))).toBe(true);
    expect(after(0.1, ...clean(seconds + 1))).toBe(false);
    expect(after(0.1, ...clean(seconds - 1), 0.015, ...clean(seconds))).toBe(true);
  });
});

describe("reports that are asked for", () => {
  const numbers = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
  const request = "http://www.webrtc.org/experiments/rtp-hdrext/transport-wide-cc-02";
  const offered = (...ids: number[]): string => `m=audio\r\n${ids.map((id) => `a=extmap:${id} urn:other\r\n`).join("")}a=extmap:3 ${numbers}\r\nm=video\r\na=extmap:3 ${numbers}\r\n`;

  it("are offered with the numbers that they speak of, in each line under the same free number", () => {
    const asked = reportingWhenAsked(offered(1, 2, 5));
    expect(asked).toBe(offered(1, 2, 5).replaceAll(`${numbers}\r\n`, `${numbers}\r\na=extmap:4 ${request}\r\n`));
    expect(reportingWhenAsked(asked), "once").toBe(asked);
  });

  it("take the number of what is of no use here where all are taken", () => {
    const timing = "a=extmap:7 http://www.webrtc.org/experiments/rtp-hdrext/video-timing\r\n";
    const full = offered(1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14);
    const asked = full.replaceAll(`${numbers}\r\n`, `${numbers}\r\na=extmap:7 ${request}\r\n`);
    expect(reportingWhenAsked(full + timing)).toBe(asked);
    expect(reportingWhenAsked(offered(1) + timing), "not if there is one").toContain(timing);
  });

  it("take no number that has a meaning already", () => {
    const encrypted = "a=extmap:4 urn:ietf:params:rtp-hdrext:encrypt urn:other\r\na=extmap:6/recvonly urn:more with attributes\r\n";
    expect(reportingWhenAsked(encrypted + offered(1, 2, 5))).toContain(`a=extmap:7 ${request}`);
    const before = reportingWhenAsked(offered(1, 2, 5));
    expect(reportingWhenAsked(offered(1, 2), before), "as before").toContain(`a=extmap:4 ${request}`);
    expect(reportingWhenAsked(offered(1, 2, 4), before), "another has it").not.toContain(request);
    const timing = "a=extmap:4 http://www.webrtc.org/experiments/rtp-hdrext/video-timing\r\n";
    expect(reportingWhenAsked(timing + offered(1, 2), before)).toBe(reportingWhenAsked(offered(1, 2), before));
  });

  it("are not where there are no numbers, or none is free for them", () => {
    for (const sdp of ["", "m=audio\r\na=extmap:1 urn:other\r\n", offered(1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)]) {
      expect(reportingWhenAsked(sdp)).toBe(sdp);
    }
  });
});

describe("the sizes of a picture", () => {
  it("are as many as Chromium sends of it, and the largest is the whole picture", () => {
    for (const [width, height, count] of [[1280, 720, 3], [960, 540, 3], [640, 480, 1], [640, 360, 1], [320, 180, 1]] as const) {
      const active = sizesOf(width * height).filter((size) => size.active);
      expect(active).toHaveLength(count);
      expect(active.at(-1)?.scaleResolutionDownBy).toBe(1);
      expect(active.map((size) => size.maxBitrate)).toEqual(active.map((size) => size.maxBitrate).sort((a, b) => a - b));
    }
  });

  it("are the largest alone where one is to do", () => {
    for (const [width, height] of [[1280, 720], [640, 360], [320, 180]] as const) {
      const all = sizesOf(width * height);
      const alone = sizesOf(width * height, "one").filter((size) => size.active);
      // It has no layers in time: there is nothing to leave out where the encoder follows the way.
      expect(alone).toEqual(all.filter((size) => size.active).slice(-1).map((size) => ({ ...size, scalabilityMode: "L1T1" })));
    }
  });

  it("stay switched off in an answer that knows nothing of it", () => {
    const answer = (sizes: string): string => `a=rid:q recv\r\na=simulcast:recv ${sizes}\r\na=rtcp-mux\r\n`;
    expect(pausedIn(answer("q;h;f"), ["q", "h"])).toBe(answer("~q;~h;f"));
    expect(pausedIn(answer("~q;~h;f"), ["f"])).toBe(answer("q;h;~f"));
    expect(pausedIn(answer("q;h"), [])).toBe(answer("q;h"));
    expect(pausedIn("a=rtcp-mux\r\n", ["q"])).toBe("a=rtcp-mux\r\n");
  });

  it("need more of the way than one, which a small picture has alone", () => {
    expect([1280 * 720, 640 * 360, 320 * 180, 0].map(neededForAll)).toEqual([1_050_000, null, null, null]);
  });
});
