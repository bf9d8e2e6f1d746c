import { describe, expect, it } from "vitest";
import {
  deadline,
  sends,
  stepDirect,
  DEAD_AFTER_MS,
  NO_DIRECT,
  OWN_LEAVE_MS_MAX,
  PEER_LEAVE_MS_MAX,
  PICTURE_AFTER_MS,
  PICTURE_PATIENCE_MS,
  QUIET_MS,
  RETURN_MS_MAX,
  SETUP_MS_MAX,
  WARM_MS,
  type DirectCore,
  type DirectEffect,
  type DirectEvent,
} from "../src/core/direct";
import type { DirectState, MediaState } from "../src/core/model";

const BOTH: MediaState = { audio: true, video: true };
const NOTHING: MediaState = { audio: false, video: false };
/** How often the shell looks at what is decoded. */
const LOOK_MS = 10;

/** Enough for either path to be played. */
const WARM = Math.max(WARM_MS.direct.audio, WARM_MS.direct.video) + 50;

const ROUTED: DirectState = { phase: "routed", attempt: 0, offerer: true, own: "given", peer: "given", lastEnd: "none" };

/** One device in a call, on a clock of its own. What arrives on a path is what `arrives` says, until it is changed. */
class Story {
  now = 1_000;
  state: DirectCore = NO_DIRECT;
  arrives: { routed: MediaState; direct: MediaState } = { routed: BOTH, direct: NOTHING };
  effects: DirectEffect[] = [];
  /** Everything since the beginning. */
  all: DirectEffect[] = [];
  view: DirectState = ROUTED;
  peerMedia: MediaState = BOTH;

  on(event: DirectEvent): this {
    const step = stepDirect(this.state, event, this.now);
    this.state = step.state;
    this.effects = [...step.effects];
    this.all.push(...step.effects);
    return this;
  }

  /** The server says so of the call. */
  hears(view: Partial<DirectState> = {}): this {
    this.view = { ...this.view, ...view };
    return this.news();
  }

  news(): this {
    return this.on({ type: "call", callId: "c1", view: this.view, peerMedia: this.peerMedia });
  }

  signal(kind: "offer" | "answer", attempt = this.view.attempt): this {
    return this.on({ type: "signal", signal: { callId: "c1", attempt, kind, sdp: `their ${kind}` } });
  }

  candidates(attempt = this.view.attempt): this {
    return this.on({ type: "signal", signal: { callId: "c1", attempt, kind: "candidates", candidates: ["one"] } });
  }

  /** Time passes, with looks at what is decoded and the timer in between. */
  wait(forMs: number): this {
    const end = this.now + forMs;
    while (this.now < end) {
      this.now = Math.min(end, this.now + LOOK_MS);
      this.on({ type: "heard", ...this.arrives });
      if ((deadline(this.state) ?? Infinity) <= this.now) this.on({ type: "timer" });
    }
    return this;
  }

  get attempt(): number {
    return this.view.attempt;
  }

  get paths(): string {
    const { routed, direct } = sends(this.state);
    const said = (path: string, { audio, video }: MediaState): string => (video ? path : audio ? `${path} sound` : "");
    return [said("routed", routed), said("direct", direct)].filter(Boolean).join("+");
  }

  get plays(): string {
    const { audio, video } = this.state.plays;
    return audio === video ? audio : `${audio}/${video}`;
  }

  /** What was told to the other side and done with connections, in order. */
  get did(): string[] {
    return this.all.map((effect) => (effect.type === "tell" ? `tell ${effect.step.kind} ${effect.attempt}` : `${effect.type} ${effect.attempt}`));
  }

  /** A call through the router in which both have just agreed. */
  agreed(offerer = true, attempt = 1): this {
    return this.hears().hears({ phase: "negotiating", attempt, offerer });
  }

  described(): this {
    return this.on({ type: "described", attempt: this.attempt, sdp: "our own" });
  }

  connected(): this {
    return this.on({ type: "connected", attempt: this.attempt });
  }

