import { describe, expect, it } from "vitest";
import { currentCall, incomingCall, legNeed, ringtone, stepCalls, FINISHED_MAX, NO_CALLS, type CallEffect, type CallEvent, type CallsState } from "../src/core/call";
import { isTooSlowForPeer, showsPeer, type Call } from "../src/core/model";
import { ANN, call, refusal, UNREACHABLE } from "./make";

class Story {
  state: CallsState = NO_CALLS;
  effects: CallEffect[] = [];

  on(event: CallEvent): this {
    const step = stepCalls(this.state, event);
    this.state = step.state;
    this.effects = [...step.effects];
    return this;
  }

  hears(more: Partial<Call>): this {
    return this.on({ type: "updated", call: call(more) });
  }

  places(video = false): this {
    return this.on({ type: "place", requestId: "r1", peer: ANN, video });
  }

  placed(more: Partial<Call> = {}): this {
    return this.on({ type: "placed", requestId: "r1", call: call({ state: "created", ...more }) });
  }

  /** Ann rings, on this device among others. */
  rung(more: Partial<Call> = {}): this {
    return this.hears({ role: "callee", ...more });
  }

  leaves(): this {
    return this.on({ type: "leave", callId: "c1", now: 61_000 });
  }

  get notices(): string[] {
    return this.effects.flatMap((effect) => (effect.type === "notice" ? [effect.notice.type] : []));
  }
}

const LIVE: Partial<Call> = { revision: 5, state: "live", acceptedAt: 1_000, liveAt: 1_100 };

describe("placing a call", () => {
  it("asks the server, sounds while it rings, and stops sounding at the answer", () => {
    const story = new Story().places();
    expect(story.effects).toEqual([{ type: "place", requestId: "r1", handle: "ann", video: false }]);
    story.placed();
    expect(ringtone(story.state)).toBe("outgoing");
    story.hears({ ...LIVE });
    expect(ringtone(story.state)).toBeNull();
  });

  it("prepares the leg at once, but nothing is live before the answer", () => {
    const story = new Story().places().placed();
    expect(legNeed(story.state)).toEqual({ callId: "c1", live: false, engaged: true });
    expect(legNeed(story.hears({ revision: 2, state: "accepted" }).state)?.live).toBe(true);
  });

  it("is not placed twice by a double click", () => {
    expect(new Story().places().places().effects).toEqual([]);
  });

  it("cancels as soon as it has an id what was given up before", () => {
    const story = new Story().places().on({ type: "leave", callId: null, now: 0 }).placed();
    expect(currentCall(story.state)).toBeNull();
    expect(story.effects).toContainEqual({ type: "hang_up", callId: "c1" });
  });

  it("tells why it could not be placed", () => {
    const story = new Story().places().on({ type: "place_failed", requestId: "r1", failure: refusal("CALLEE_OFFLINE") });
    expect(story.state.ended?.ending).toEqual({ type: "failed", failure: refusal("CALLEE_OFFLINE") });
    expect(story.state.placing).toBeNull();
  });

  it("ends at once when the other is busy, whichever news comes first", () => {
    const busy: Partial<Call> = { state: "ended", endReason: "busy", revision: 2 };
    for (const story of [new Story().places().placed(busy), new Story().places().hears(busy).placed(busy)]) {
      expect(story.state.ended?.ending).toEqual({ type: "ended", reason: "busy", byMe: false });
      expect(story.state.placing).toBeNull();
    }
  });
});

