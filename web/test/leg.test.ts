import { describe, expect, it } from "vitest";
import { stepLeg, CONNECT_TIMEOUT_MS, DISCONNECTED_GRACE_MS, LEG_WANTED_SETTLE_MS, NO_LEG, RELAY_AFTER_MS, UDP_AGAIN, type LegEffect, type LegEvent, type LegState, type LegTransport } from "../src/core/leg";
import { refusal, UNREACHABLE } from "./make";

class Story {
  now = 0;
  state: LegState = NO_LEG;
  effects: LegEffect[] = [];

  on(event: LegEvent): this {
    const step = stepLeg(this.state, event, { now: this.now, random: 0.5 });
    this.state = step.state;
    this.effects = [...step.effects];
    return this;
  }

  needed(): this {
    return this.on({ type: "need", callId: "c1" });
  }

  answered(offersRelay = false): this {
    return this.on({ type: "answered", generation: this.state.generation, legId: "leg", offersRelay });
  }

  ice(state: "connected" | "disconnected" | "failed"): this {
    return this.on({ type: "ice", generation: this.state.generation, state });
  }

  connected(): this {
    return this.needed().answered().ice("connected");
  }

  over(transport: LegTransport): this {
    return this.on({ type: "transport", generation: this.state.generation, transport });
  }

  after(ms: number): this {
    this.now += ms;
    return this.on({ type: "timer" });
  }

  get told(): string[] {
    return this.effects.map((effect) => effect.type);
  }
}

describe("the leg", () => {
  it("opens for a call and closes after it", () => {
    const story = new Story().needed();
    expect(story.effects).toEqual([{ type: "open", generation: 1, callId: "c1" }]);
    expect(story.needed().told).toEqual([]);
    expect(story.on({ type: "need", callId: null }).told).toEqual(["close"]);
  });

  it("takes the server's relay when nothing else gets through, and tries UDP again later", () => {
    const story = new Story().needed().answered(true).after(RELAY_AFTER_MS - 1);
    expect(story.told).toEqual([]);
    expect(story.after(1).told).toEqual(["restart"]);
    expect(story.state.relayed).toBe(true);
    expect(story.answered(true).ice("connected").state.phase).toBe("connected");
    expect(story.over("tls").after(UDP_AGAIN.firstMs).told).toEqual(["restart"]);
    expect(story.answered(true).ice("connected").over("udp").state).toMatchObject({ deadline: null, relayed: false });
  });

  it("needs no relay where it connects in time, and makes a new leg where the relay does not help", () => {
    const connected = new Story().needed().answered(true).ice("connected").after(CONNECT_TIMEOUT_MS);
    expect(connected.told).toEqual([]);
    expect(connected.state.relayed).toBe(false);
    const story = new Story().needed().answered(true).ice("failed").after(RELAY_AFTER_MS);
    expect(story.told).toEqual(["restart"]);
    expect(story.answered(true).after(CONNECT_TIMEOUT_MS).told).toEqual(["close", "open"]);
    expect(story.state.relayed).toBe(true);
  });

  it("gives a short interruption time to heal by itself", () => {
    const story = new Story().connected().ice("disconnected").after(DISCONNECTED_GRACE_MS - 1);
    expect(story.told).toEqual([]);
    expect(story.ice("connected").state.phase).toBe("connected");
    expect(story.after(10_000).told).toEqual([]);
  });

  it("restarts ICE on the same leg after a longer one, at once when ICE has failed", () => {
    expect(new Story().connected().ice("disconnected").after(DISCONNECTED_GRACE_MS).effects).toEqual([
      { type: "restart", generation: 1, callId: "c1", legId: "leg" },
    ]);
    expect(new Story().connected().ice("failed").told).toEqual(["restart"]);
  });

  it("restarts on a new network without waiting", () => {
    expect(new Story().connected().on({ type: "network_changed" }).told).toEqual(["restart"]);
  });

  it("makes a new leg when the router does not know the old one", () => {
    const story = new Story().connected().ice("failed");
    story.on({ type: "failed", generation: 1, failure: refusal("LEG_UNKNOWN") });
    expect(story.told).toEqual(["close", "open"]);
    expect(story.state.generation).toBe(2);
  });

  it("makes a new leg when it does not connect in time", () => {
    expect(new Story().needed().answered().after(CONNECT_TIMEOUT_MS).told).toEqual(["close", "open"]);
  });

  it("tries again later while the server cannot be reached", () => {
    const story = new Story().needed().on({ type: "failed", generation: 1, failure: UNREACHABLE });
    expect(story.state.phase).toBe("waiting");
    expect(story.after(4_000).told).toEqual(["close", "open"]);
  });

  it("does not repeat an offer that was refused, until the server asks for a leg", () => {
    const story = new Story().needed().on({ type: "failed", generation: 1, failure: refusal("SDP_INVALID") });
    expect(story.state.phase).toBe("refused");
    expect(story.after(60_000).told).toEqual([]);
    expect(story.on({ type: "wanted", wanted: true }).told).toEqual(["close", "open"]);
  });

  it("replaces the leg when the node lost it, but not for news that was overtaken", () => {
    const lost = new Story().connected().on({ type: "wanted", wanted: true });
    expect(lost.told).toEqual([]);
    expect(lost.after(LEG_WANTED_SETTLE_MS).told).toEqual(["close", "open"]);
    const overtaken = new Story().connected().on({ type: "wanted", wanted: true }).on({ type: "wanted", wanted: false });
    expect(overtaken.after(LEG_WANTED_SETTLE_MS).told).toEqual([]);
  });

  it("is not disturbed by a wish for a leg while it is making one", () => {
    expect(new Story().needed().on({ type: "wanted", wanted: true }).told).toEqual([]);
  });

  it("ignores what an older connection still says", () => {
    const story = new Story().connected().ice("failed").on({ type: "failed", generation: 1, failure: refusal("LEG_UNKNOWN") });
    const before = story.state;
    expect(story.on({ type: "ice", generation: 1, state: "connected" }).state).toBe(before);
  });

  it("stays as it is on UDP", () => {
    const story = new Story().connected().over("udp");
    expect(story.state.deadline).toBeNull();
    expect(story.after(UDP_AGAIN.maxMs).told).toEqual([]);
  });

  it("tries to get from TCP back to UDP, less and less often", () => {
    const story = new Story().connected().over("tcp").after(UDP_AGAIN.firstMs - 1);
    expect(story.over("tcp").told).toEqual([]);
    expect(story.after(1).told).toEqual(["restart"]);
    story.answered().ice("connected").over("tcp");
    expect(story.after(2 * UDP_AGAIN.firstMs - 1).told).toEqual([]);
    expect(story.after(1).told).toEqual(["restart"]);
    for (let tries = 0; tries < 20; tries++) story.answered().ice("connected").over("tcp").after(UDP_AGAIN.maxMs);
    expect(story.told).toEqual(["restart"]);
    story.answered().ice("connected").over("udp");
    expect([story.state.deadline, story.state.udpTries]).toEqual([null, 0]);
  });

  it("forgets about UDP while there is worse to mend", () => {
    const story = new Story().connected().over("tcp").ice("disconnected").over("tcp");
    expect(story.state.deadline?.reason).toBe("grace");
    const wanted = new Story().connected().on({ type: "wanted", wanted: true }).over("tcp");
    expect(wanted.state.deadline?.reason).toBe("wanted");
    expect(wanted.on({ type: "transport", generation: 0, transport: "tcp" }).effects).toEqual([]);
  });
});