  /** Up to media on both paths. */
  both(offerer = true, attempt = 1): this {
    this.agreed(offerer, attempt);
    if (!offerer) this.signal("offer");
    this.described().hears({ phase: "connecting" });
    if (offerer) this.signal("answer");
    this.candidates().connected();
    return this;
  }

  /** Up to media on the direct path alone, both ways, for a while. */
  active(offerer = true, attempt = 1): this {
    this.both(offerer, attempt);
    this.arrives = { routed: BOTH, direct: BOTH };
    this.wait(WARM).hears({ phase: "active" });
    this.arrives = { routed: NOTHING, direct: BOTH };
    return this.wait(2 * QUIET_MS);
  }
}

describe("an attempt at a direct connection", () => {
  it("is made by the offerer step by step", () => {
    const story = new Story().agreed();
    expect(story.effects).toEqual([{ type: "open", attempt: 1, offer: null }]);
    expect(story.described().effects).toEqual([{ type: "tell", attempt: 1, step: { kind: "offer", sdp: "our own" } }]);
    story.hears({ phase: "connecting" });
    expect(story.signal("answer").effects).toEqual([{ type: "answer", attempt: 1, sdp: "their answer" }]);
    expect(story.candidates().effects).toEqual([{ type: "candidates", attempt: 1, candidates: ["one"] }]);
    expect([story.paths, story.plays]).toEqual(["routed", "routed"]);
  });

  it("is answered by the other one, who waits for the offer", () => {
    const story = new Story().agreed(false);
    expect(story.effects).toEqual([]);
    expect(story.signal("offer").effects).toEqual([{ type: "open", attempt: 1, offer: "their offer" }]);
    expect(story.described().effects).toEqual([{ type: "tell", attempt: 1, step: { kind: "answer", sdp: "our own" } }]);
  });

  it("sends on both paths once connected, plays the direct one once it decodes, and then says so, once", () => {
    const story = new Story().both();
    expect(story.paths, "the picture follows").toBe("routed+direct sound");
    story.wait(PICTURE_AFTER_MS);
    expect([story.paths, story.plays]).toEqual(["routed+direct", "routed"]);
    story.arrives = { routed: BOTH, direct: { audio: true, video: false } };
    story.wait(WARM_MS.direct.audio - LOOK_MS);
    expect(story.plays, "its sound is not steady yet").toBe("routed");
    story.wait(50);
    expect(story.plays).toBe("direct/routed");
    expect(story.did).not.toContain("tell decoding 1");
    story.arrives = { routed: BOTH, direct: BOTH };
    story.wait(WARM_MS.direct.video - 100);
    expect(story.plays, "its picture is not steady yet").toBe("direct/routed");
    story.wait(150);
    expect(story.plays).toBe("direct");
    expect(story.did.filter((one) => one === "tell decoding 1")).toHaveLength(1);
    expect(story.paths).toBe("routed+direct");
  });

  it("leaves the router's path silent only once the server says that both sides decode", () => {
    const story = new Story().active();
    expect([story.paths, story.plays]).toEqual(["direct", "direct"]);
    expect(deadline(story.state)).toBeNull();
  });

  it("does not wait for a picture for ever", () => {
    const story = new Story().both();
    story.arrives = { routed: BOTH, direct: { audio: true, video: false } };
    story.wait(PICTURE_PATIENCE_MS + WARM_MS.direct.audio - 100);
    expect(story.did).not.toContain("tell decoding 1");
    story.wait(200);
    expect(story.did).toContain("tell decoding 1");
    expect(story.plays).toBe("direct/routed");
  });

  it("needs no media from somebody who sends none", () => {
    const story = new Story();
    story.peerMedia = NOTHING;
    story.arrives = { routed: NOTHING, direct: NOTHING };
    story.both().wait(LOOK_MS);
    expect(story.did).toContain("tell decoding 1");
    story.hears({ phase: "active" }).wait(5_000);
    expect(story.paths).toBe("direct");
  });

  it("takes the picture alone from somebody who is muted", () => {
    const story = new Story();
    story.peerMedia = { audio: false, video: true };
    story.both();
    story.arrives = { routed: BOTH, direct: NOTHING };
    story.wait(100);
    expect(story.did).not.toContain("tell decoding 1");
    story.arrives = { routed: BOTH, direct: { audio: false, video: true } };
    story.wait(WARM);
    expect(story.did).toContain("tell decoding 1");
  });
});

