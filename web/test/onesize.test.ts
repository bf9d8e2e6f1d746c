import { describe, expect, it } from "vitest";
import { ALL_SIZES, NARROW_MS, ROOM, stepSizing, WAIT_MS, WAIT_MS_MAX, type Sizing } from "../src/core/onesize";
import { neededForAll } from "../src/core/sizes";

const PIXELS = 1280 * 720;
const NEEDED = neededForAll(PIXELS) ?? 0;
const NARROW = NEEDED - 1;
const WIDE = NEEDED * ROOM;

/** A page whose way is looked at once a second, from its first picture on. */
class Page {
  state: Sizing = ALL_SIZES;
  #seconds = 0;

  /** One look more than there are seconds: the first of them is where the time begins. */
  sees(bits: number | null, ms: number, pixels = PIXELS): string {
    for (let past = 0; past <= ms; past += 1000) this.looks(bits, pixels);
    return this.state.choice;
  }

  looks(bits: number | null, pixels = PIXELS): string {
    this.state = stepSizing(this.state, bits, pixels, this.#seconds * 1000);
    this.#seconds += 1;
    return this.state.choice;
  }
}

function narrowed(): Page {
  const page = new Page();
  page.sees(NARROW, NARROW_MS);
  return page;
}

describe("the sizes that go to the router", () => {
  it("are all of them while the way carries them", () => {
    expect(new Page().sees(NEEDED, 60_000)).toBe("all");
  });

  it("are one where the way carries too little for two seconds", () => {
    const page = new Page();
    expect(page.sees(NARROW, NARROW_MS - 1000)).toBe("all");
    expect(page.looks(NARROW)).toBe("one");
  });

  it("stay all of them in a short dip, however many there are", () => {
    const page = new Page();
    for (let dip = 0; dip < 10; dip += 1) {
      page.sees(NARROW, NARROW_MS - 1000);
      expect(page.looks(NEEDED)).toBe("all");
    }
  });

  it("stay what they are while nothing is known, or no picture is sent", () => {
    const page = new Page();
    expect(page.sees(null, 60_000)).toBe("all");
    expect(page.sees(NARROW, 60_000, 0)).toBe("all");
    page.looks(NARROW);
    page.looks(null);
    expect(page.looks(NARROW)).toBe("all");
    const one = narrowed();
    expect(one.sees(null, 2 * WAIT_MS)).toBe("one");
    expect(one.sees(WIDE, 2 * WAIT_MS, 0)).toBe("one");
  });

  it("are no question of a picture that has one", () => {
    expect(new Page().sees(1, 60_000, 320 * 180)).toBe("all");
  });

  it("are all of them again when the way has had room to spare for long", () => {
    const page = narrowed();
    expect(page.sees(WIDE - 1, 10 * WAIT_MS)).toBe("one");
    expect(page.sees(WIDE, WAIT_MS - 1000)).toBe("one");
    expect(page.looks(WIDE)).toBe("all");
  });

  it("have the whole wait before them after each moment without room", () => {
    const page = narrowed();
    page.sees(WIDE, WAIT_MS - 1000);
    page.looks(WIDE - 1);
    expect(page.sees(WIDE, WAIT_MS - 1000)).toBe("one");
  });

  it("wait twice as long when coming back failed, up to a bound", () => {
    const page = narrowed();
    for (const waitMs of [WAIT_MS, 2 * WAIT_MS, 4 * WAIT_MS, 8 * WAIT_MS, WAIT_MS_MAX, WAIT_MS_MAX]) {
      expect(page.sees(WIDE, waitMs - 1000), `before ${waitMs} ms`).toBe("one");
      expect(page.looks(WIDE), `after ${waitMs} ms`).toBe("all");
      expect(page.sees(NARROW, NARROW_MS)).toBe("one");
    }
  });

  it("wait as at first when they lasted longer than the wait for them", () => {
    const page = narrowed();
    page.sees(WIDE, WAIT_MS);
    page.sees(NARROW, NARROW_MS);
    expect(page.sees(WIDE, 2 * WAIT_MS)).toBe("all");
    page.sees(NEEDED, 2 * WAIT_MS);
    page.sees(NARROW, NARROW_MS);
    expect(page.sees(WIDE, WAIT_MS)).toBe("all");
  });
});
