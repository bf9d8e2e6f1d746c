// States of the client that are worth a look, by name.

import { NO_CALLS, type CallsState, type Ended } from "../src/core/call";
import type { Call, Contact, Person } from "../src/core/model";
import { NO_PRIVACY, type Decision, type PrivacySettings, type PrivacyState } from "../src/core/privacy";
import { UNKNOWN_QUALITY } from "../src/core/quality";
import type { ViewState } from "../src/core/view";

const ANN: Person = { handle: "ann.lindqvist", name: "Ann Lindqvist" };
const BOB: Person = { handle: "bob", name: "Bob" };
const PEOPLE: Person[] = [
  ANN,
  BOB,
  { handle: "chidi", name: "Chidi Okafor" },
  { handle: "dmwright", name: "Dana Wright" },
  { handle: "elif", name: "Elif Yıldız" },
  { handle: "fatou.s", name: "Fatou Sarr" },
  { handle: "goran_petrovic", name: "Goran Petrović" },
];

const NOW = Date.now();
const MINUTE = 60_000;

const CALL: Call = {
  id: "call-1",
  revision: 4,
  state: "live",
  endReason: null,
  role: "caller",
  peer: ANN,
  video: true,
  createdAt: NOW - 3 * MINUTE,
  acceptedAt: NOW - 154_000,
  liveAt: NOW - 153_000,
  endedAt: null,
  own: { audio: true, video: true },
  peerMedia: { audio: true, video: true },
  peerConnected: true,
  onThisDevice: true,
  legWanted: false,
  withoutPictures: false,
  direct: { phase: "routed", attempt: 0, offerer: true, own: "not_given", peer: "not_given", lastEnd: "none" },
  ownExposure: null,
};

const contacts: Contact[] = PEOPLE.map((person, index) => ({ person, online: index % 3 !== 2 }));

function past(id: string, peer: Person, minutesAgo: number, more: Partial<Call>): Call {
  const createdAt = NOW - minutesAgo * MINUTE;
  return { ...CALL, id, peer, state: "ended", endReason: "hung_up", createdAt, acceptedAt: null, liveAt: null, endedAt: createdAt + 20_000, ...more };
}

const recents: Call[] = [
  past("r1", ANN, 12, { role: "callee", endReason: "timed_out" }),
  past("r2", BOB, 95, { acceptedAt: NOW - 95 * MINUTE, endedAt: NOW - 81 * MINUTE, ownExposure: { since: NOW - 93 * MINUTE } }),
  past("r3", PEOPLE[4]!, 60 * 26, { role: "callee", acceptedAt: NOW - 1560 * MINUTE, endedAt: NOW - 1488 * MINUTE }),
  past("r4", PEOPLE[2]!, 60 * 30, { endReason: "declined" }),
  past("r5", ANN, 60 * 200, { endReason: "busy" }),
];

const SAVED: PrivacySettings = { calling: true, audience: ["mutuals"], strangers: "request", enhanced: true, direct: "never", requireE2ee: false };

const decision = (outcome: Decision["outcome"], reason: string, sentence: string): Decision => ({ outcome, reason, sentence, ownDirect: "never" });
const MUTUAL = decision("allow", "MUTUALS", "you follow each other, and you let mutual contacts call");
const FOLLOWED = decision("allow", "FOLLOWING", "you follow them, and you let people whom you follow call");
const FRESH = decision("request", "REQUEST_NEEDED", "they cannot ring you; they can send you a call request");
const NEEDED = decision("request", "REQUEST_NEEDED", "this person's own settings do not let you ring them: send a call request");

const STRANGER: Person = { handle: "hana", name: "Hana Sato" };
const DAY = 24 * 3600_000;

const PRIVACY: PrivacyState = {
  ...NO_PRIVACY,
  saved: SAVED,
  decided: true,
  lists: {
    callers: [
      { person: ANN, decision: MUTUAL },
      { person: BOB, decision: decision("allow", "GRANT", "you gave them permission to call: revoke it to end that") },
      { person: PEOPLE[2]!, decision: MUTUAL },
    ],
    everyone: false,
    grants: [{ person: BOB, createdAt: NOW - DAY, expiresAt: NOW + 29 * DAY, fromRequest: true }],
    blocks: [{ person: PEOPLE[6]!, since: NOW - 40 * DAY }],
  },
  requests: {
    incoming: [
      { person: STRANGER, incoming: true, state: "sent", createdAt: NOW - 40 * MINUTE },
      { person: PEOPLE[5]!, incoming: true, state: "sent", createdAt: NOW - DAY },
    ],
    outgoing: [{ person: PEOPLE[4]!, incoming: false, state: "sent", createdAt: NOW - 2 * DAY }],
  },
  standings: {
    [ANN.handle]: { person: ANN, outgoing: MUTUAL, incoming: MUTUAL },
    hana: { person: STRANGER, outgoing: NEEDED, incoming: FRESH },
  },
};