describe("an attempt that fails", () => {
  const failures: [string, (story: Story) => Story][] = [
    ["while the offer is made", (story) => story.agreed()],
    ["while the answer is awaited", (story) => story.agreed().described()],
    ["while it connects", (story) => story.agreed().described().hears({ phase: "connecting" }).signal("answer").candidates()],
    ["while the answer is made", (story) => story.agreed(false).signal("offer")],
  ];
  for (const [when, tell] of failures) {
    it(`${when} stays with the router and says so`, () => {
      const story = tell(new Story()).on({ type: "broken", attempt: 1 });
      expect(story.effects).toEqual([
        { type: "tell", attempt: 1, step: { kind: "failed" } },
        { type: "close", attempt: 1 },
      ]);
      expect([story.paths, story.plays]).toEqual(["routed", "routed"]);
      expect(story.news().effects).toEqual([]);
      expect(story.signal("answer").effects).toEqual([]);
    });

    it(`${when} is given up when the server cannot be heard`, () => {
      const story = tell(new Story());
      story.now += SETUP_MS_MAX;
      expect(story.on({ type: "timer" }).state.attempt).toBeNull();
      expect(story.did.at(-1)).toBe("close 1");
    });

    it(`${when} ends when the server says so`, () => {
      const story = tell(new Story()).hears({ phase: "routed", lastEnd: "failed" });
      expect(story.effects).toEqual([{ type: "close", attempt: 1 }]);
    });

    it(`${when} ends with the call`, () => {
      const story = tell(new Story()).on({ type: "call", callId: null, view: null, peerMedia: BOTH });
      expect(story.effects).toEqual([{ type: "close", attempt: 1 }]);
      expect(story.state).toEqual({ ...NO_DIRECT });
    });
  }

  it("while both paths carry media goes back without a gap", () => {
    const story = new Story().both();
    story.arrives = { routed: BOTH, direct: BOTH };
    story.wait(WARM).on({ type: "broken", attempt: 1 });
    expect(story.paths).toBe("routed+direct");
    story.wait(LOOK_MS);
    expect([story.paths, story.plays, story.did.at(-1)]).toEqual(["routed", "routed", "close 1"]);
  });

  it("does not come back when the server still speaks of it", () => {
    const story = new Story().agreed().on({ type: "broken", attempt: 1 });
    story.hears({ phase: "connecting" }).hears({ phase: "active" });
    expect(story.did).toEqual(["open 1", "tell failed 1", "close 1"]);
  });

  it("is followed by the next, which an older one's steps do not disturb", () => {
    const story = new Story().agreed().on({ type: "broken", attempt: 1 });
    story.hears({ phase: "routed", lastEnd: "failed" }).hears({ phase: "negotiating", attempt: 2 });
    expect(story.effects).toEqual([{ type: "open", attempt: 2, offer: null }]);
    for (const late of [
      () => story.signal("answer", 1),
      () => story.candidates(1),
      () => story.on({ type: "described", attempt: 1, sdp: "old" }),
      () => story.on({ type: "connected", attempt: 1 }),
      () => story.on({ type: "broken", attempt: 1 }),
    ]) {
      const before = story.state;
      expect(late().effects).toEqual([]);
      expect(story.state).toBe(before);
    }
  });

  it("was of another call: its signals change nothing", () => {
    const story = new Story().agreed(false);
    story.on({ type: "signal", signal: { callId: "c2", attempt: 1, kind: "offer", sdp: "x" } });
    expect(story.effects).toEqual([]);
  });

  it("is not answered with an offer of our own, nor offered where an answer is due", () => {
    expect(new Story().agreed(true).signal("offer").effects).toEqual([]);
    expect(new Story().agreed(false).signal("offer").signal("answer").effects).toEqual([]);
    expect(new Story().hears().signal("offer", 0).effects).toEqual([]);
  });

  it("hears nothing more of its making once it is connected", () => {
    const story = new Story().both();
    expect(story.signal("answer").effects).toEqual([]);
    expect(story.candidates().effects).toEqual([]);
  });
});