describe("being called", () => {
  it("rings and prepares, without touching microphone or camera", () => {
    const story = new Story().rung();
    expect(ringtone(story.state)).toBe("incoming");
    expect(incomingCall(story.state)?.id).toBe("c1");
    expect(currentCall(story.state)).toBeNull();
    expect(legNeed(story.state)).toEqual({ callId: "c1", live: false, engaged: false });
  });

  it("rings just so where the server counts only the answering device as this one", () => {
    expect(incomingCall(new Story().rung({ onThisDevice: false }).state)?.id).toBe("c1");
  });

  it("is live only once the server has said that this device answered", () => {
    const story = new Story().rung().on({ type: "accept", callId: "c1", video: true });
    expect(story.effects).toEqual([{ type: "accept", callId: "c1" }]);
    expect(legNeed(story.state)).toEqual({ callId: "c1", live: false, engaged: true });
    expect(ringtone(story.state)).toBeNull();
    story.hears({ ...LIVE, role: "callee" });
    expect(legNeed(story.state)?.live).toBe(true);
    expect(story.state.want).toEqual({ mic: true, cam: true, callId: "c1" });
  });

  it("stops and says so when another device was faster", () => {
    const elsewhere = new Story().rung().hears({ role: "callee", revision: 2, state: "ended", endReason: "answered_elsewhere" });
    expect(elsewhere.notices).toEqual(["answered_elsewhere"]);
    expect(ringtone(elsewhere.state)).toBeNull();
    expect(elsewhere.state.ended).toBeNull();
  });

  it("loses the race for the answer without a screen for it", () => {
    const story = new Story().rung().on({ type: "accept", callId: "c1", video: false });
    story.on({ type: "accept_failed", callId: "c1", failure: refusal("ANSWERED_ELSEWHERE") });
    expect(story.notices).toEqual(["answered_elsewhere"]);
    expect(incomingCall(story.state)).toBeNull();
  });

  it("rings on when the answer did not reach the server", () => {
    const story = new Story().rung().on({ type: "accept", callId: "c1", video: false });
    story.on({ type: "accept_failed", callId: "c1", failure: UNREACHABLE });
    expect(story.notices).toEqual(["accept_failed"]);
    expect(incomingCall(story.state)?.id).toBe("c1");
  });

  it("notes a missed call", () => {
    expect(new Story().rung().hears({ role: "callee", revision: 2, state: "ended", endReason: "timed_out" }).notices).toEqual(["missed"]);
    expect(new Story().rung().hears({ role: "callee", revision: 2, state: "ended", endReason: "cancelled" }).notices).toEqual(["missed"]);
  });

  it("is declined at once on the screen, and silent while the server is told", () => {
    const story = new Story().rung().leaves();
    expect(story.effects).toEqual([{ type: "decline", callId: "c1" }]);
    expect(ringtone(story.state)).toBeNull();
    expect(legNeed(story.state)).toBeNull();
    expect(story.hears({ role: "callee", revision: 2, state: "ended", endReason: "declined" }).notices).toEqual([]);
    expect(story.state.ended).toBeNull();
  });
});

