// Every screen of the real page: without serious barriers, usable by keyboard alone, and pictured in out/screens.

import { strict as assert } from "node:assert";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromiumPerson, launchChromium } from "./lib/chromium.mjs";
import { hangUp } from "./lib/person.mjs";
import { allowsDirect, privacySays } from "./lib/settings.mjs";
import { ROOT, Server } from "./lib/server.mjs";

const OUT = join(ROOT, "out/screens");
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SIZES = { phone: { width: 390, height: 844 }, desktop: { width: 1280, height: 800 } };
/** More key presses than any screen has controls. */
const TABS_MAX = 40;

let server, browser, alice, bob;

before(async () => {
  mkdirSync(OUT, { recursive: true });
  server = await Server.start();
  for (const handle of ["carol", "dave"]) await server.account(handle, ["alice"]);
  browser = await launchChromium();
  [alice, bob] = await Promise.all([chromiumPerson(browser, server, "alice"), chromiumPerson(browser, server, "bob")]);
});

after(async () => {
  await browser?.close();
  await server?.remove();
});

/** Pictures of a screen in both sizes and schemes. Axe judges each size and each scheme once: they do not depend on each other. */
async function look(page, name) {
  for (const [size, viewport] of Object.entries(SIZES)) {
    for (const colorScheme of ["light", "dark"]) {
      await page.setViewportSize(viewport);
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.screenshot({ path: join(OUT, `${name}.${size}.${colorScheme}.png`) });
      if ((size === "phone") === (colorScheme === "light")) await judge(page, `${name}, ${size}, ${colorScheme}`);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} fits into ${size}`);
    }
  }
}

async function judge(page, what) {
  await page.evaluate(AXE);
  const { violations, passes } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  assert.ok(passes.length > 5, `${what}: axe looked at the page`);
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const told = serious.map(({ id, help, nodes }) => `${id}: ${help}\n    ${nodes.map(({ html }) => html).join("\n    ")}`);
  assert.equal(told.join("\n"), "", what);
}

/** Moves the focus with Tab until it is on the element, as somebody without a mouse would. */
async function tabTo(page, testId) {
  const target = page.getByTestId(testId);
  for (let presses = 0; presses < TABS_MAX; presses += 1) {
    if (await target.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`${testId} is not reached by Tab`);
}

async function press(page, testId, key = "Enter") {
  await tabTo(page, testId);
  await page.keyboard.press(key);
}

test("signing in: without a link, with a wrong one, by keyboard", async () => {
  const page = await (await browser.newContext()).newPage();
  await page.goto(server.page);
  await page.getByTestId("screen-signin-none").waitFor();
  await look(page, "1-sign-in");
  await tabTo(page, "token-input");
  await page.keyboard.type("not a link");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").filter({ hasText: "not a sign-in link" }).waitFor();
  await look(page, "1-sign-in-wrong");
  await tabTo(page, "token-input");
  await page.keyboard.press("Control+A");
  await page.keyboard.type(await server.link("carol"));
  await page.keyboard.press("Enter");
  await page.getByTestId("screen-home").waitFor();
  await page.context().close();
});

test("the contacts, a person, the recent calls, the devices", async () => {
  await alice.shows("contact-bob");
  await look(alice.page, "2-contacts");
  await press(alice.page, "open-devices");
  await alice.shows("devices");
  await look(alice.page, "3-devices");
  await press(alice.page, "devices-done");
  await alice.hides("devices");
});

test("a video call by keyboard alone: placed, answered, muted, ended", async () => {
  await press(alice.page, "video-bob");
  await bob.rings();
  await alice.sees("ringing", (state) => state.call?.state === "ringing");
  await look(alice.page, "4-calling");
  await look(bob.page, "5-incoming");
  await press(bob.page, "accept-video");
  await Promise.all([alice.isLive(), bob.isLive()]);
  await Promise.all([alice.receives(), bob.receives()]);
  await look(alice.page, "6-video-call");

  await alice.page.keyboard.press("m");
  await bob.shows("peer-muted");
  await press(alice.page, "mic", "Space");
  await bob.hides("peer-muted");
  await alice.page.keyboard.press("v");
  await bob.shows("peer-camera-off");
  await look(bob.page, "7-camera-off");
  await press(alice.page, "hangup");
  assert.equal((await bob.ended()).reason, "hung_up");
  await alice.ended();
  await look(bob.page, "8-ended");
  await press(alice.page, "ended-close");
  await press(bob.page, "ended-close");
  await Promise.all([alice.shows("screen-home"), bob.shows("screen-home")]);
});

test("an audio call, and somebody who is not reachable", async () => {
  await press(bob.page, "audio-alice");
  await alice.rings();
  await look(alice.page, "9-incoming-audio");
  await press(alice.page, "accept", "Space");
  await Promise.all([alice.isLive(), bob.isLive()]);
  await alice.receives({ video: false });
  await look(alice.page, "10-audio-call");
  await hangUp(alice, bob);
  await press(alice.page, "tab-contacts", "ArrowRight");
  await look(alice.page, "11-recent");
  await alice.page.keyboard.press("ArrowLeft");
  await press(alice.page, "audio-dave");
  assert.equal((await alice.ended()).title, "Dave is not reachable");
  await look(alice.page, "12-not-reachable");
  await press(alice.page, "ended-close");
});

test("the first question, by keyboard alone", async () => {
  const nina = await chromiumPerson(browser, server, "nina");
  await nina.shows("screen-first-run");
  await look(nina.page, "14-first-run");
  await press(nina.page, "calling-yes");
  await nina.shows("screen-home");
  await nina.close();
});

test("calls and privacy: changed, previewed and saved by keyboard alone", async () => {
  await server.account("erin", []);
  const erin = await chromiumPerson(browser, server, "erin");
  await erin.page.getByTestId("search").fill("bob");
  await erin.click("stranger-bob");
  await erin.shows("ask-permission");
  await look(erin.page, "15-stranger");
  await press(erin.page, "ask-permission");
  await bob.shows("requests-badge");
  await press(bob.page, "open-privacy");
  await bob.shows("request-accept-erin");
  await bob.shows("callers");
  await press(bob.page, "set-audience-mutuals", "Space");
  await bob.shows("preview-says");
  await look(bob.page, "16-calls-and-privacy");
  await press(bob.page, "privacy-discard");
  await bob.hides("privacy-discard");
  await press(bob.page, "request-accept-erin");
  await bob.shows("revoke-erin");
  await press(bob.page, "revoke-erin");
  await bob.hides("revoke-erin");
  await press(bob.page, "privacy-back");
  await bob.shows("screen-home");
  await erin.close();
});

test("who can see whose address, in a call", async () => {
  await allowsDirect(alice);
  await allowsDirect(bob);
  await press(alice.page, "audio-bob");
  await bob.rings();
  await press(bob.page, "accept");
  await Promise.all([alice.isLive(), bob.isLive()]);
  await look(alice.page, "17-through-the-server");
  await press(alice.page, "go-direct");
  await bob.shows("direct-question");
  await look(bob.page, "18-direct-question");
  await press(bob.page, "direct-yes");
  await privacySays(alice, /^Direct: your IP address is visible to Bob since /);
  await look(alice.page, "19-direct");
  await press(alice.page, "go-private");
  await privacySays(alice, /^Through the server again/);
  await look(alice.page, "20-private-again");
  await press(alice.page, "call-more");
  await press(alice.page, "block");
  await look(alice.page, "21-block");
  await press(alice.page, "block-cancel");
  await hangUp(alice, bob);
});

test("the server is away", async () => {
  await server.kill();
  await alice.shows("banner-lost");
  await look(alice.page, "13-no-connection");
  await Promise.all([alice.close(), bob.close()]);
});
