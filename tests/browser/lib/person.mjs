// A person at the page, in the words of a call. Works on any browser that can go, click and evaluate.

import { strict as assert } from "node:assert";
import { inspectPeer } from "./inpage.mjs";
import { until } from "./until.mjs";

export class Person {
  constructor(handle, browser) {
    this.handle = handle;
    this.browser = browser;
  }

  async signIn(link) {
    await this.browser.goto(link);
    await this.online();
  }

  state() {
    return this.browser.evaluate(() => window.duocast?.state() ?? null);
  }

  stats() {
    return this.browser.evaluate(() => window.duocast.stats());
  }

  inspect() {
    return this.browser.evaluate(inspectPeer);
  }

  /** Waits until `look` of the page's state is true; says on failure what the state was. */
  async sees(what, look, patienceMs) {
    let last = null;
    try {
      return await until(`${this.handle} sees: ${what}`, async () => look((last = await this.state()) ?? {}), patienceMs);
    } catch (error) {
      error.message += `; last seen: ${JSON.stringify(last)}`;
      throw error;
    }
  }

  online(patienceMs) {
    return this.sees("connection open", (state) => state.connection === "open", patienceMs);
  }

  click(testId) {
    return this.browser.click(testId);
  }

  /** What an element says, or one of its attributes; null if it is not there. */
  read(testId, attribute = null) {
    return this.browser.evaluate(
      ({ testId, attribute }) => {
        const found = document.querySelector(`[data-testid="${testId}"]`);
        return found && (attribute ? found.getAttribute(attribute) : found.textContent.trim());
      },
      { testId, attribute },
    );
  }

  shows(testId, patienceMs) {
    return until(`${this.handle}'s page shows ${testId}`, async () => (await this.read(testId)) !== null, patienceMs);
  }

  hides(testId, patienceMs) {
    return until(`${this.handle}'s page hides ${testId}`, async () => (await this.read(testId)) === null, patienceMs);
  }

  async calls(callee, { video = true } = {}) {
    await this.shows(`contact-${callee}`);
    await until(`${this.handle} sees ${callee} online`, async () => (await this.read(`contact-${callee}`, "data-online")) === "true");
    await this.click(`${video ? "video" : "audio"}-${callee}`);
  }

  rings(patienceMs) {
    return this.sees("an incoming call", (state) => state.incoming, patienceMs);
  }

  async accepts({ video = true } = {}) {
    await this.rings();
    await this.click(video ? "accept-video" : "accept");
  }

  isLive(patienceMs) {
    return this.sees("a live call", (state) => state.call?.state === "live" && state.leg === "connected" && state, patienceMs);
  }

  /** Waits for the end of the call; gives the reason and what the screen says of it. */
  async ended(patienceMs) {
    await this.shows("screen-ended", patienceMs);
    return { reason: await this.read("screen-ended", "data-reason"), title: await this.read("ended-title") };
  }

  async closesEnded() {
    await this.click("ended-close");
    await this.shows("screen-home");
  }

  /** Leaves whatever a story that failed has left behind, so that the next one can be told. */
  async backHome() {
    await until(`${this.handle} is at the contacts`, async () => {
      const { call, ended } = await this.state();
      if (call) await this.click("hangup");
      else if (ended) await this.click("ended-close");
      return !call && !ended;
    });
  }

  /**
   * Hears sound and sees pictures that are newer than this moment: decoded frames, sound energy and samples out of the
   * jitter buffer all rise by more than what could have been on its way.
   */
  async receives({ video = true, patienceMs } = {}) {
    const before = (await this.stats()).leg;
    let now = null;
    try {
      await until(`${this.handle} hears${video ? " and sees" : ""} the other side`, async () => {
        now = (await this.stats()).leg;
        if (!now) return false;
        const from = before && now.audioIn.samples >= before.audioIn.samples ? before : ZERO;
        const heard = now.audioIn.energy > from.audioIn.energy && now.audioIn.emitted > from.audioIn.emitted + 24_000;
        const seen = !video || now.videoIn.framesDecoded > from.videoIn.framesDecoded + 10;
        return heard && seen;
      }, patienceMs);
    } catch (error) {
      error.message += `; last: ${JSON.stringify(now)}`;
      throw error;
    }
    return now;
  }

  close() {
    assert.deepEqual(this.errors ?? [], [], `errors on ${this.handle}'s page`);
    return this.browser.close();
  }
}

const ZERO = { audioIn: { energy: 0, emitted: 0 }, videoIn: { framesDecoded: 0 } };

/** A live call between two people with sound and, unless left out, pictures in both directions. */
export async function callBetween(caller, callee, { video = true } = {}) {
  await caller.calls(callee.handle, { video });
  await callee.accepts({ video });
  await Promise.all([caller.isLive(), callee.isLive()]);
  await Promise.all([caller.receives({ video }), callee.receives({ video })]);
}

/** The caller hangs up, both see it and are back at their contacts. */
export async function hangUp(by, other) {
  await by.click("hangup");
  assert.equal((await by.ended()).reason, "hung_up");
  assert.equal((await other.ended()).reason, "hung_up");
  await Promise.all([by.closesEnded(), other.closesEnded()]);
}
