import { describe, expect, it } from "vitest";
import { newSession, stepSession, NO_CURSOR, RECONNECT, WATCHDOG_MS, type SessionEffect, type SessionEvent, type SessionState } from "../src/core/session";

/** A session on a clock of its own; `random` is fixed at the middle. */
class Story {
  now = 0;
  state: SessionState = newSession(NO_CURSOR);
  effects: SessionEffect[] = [];

  on(event: SessionEvent, random = 0.5): this {
    const step = stepSession(this.state, event, { now: this.now, random });
    this.state = step.state;
    this.effects = [...step.effects];
    return this;
  }

  opened(resumed = false, seq = 1n): this {
    return this.on({ type: "start" }).on({ type: "started", stream: this.state.stream, sessionId: "s1", seq, resumed });
  }

  get told(): string[] {
    return this.effects.map((effect) => effect.type);
  }

  refused(message: string): this {
    return this.on({ type: "closed", stream: this.state.stream, failure: "refused", takenOver: false, message });
  }

  closed(failure: "unreachable" | "signed_out" | "refused" | null = "unreachable", takenOver = false): this {
    return this.on({ type: "closed", stream: this.state.stream, failure, takenOver });
  }

  event(seq: bigint): this {
    return this.on({ type: "event", stream: this.state.stream, seq });
  }

  deadlinePasses(): this {
    this.now = this.state.deadline?.at ?? this.now;
    return this.on({ type: "timer" });
  }
}

describe("the session", () => {
  it("replaces what is held when it is new, and only adds when it is resumed", () => {
    expect(new Story().opened(false).effects).toContainEqual({ type: "resync", replace: true });
    expect(new Story().opened(true, 7n).effects).toContainEqual({ type: "resync", replace: false });
  });

  it("keeps why the server gave no session until it gives one", () => {
    const story = new Story().on({ type: "start" }).refused("too many devices");
    expect(story.state.refusal).toBe("too many devices");
    expect(story.deadlinePasses().state.refusal).toBe("too many devices");
    expect(story.closed("unreachable").state.refusal).toBe("");
    expect(story.deadlinePasses().refused("too many devices").deadlinePasses().opened().state.refusal).toBe("");
    expect(new Story().opened().refused("too slow").state.refusal).toBe("");
  });

  it("saves its place after each event, so that a reload goes on right there", () => {
    const story = new Story().opened().event(2n);
    expect(story.effects).toEqual([{ type: "deliver" }, { type: "save", cursor: { sessionId: "s1", lastSeq: 2n } }]);
  });

  it("hands no event on twice", () => {
    expect(new Story().opened().event(2n).event(2n).told).toEqual([]);
  });

  it("starts anew when an event is missing", () => {
    const story = new Story().opened().event(4n);
    expect(story.told).toEqual(["abort", "open"]);
    expect(story.state.cursor).toEqual(NO_CURSOR);
  });

  it("resumes where it was after the stream broke", () => {
    const story = new Story().opened().event(2n).closed();
    expect(story.state.phase.name).toBe("waiting");
    story.deadlinePasses();
    expect(story.effects).toEqual([{ type: "open", stream: 2, cursor: { sessionId: "s1", lastSeq: 2n } }]);
  });

  it("waits longer after each failed try, up to its bound, and never less than half", () => {
    const story = new Story().on({ type: "start" });
    const waits: number[] = [];
    for (let attempt = 0; attempt < 12; attempt += 1) {
      story.closed();
      waits.push((story.state.deadline?.at ?? 0) - story.now);
      story.deadlinePasses();
    }
    expect(waits[0]).toBe(RECONNECT.firstMs * 0.75);
    expect(waits.slice(0, 4)).toEqual([...waits.slice(0, 4)].sort((a, b) => a - b));
    expect(Math.max(...waits)).toBe(RECONNECT.maxMs * 0.75);
  });

  it("starts counting anew once it was open", () => {
    const story = new Story().on({ type: "start" });
    story.closed().deadlinePasses().closed().deadlinePasses();
    story.on({ type: "started", stream: story.state.stream, sessionId: "s1", seq: 1n, resumed: false });
    expect(story.state.attempt).toBe(0);
  });

  it("takes a silent stream for dead", () => {
    const story = new Story().opened();
    expect(story.state.deadline).toEqual({ at: WATCHDOG_MS, reason: "watchdog" });
    expect(story.deadlinePasses().told).toEqual(["abort"]);
    expect(story.state.phase.name).toBe("waiting");
  });

  it("is kept alive by heartbeats", () => {
    const story = new Story().opened();
    story.now = 15_000;
    story.on({ type: "heartbeat", stream: story.state.stream });
    story.now = WATCHDOG_MS;
    expect(story.on({ type: "timer" }).told).toEqual([]);
  });

  it("ignores what an older stream still says", () => {
    const story = new Story().opened().closed().deadlinePasses();
    const before = story.state;
    story.on({ type: "closed", stream: 1, failure: "unreachable", takenOver: false });
    expect(story.state).toBe(before);
  });

  it("does not fight over the session with a copy of its tab", () => {
    const story = new Story().opened().closed("refused", true);
    expect(story.state.phase).toEqual({ name: "stopped", why: "taken_over" });
    expect(story.on({ type: "nudge" }).told).toEqual([]);
    expect(story.on({ type: "start" }).told).toEqual(["open"]);
  });

  it("stops and forgets its place when the token is no longer accepted", () => {
    const story = new Story().opened().closed("signed_out");
    expect(story.state.phase).toEqual({ name: "stopped", why: "signed_out" });
    expect(story.effects).toContainEqual({ type: "save", cursor: NO_CURSOR });
  });

  it("moves after the time that a draining server asked for, spread out", () => {
    const story = new Story().opened();
    story.on({ type: "draining", stream: story.state.stream, retryAfterMs: 1_000 }, 0.5);
    expect(story.state.deadline).toEqual({ at: 1_500, reason: "retry" });
    expect(story.state.cursor.sessionId).toBe("s1");
  });

  it("opens at once on a new network, without waiting for the old stream to die", () => {
    expect(new Story().opened().on({ type: "network_changed" }).told).toEqual(["abort", "open"]);
    expect(new Story().opened().closed().on({ type: "nudge" }).told).toEqual(["open"]);
  });
});