describe("in the call", () => {
  it("ignores older news", () => {
    const story = new Story().hears({ ...LIVE }).hears({ revision: 4, state: "ringing" });
    expect(currentCall(story.state)?.state).toBe("live");
  });

  it("shows how long it was when it ends", () => {
    const story = new Story().hears({ ...LIVE });
    story.hears({ ...LIVE, revision: 6, state: "ended", endReason: "hung_up", endedAt: 31_000 });
    expect(story.state.ended).toMatchObject({ durationMs: 30_000, ending: { reason: "hung_up", byMe: false } });
    expect(story.effects).toContainEqual({ type: "refresh_recents" });
  });

  it("leaves the screen at once on hanging up, and insists until the server knows", () => {
    const story = new Story().hears({ ...LIVE }).leaves();
    expect(story.effects).toEqual([{ type: "hang_up", callId: "c1" }]);
    expect(story.state.ended).toMatchObject({ durationMs: 60_000, ending: { byMe: true } });
    expect(story.on({ type: "snapshot", calls: [call(LIVE)], replace: true }).effects).toContainEqual({ type: "hang_up", callId: "c1" });
    expect(currentCall(story.state)).toBeNull();
  });

  it("is not brought back by late answers after its end", () => {
    const story = new Story().hears({ ...LIVE }).hears({ ...LIVE, revision: 6, state: "ended", endReason: "hung_up" });
    expect(story.hears({ ...LIVE, revision: 7 }).state.calls).toEqual([]);
  });

  it("remembers only so many ended calls", () => {
    const story = new Story();
    for (let index = 0; index < FINISHED_MAX + 5; index += 1) story.hears({ id: `c${index}`, state: "ended", endReason: "hung_up" });
    expect(story.state.finished).toHaveLength(FINISHED_MAX);
  });

  it("tells the other party what is sent, once for each change, and nothing while devices open", () => {
    const story = new Story().hears({ ...LIVE });
    expect(story.on({ type: "sending", media: null }).effects).toEqual([]);
    expect(story.on({ type: "sending", media: { audio: true, video: false } }).effects).toEqual([]);
    const muted = { audio: false, video: false };
    expect(story.on({ type: "sending", media: muted }).effects).toEqual([{ type: "report_media", callId: "c1", media: muted }]);
    expect(story.on({ type: "sending", media: muted }).effects).toEqual([]);
  });

  it("tells a restarted server again what is sent", () => {
    const media = { audio: true, video: true };
    const story = new Story().hears({ ...LIVE }).on({ type: "sending", media });
    expect(story.hears({ ...LIVE, revision: 6 }).effects).toEqual([]);
    expect(story.on({ type: "snapshot", calls: [call({ ...LIVE, revision: 7 })], replace: true }).effects).toEqual([
      { type: "report_media", callId: "c1", media },
    ]);
  });

  it("is what a new session says, whatever number its news have", () => {
    const story = new Story().hears({ ...LIVE, revision: 9 });
    story.on({ type: "snapshot", calls: [call({ ...LIVE, revision: 2, peerConnected: false })], replace: true });
    expect(currentCall(story.state)).toMatchObject({ revision: 2, peerConnected: false });
    expect(currentCall(story.on({ type: "snapshot", calls: [call({ ...LIVE, revision: 1 })], replace: false }).state)?.revision).toBe(2);
  });

  it("hides a picture that its own way does not carry, says so, and shows it when it comes again", () => {
    const story = new Story().hears({ ...LIVE, peerMedia: { audio: true, video: true } });
    const looks = () => {
      const seen = currentCall(story.state);
      return seen && [showsPeer(seen), isTooSlowForPeer(seen)];
    };
    expect(looks()).toEqual([true, false]);
    story.hears({ ...LIVE, revision: 90, peerMedia: { audio: true, video: true }, withoutPictures: true });
    expect(looks()).toEqual([false, true]);
    story.hears({ ...LIVE, revision: 91, peerMedia: { audio: true, video: false }, withoutPictures: true });
    expect(looks()).toEqual([false, false]);
    story.hears({ ...LIVE, revision: 92, peerMedia: { audio: true, video: true } });
    expect(looks()).toEqual([true, false]);
  });

  it("comes back muted after a reload if it was muted", () => {
    const story = new Story().on({ type: "snapshot", calls: [call({ ...LIVE, own: { audio: false, video: true } })], replace: true });
    expect(story.state.want).toEqual({ mic: false, cam: true, callId: "c1" });
    expect(legNeed(story.state)).toEqual({ callId: "c1", live: true, engaged: true });
  });

  it("ends with a word when a new session does not know it any more", () => {
    const story = new Story().hears({ ...LIVE }).on({ type: "snapshot", calls: [], replace: true });
    expect(story.state.ended?.ending).toEqual({ type: "forgotten" });
    expect(legNeed(story.state)).toBeNull();
  });

  it("is no call of the account's other devices", () => {
    const story = new Story().hears({ ...LIVE, onThisDevice: false });
    expect(currentCall(story.state)).toBeNull();
    expect(legNeed(story.state)).toBeNull();
  });
});