describe("going private", () => {
  it("sends through the router at once and closes as soon as the other side is decoded there", () => {
    const story = new Story().active().on({ type: "go_private" });
    expect(story.paths).toBe("routed+direct");
    story.wait(50);
    expect(story.plays).toBe("direct");
    story.arrives = { routed: BOTH, direct: BOTH };
    story.wait(WARM_MS.routed.audio);
    expect([story.paths, story.plays], "its sound is not steady yet").toEqual(["routed+direct", "direct/routed"]);
    story.wait(LOOK_MS);
    expect([story.paths, story.plays, story.did.at(-1)]).toEqual(["routed", "routed", "close 1"]);
  });

  it("takes effect although the other side does not cooperate", () => {
    const story = new Story().active().on({ type: "go_private" });
    const since = story.now;
    while (story.state.attempt) story.wait(LOOK_MS);
    expect(story.now - since).toBeLessThanOrEqual(OWN_LEAVE_MS_MAX);
    expect([story.paths, story.plays]).toEqual(["routed", "routed"]);
    story.hears({ lastEnd: "none" });
    expect(story.effects, "the server still says that it is active").toEqual([]);
  });

  it("waits for sound that is newer than the wish", () => {
    const story = new Story().both();
    story.arrives = { routed: BOTH, direct: BOTH };
    story.wait(50).on({ type: "go_private" });
    story.arrives = { routed: NOTHING, direct: BOTH };
    story.wait(50);
    expect(story.state.attempt?.stage).toBe("leaving");
  });

  it("is not prolonged by a connection that dies in the meantime", () => {
    const story = new Story().active().on({ type: "go_private" }).on({ type: "broken", attempt: 1 });
    expect(story.effects).toEqual([{ type: "close", attempt: 1 }]);
  });

  it("during the attempt ends it on the spot, whoever offers", () => {
    expect(new Story().agreed().on({ type: "go_private" }).effects).toEqual([{ type: "close", attempt: 1 }]);
    const answerer = new Story().agreed(false).on({ type: "go_private" });
    expect(answerer.signal("offer").effects, "the offer comes too late").toEqual([]);
  });

  it("by a change of settings is as quick", () => {
    const story = new Story().active().hears({ phase: "routed", own: "not_given", lastEnd: "withdrawn" });
    expect(deadline(story.state)).toBe(story.now + OWN_LEAVE_MS_MAX);
  });

  it("pressed twice, or followed by the server's word, takes no longer", () => {
    const story = new Story().active().on({ type: "go_private" });
    const until = deadline(story.state);
    story.wait(100).on({ type: "go_private" }).hears({ phase: "routed", lastEnd: "withdrawn" });
    expect(deadline(story.state)).toBe(until);
  });

  it("and direct again, many times, leaves nothing behind", () => {
    const story = new Story();
    for (let round = 1; round <= 10; round += 1) {
      story.active(round % 2 === 0, round).on({ type: "go_private" });
      story.arrives = { routed: BOTH, direct: BOTH };
      story.wait(100).hears({ phase: "routed", lastEnd: "withdrawn" });
      story.arrives = { routed: BOTH, direct: NOTHING };
      expect([story.paths, story.plays, story.state.attempt]).toEqual(["routed", "routed", null]);
    }
    expect(story.did.filter((one) => one.startsWith("open"))).toHaveLength(10);
    expect(story.did.filter((one) => one.startsWith("close"))).toHaveLength(10);
  });
});