const EDITED: PrivacyState = {
  ...PRIVACY,
  draft: { audience: ["mutuals", "following"], strangers: "deny" },
  preview: {
    changes: [
      { person: PEOPLE[3]!, before: FRESH, after: FOLLOWED },
      { person: PEOPLE[4]!, before: FRESH, after: FOLLOWED },
      { person: PEOPLE[5]!, before: FRESH, after: FOLLOWED },
    ],
    changed: 3,
    callersBefore: 3,
    callersAfter: 6,
    strangerBefore: FRESH,
    strangerAfter: decision("deny", "OUTSIDE_AUDIENCE", "they are not among the people whom you let call, and you turn others away"),
  },
};

const OPEN: PrivacyState = { ...PRIVACY, draft: { enhanced: false, direct: "ask" }, preview: { ...EDITED.preview!, changes: [], changed: 0, callersAfter: 3, strangerAfter: FRESH } };

/** A call with this state of its direct connection. */
function direct(state: Partial<NonNullable<Call["direct"]>>, seen: number | null = null): Partial<Call> {
  return { direct: { ...CALL.direct!, own: "given", peer: "given", ...state }, ownExposure: seen === null ? null : { since: seen } };
}

const BASE: ViewState = {
  signIn: { type: "in", me: { handle: "sofia", name: "Sofia Marin" } },
  connection: { name: "open" },
  everConnected: true,
  failedTries: 0,
  refusal: "",
  contacts,
  recents,
  listsFailed: null,
  calls: NO_CALLS,
  leg: "none",
  legFailure: null,
  mic: "off",
  cam: "off",
  substitutes: { mic: null, cam: null },
  devices: {
    mics: [{ id: "m1", label: "Built-in microphone" }, { id: "m2", label: "Headset" }],
    cams: [{ id: "c1", label: "Front camera" }],
    speakers: [{ id: "s1", label: "Built-in speakers" }],
  },
  settings: { micId: "", camId: "", speakerId: "", shortcuts: true },
  quality: UNKNOWN_QUALITY,
  soundBlocked: false,
  notices: [],
  dialog: null,
  testingCam: false,
  selfVideo: null,
  remotePictures: [],
  remoteStill: null,
  page: "home",
  privacy: PRIVACY,
  directWish: null,
  directFailure: null,
  serverAheadMs: 0,
  notifications: "default",
};

function calls(call: Partial<Call>, more: Partial<CallsState> = {}): CallsState {
  const one = { ...CALL, ...call };
  return { ...NO_CALLS, calls: [one], want: { mic: true, cam: one.own.video, callId: one.id }, sending: one.own, ...more };
}

const GOOD = { grade: "good", cause: null, lossPercent: 0.1, roundTripMs: 38, jitterMs: 6, concealedPercent: 0.2 } as const;
const POOR = { grade: "poor", cause: "loss", lossPercent: 11.4, roundTripMs: 212, jitterMs: 48, concealedPercent: 9.1 } as const;

/** A picture that stands in for a camera. */
function scene(ground: string, skin: string, hair: string): MediaStream {
  const canvas = document.createElement("canvas");
  canvas.width = 1280;
  canvas.height = 720;
  const pen = canvas.getContext("2d")!;
  const sky = pen.createLinearGradient(0, 0, 1280, 720);
  sky.addColorStop(0, ground);
  sky.addColorStop(1, "#20262a");
  const ball = (color: string, x: number, y: number, rx: number, ry: number): void => {
    pen.fillStyle = color;
    pen.beginPath();
    pen.ellipse(x, y, rx, ry, 0, 0, 7);
    pen.fill();
  };
  const paint = (): void => {
    pen.fillStyle = sky;
    pen.fillRect(0, 0, 1280, 720);
    pen.fillStyle = "rgb(255 255 255 / 10%)";
    pen.fillRect(90, 70, 260, 330);
    ball("#3d5566", 640, 800, 330, 330);
    ball(hair, 640, 300, 165, 190);
    ball(skin, 640, 335, 130, 165);
  };
  paint();
  setInterval(paint, 200);
  return canvas.captureStream(10);
}

const ann = (): MediaStream => scene("#8fa6a0", "#d9a981", "#4a3226");
const me = (): MediaStream => scene("#b79f83", "#a9765a", "#1d1a1a");

function live(call: Partial<Call>, more: Partial<ViewState> = {}): ViewState {
  return { ...BASE, calls: calls(call), leg: "connected", mic: "on", cam: "on", quality: GOOD, ...more };
}

const audio = { video: false, own: { audio: true, video: false }, peerMedia: { audio: true, video: false } };

function ended(more: Partial<Ended>): ViewState {
  const over: Ended = {
    peer: ANN,
    video: true,
    role: "caller",
    durationMs: null,
    ending: { type: "ended", reason: "declined", byMe: false },
    ...more,
  };
  return { ...BASE, calls: { ...NO_CALLS, ended: over } };
}

const ringing: Partial<Call> = { role: "callee", state: "ringing", acceptedAt: null, liveAt: null, onThisDevice: false };

export const FIXTURES: Readonly<Record<string, () => ViewState>> = {
  "signin": () => ({ ...BASE, signIn: { type: "none" } }),
  "signin-expired": () => ({ ...BASE, signIn: { type: "expired" } }),
  "signin-rejected": () => ({ ...BASE, signIn: { type: "rejected" } }),
  "taken-over": () => ({ ...BASE, connection: { name: "stopped", why: "taken_over" } }),
  "home": () => BASE,
  "home-loading": () => ({ ...BASE, contacts: null, recents: null, everConnected: false, connection: { name: "connecting" } }),
  "home-empty": () => ({ ...BASE, contacts: [], recents: [], privacy: { ...PRIVACY, saved: { ...SAVED, calling: false } } }),
  "home-offline": () => ({ ...BASE, connection: { name: "waiting" }, failedTries: 3 }),
  "home-notices": () => ({
    ...BASE,
    notices: [
      { id: 1, about: { type: "missed", peer: ANN } },
      { id: 2, about: { type: "answered_elsewhere", peer: BOB } },
    ],
  }),
  "incoming-audio": () => ({ ...BASE, calls: calls({ ...ringing, ...audio }) }),
  "incoming-video": () => ({ ...BASE, calls: calls(ringing) }),
  "outgoing-audio": () => ({
    ...BASE,
    calls: calls({ ...audio, state: "ringing", acceptedAt: null, liveAt: null }),
    leg: "connected",
    mic: "on",
  }),
  "outgoing-video": () => ({
    ...BASE,
    calls: calls({ state: "ringing", acceptedAt: null, liveAt: null }),
    leg: "connected",
    mic: "on",
    cam: "on",
    selfVideo: me(),
  }),
  "call-connecting": () => live({ ...audio, state: "accepted", liveAt: null }, { leg: "connecting", quality: UNKNOWN_QUALITY }),
  "call-audio": () => live(audio),
  "call-video": () => live({}, { selfVideo: me(), remotePictures: [{ path: "routed", stream: ann(), shown: true, drawn: () => undefined }] }),
  "call-substitute": () => live(audio, { substitutes: { mic: "Built-in Audio Analog Stereo", cam: null } }),
  "call-peer-off": () =>
    live({ peerMedia: { audio: false, video: false } }, { selfVideo: me(), calls: calls({ peerMedia: { audio: false, video: false } }) }),
  "call-muted": () => live(audio, { calls: calls(audio, { want: { mic: false, cam: false, callId: "call-1" } }) }),
  "call-poor": () => live({ peerConnected: false }, { quality: POOR, selfVideo: me(), remotePictures: [{ path: "routed", stream: ann(), shown: true, drawn: () => undefined }] }),
  "call-troubles": () =>
    live(audio, { mic: "denied", soundBlocked: true, connection: { name: "waiting" }, failedTries: 2, leg: "interrupted" }),
  "call-question": () => live({ ...audio, ...direct({ own: "not_given" }) }),
  "call-question-video": () =>
    live(direct({ own: "not_given" }), { selfVideo: me(), remotePictures: [{ path: "routed", stream: ann(), shown: true, drawn: () => undefined }] }),
  "call-waiting": () => live({ ...audio, ...direct({ peer: "not_given" }) }),
  "call-direct": () =>
    live(direct({ phase: "active", attempt: 1 }, NOW - 60_000), { selfVideo: me(), remotePictures: [{ path: "direct", stream: ann(), shown: true, drawn: () => undefined }] }),
  "call-private-again": () => live({ ...audio, ...direct({ own: "not_given", peer: "not_given", attempt: 1, lastEnd: "withdrawn" }, NOW - 60_000) }),
  "call-never": () => live({ ...audio, ...direct({ own: "never", peer: "not_given" }) }),
  "first-run": () => ({ ...BASE, privacy: { ...PRIVACY, decided: false, saved: { ...SAVED, calling: false } } }),
  "privacy": () => ({ ...BASE, page: "privacy" }),
  "privacy-edited": () => ({ ...BASE, page: "privacy", privacy: EDITED }),
  "privacy-direct": () => ({ ...BASE, page: "privacy", privacy: OPEN }),
  "ended-ask": () => ended({ ending: { type: "failed", failure: { kind: "refused", reason: "REQUEST_NEEDED", message: "" } } }),
  "devices": () => ({ ...BASE, dialog: "devices", mic: "on", cam: "on", testingCam: true, selfVideo: me() }),
  "devices-denied": () => ({ ...BASE, dialog: "devices", mic: "denied", cam: "missing", notifications: "denied" }),
  "ended-declined": () => ended({}),
  "ended-hungup": () => ended({ durationMs: 754_000, ending: { type: "ended", reason: "hung_up", byMe: false } }),
  "ended-media": () => ended({ ending: { type: "ended", reason: "media_failed", byMe: false } }),
  "ended-offline": () =>
    ended({ ending: { type: "failed", failure: { kind: "refused", reason: "CALLEE_OFFLINE", message: "" } } }),
};