describe("the other side", () => {
  it("goes private: its media on the router's path is played at once, and answered there, before the server says why", () => {
    const story = new Story().active();
    story.arrives = { routed: BOTH, direct: BOTH };
    story.wait(WARM_MS.routed.audio + LOOK_MS);
    expect([story.paths, story.plays]).toEqual(["routed+direct", "routed"]);
    story.hears({ phase: "routed", peer: "not_given", lastEnd: "withdrawn" }).wait(LOOK_MS);
    expect([story.paths, story.did.at(-1)]).toEqual(["routed", "close 1"]);
  });

  it("goes private and is silent: the direct path is closed after half a second", () => {
    const story = new Story().active().hears({ phase: "routed", lastEnd: "withdrawn" });
    story.arrives = { routed: NOTHING, direct: NOTHING };
    story.wait(PEER_LEAVE_MS_MAX - LOOK_MS);
    expect(story.state.attempt?.stage).toBe("leaving");
    story.wait(LOOK_MS);
    expect(story.state.attempt).toBeNull();
  });

  it("sends on the router's path by mistake for a moment: direct again when that stops", () => {
    const story = new Story().active();
    story.arrives = { routed: BOTH, direct: BOTH };
    story.wait(100);
    expect(story.plays).toBe("routed");
    story.arrives = { routed: NOTHING, direct: BOTH };
    story.wait(2 * QUIET_MS);
    expect([story.paths, story.plays]).toEqual(["direct", "direct"]);
  });

  it("takes late packets for our return, and we its answer: both send directly alone again, and stay so", () => {
    const [one, other] = [new Story().active(), new Story().active(false)];
    const sent: [DirectCore, DirectCore][] = [];
    const together = (forMs: number): void => {
      for (const end = one.now + forMs; one.now < end; ) {
        sent.push([one.state, other.state]);
        // What was sent arrives 40 ms later.
        const [ours, theirs] = sent.at(-5) ?? [one.state, other.state];
        [one.arrives, other.arrives] = [sends(theirs), sends(ours)];
        one.wait(LOOK_MS);
        other.wait(LOOK_MS);
      }
    };
    together(500);
    other.now = one.now;
    other.on({ type: "heard", routed: BOTH, direct: BOTH });
    together(100);
    expect([one.paths, other.paths]).toEqual(["routed+direct", "routed+direct"]);
    together(RETURN_MS_MAX);
    expect([one.paths, other.paths]).toEqual(["direct", "direct"]);
    together(3 * RETURN_MS_MAX);
    expect([one.paths, other.paths, one.plays, other.plays]).toEqual(["direct", "direct", "direct", "direct"]);
    expect([...one.did, ...other.did].filter((step) => /failed|close/.test(step))).toEqual([]);
  });

  it("sends late packets again and again: each time the router's path must have been silent for longer", () => {
    const story = new Story().active();
    const isTaken = (): boolean => {
      story.on({ type: "heard", routed: BOTH, direct: BOTH });
      return story.paths === "routed+direct";
    };
    const waits = [0, QUIET_MS + LOOK_MS, 2 * QUIET_MS + LOOK_MS].map((silentMs) => {
      story.wait(silentMs);
      const taken = isTaken();
      story.arrives = { routed: BOTH, direct: BOTH };
      story.wait(RETURN_MS_MAX);
      story.arrives = { routed: NOTHING, direct: BOTH };
      return [taken, story.paths];
    });
    expect(waits).toEqual([[true, "direct"], [false, "direct"], [true, "direct"]]);
  });

  it("is muted, goes private and leaves, while the server cannot be heard: it is answered for as long as that lasts", () => {
    const story = new Story();
    story.peerMedia = { audio: false, video: true };
    story.active();
    story.arrives = { routed: { audio: false, video: true }, direct: NOTHING };
    story.wait(3 * RETURN_MS_MAX);
    // Sound stays where it was: there is none.
    expect([story.paths, story.plays]).toEqual(["routed+direct", "direct/routed"]);
  });

  it("hears of the switch late and sends on both for a while: nothing is switched back for that", () => {
    const story = new Story().both();
    story.arrives = { routed: BOTH, direct: BOTH };
    story.wait(WARM).hears({ phase: "active" }).wait(3_000);
    expect([story.paths, story.plays]).toEqual(["direct", "direct"]);
  });

  it("still sends on both paths when the direct one stutters: the router's fills in", () => {
    const story = new Story().both();
    story.arrives = { routed: BOTH, direct: BOTH };
    story.wait(WARM).hears({ phase: "active" }).wait(50);
    story.arrives = { routed: BOTH, direct: NOTHING };
    story.wait(500);
    expect([story.paths, story.plays]).toEqual(["direct", "routed"]);
    story.arrives = { routed: BOTH, direct: BOTH };
    expect(story.wait(2 * LOOK_MS).plays, "not before it is steady again").toBe("routed");
    expect(story.wait(WARM).plays).toBe("direct");
  });

  it("falls silent: the direct path is dead after a second, and the router's is used", () => {
    const story = new Story().active();
    story.arrives = { routed: NOTHING, direct: NOTHING };
    story.wait(DEAD_AFTER_MS);
    expect(story.paths).toBe("direct");
    story.wait(2 * LOOK_MS);
    expect(story.paths).toBe("routed+direct");
    expect(story.did.at(-1)).toBe("tell failed 1");
    story.arrives = { routed: BOTH, direct: NOTHING };
    story.wait(LOOK_MS);
    expect(story.plays, "there is nothing else to wait for").toBe("routed");
    expect(story.wait(100).paths).toBe("routed");
  });

  it("unmutes: a second without sound counts from then", () => {
    const story = new Story();
    story.peerMedia = { audio: false, video: true };
    story.arrives = { routed: BOTH, direct: NOTHING };
    story.both();
    story.arrives = { routed: NOTHING, direct: { audio: false, video: true } };
    story.wait(50).hears({ phase: "active" }).wait(5_000);
    story.peerMedia = BOTH;
    story.news().wait(500);
    story.arrives = { routed: NOTHING, direct: BOTH };
    story.wait(2_000);
    expect(story.paths).toBe("direct");
  });

  it("turns the camera off: the sound stays where it is", () => {
    const story = new Story().active();
    story.peerMedia = { audio: true, video: false };
    story.arrives = { routed: NOTHING, direct: { audio: true, video: false } };
    story.news().wait(10_000);
    expect([story.paths, story.plays]).toEqual(["direct", "direct"]);
  });
});

describe("what can happen to the server and the page", () => {
  it("the server is restarted: back through the router, and its next first attempt is a new one", () => {
    const story = new Story().active().hears({ phase: "routed", attempt: 0, lastEnd: "none" });
    expect(story.paths).toBe("routed+direct");
    story.hears({ phase: "negotiating", attempt: 1 });
    expect(story.effects).toEqual([
      { type: "close", attempt: 1 },
      { type: "open", attempt: 1, offer: null },
    ]);
  });

  it("the server is restarted long after: its first attempt is a new one, too", () => {
    const story = new Story().agreed().on({ type: "broken", attempt: 1 }).hears({ phase: "routed", attempt: 0, lastEnd: "none" });
    expect(story.hears({ phase: "negotiating", attempt: 1 }).effects).toEqual([{ type: "open", attempt: 1, offer: null }]);
  });

  it("the session is replaced and the call has no direct state: back through the router", () => {
    const story = new Story().active().on({ type: "call", callId: "c1", view: null, peerMedia: BOTH });
    expect(story.paths).toBe("routed+direct");
  });

  it("the page was reloaded: the attempt that it held is said to have failed, once", () => {
    const story = new Story().hears({ phase: "active", attempt: 3 });
    expect(story.effects).toEqual([{ type: "tell", attempt: 3, step: { kind: "failed" } }]);
    expect(story.news().effects).toEqual([]);
    story.hears({ phase: "routed" }).hears({ phase: "negotiating", attempt: 4 });
    expect(story.effects).toEqual([{ type: "open", attempt: 4, offer: null }]);
  });

  it("the router's path restarts ICE while direct: the sound goes on, and comes back through it", () => {
    const story = new Story().active();
    story.wait(3_000);
    expect(story.plays).toBe("direct");
    story.on({ type: "go_private" });
    story.arrives = { routed: NOTHING, direct: BOTH };
    story.wait(OWN_LEAVE_MS_MAX);
    expect([story.paths, story.plays]).toEqual(["routed", "routed"]);
  });

  it("a few late packets are no reason to switch", () => {
    const story = new Story().active();
    story.arrives = { routed: NOTHING, direct: NOTHING };
    story.wait(200);
    story.arrives = { routed: NOTHING, direct: BOTH };
    story.wait(100);
    expect([story.paths, story.plays]).toEqual(["direct", "direct"]);
  });
});
