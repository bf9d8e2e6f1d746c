// Who may call: the first question, settings in two tabs, permission asked for and given, blocks, and what all of that
// does to a call that rings.

import { strict as assert } from "node:assert";
import { after, before, beforeEach, test } from "node:test";
import { chromiumPerson, launchChromium } from "./lib/chromium.mjs";
import { callBetween, hangUp } from "./lib/person.mjs";
import { Server } from "./lib/server.mjs";
import { isChecked, leavesSettings, opensSettings, saves } from "./lib/settings.mjs";
import { until } from "./lib/until.mjs";

let server, browser, alice, bob, dave;

before(async () => {
  server = await Server.start();
  await server.account("dave", []);
  browser = await launchChromium();
  const join = (handle) => chromiumPerson(browser, server, handle);
  [alice, bob, dave] = await Promise.all([join("alice"), join("bob"), join("dave")]);
});

beforeEach(() => Promise.all([alice, bob, dave].map((person) => person.backHome())));

after(async () => {
  await browser?.close();
  await server?.remove();
});

/** Whether anything of an attempt to call is to be seen or heard. */
async function isUndisturbed(person) {
  const { incoming, call, ended } = await person.state();
  const sounding = await person.browser.evaluate(() => window.sounds.some((sound) => !sound.paused && sound.srcObject));
  return incoming === null && call === null && ended === null && !sounding && (await person.read("notices")) === "";
}

/** What the page did about media so far: connections, sound, devices. */
function mediaOf(person) {
  return person.browser.evaluate(() => ({ peers: window.peers.length, contexts: window.contexts.length, devices: window.devices.asked }));
}

test("somebody new is asked first, and nothing rings before the answer", async () => {
  const nina = await chromiumPerson(browser, server, "nina");
  await nina.shows("screen-first-run");
  const here = ["--url", server.url, "--data-dir", server.data];
  await server.ctl("follow", "nina", "alice", "--mutual", ...here);
  assert.equal(await nina.browser.evaluate(() => document.activeElement?.tagName), "H1", "no answer is preselected");
  await alice.page.getByTestId("search").fill("nina");
  await alice.click("audio-nina");
  assert.match((await alice.ended()).title, /not reachable/);
  assert.ok(await isUndisturbed(nina));
  await alice.closesEnded();

  await nina.browser.reload();
  await nina.shows("screen-first-run");
  await nina.click("calling-no");
  await nina.shows("banner-calling-off");
  await nina.browser.reload();
  await nina.shows("banner-calling-off");

  await opensSettings(nina);
  await nina.click("set-calling");
  assert.match(await saves(nina), /1 more person could ring you: Alice/);
  await leavesSettings(nina);
  await nina.hides("banner-calling-off");
  await alice.page.getByTestId("search").fill("nina");
  await alice.click("audio-nina");
  await nina.rings();
  await nina.click("decline");
  await alice.ended();
  await alice.closesEnded();
  await alice.page.getByTestId("search").fill("");
  await nina.close();
});

test("settings are the same in two tabs, and what is not saved in one is not lost", async () => {
  const other = await chromiumPerson(browser, server, "bob", { context: bob.context });
  await Promise.all([opensSettings(bob), opensSettings(other)]);
  assert.equal(await isChecked(bob, "set-audience-mutuals"), true);
  assert.equal(await isChecked(bob, "set-enhanced"), true);
  assert.equal(await isChecked(bob, "set-direct-never"), true);
  assert.equal(await bob.page.getByTestId("set-direct-ask").isDisabled(), true);
  assert.match(await bob.read("direct-why"), /every call goes through the server/);

  await other.click("set-e2ee");
  await bob.click("set-audience-mutuals");
  assert.match(await saves(bob), /1 person could no longer ring you: Alice/);
  await until("the other tab follows", async () => !(await isChecked(other, "set-audience-mutuals")));
  assert.equal(await isChecked(other, "set-e2ee"), true, "its own change is still there");
  await other.click("privacy-discard");
  assert.equal(await isChecked(other, "set-e2ee"), false);
  assert.equal(await other.read("callers"), "", "nobody can ring bob any more");

  await bob.click("set-audience-mutuals");
  assert.match(await saves(bob), /1 more person could ring you: Alice/);
  await until("alice is listed with the reason", async () => /Alice.*follow each other/i.test((await other.read("callers")) ?? ""));
  await bob.browser.reload();
  await opensSettings(bob);
  assert.equal(await isChecked(bob, "set-audience-mutuals"), true);
  await leavesSettings(bob);
  await other.page.close();
});

test("a stranger asks, is allowed, calls, and loses the permission again", async () => {
  await alice.page.getByTestId("search").fill("dave");
  await until("alice reads why she cannot call", async () => /call request/i.test((await alice.read("stranger-reason")) ?? ""));
  await alice.click("stranger-dave");
  const before = await mediaOf(dave);
  await alice.click("ask-permission");
  await until("she reads that it waits", async () => /you can call once they accept/i.test((await alice.read("standing")) ?? ""));

  await dave.shows("requests-badge");
  assert.ok(await isUndisturbed(dave), "nothing rings, nothing sounds");
  await dave.click("tab-requests");
  assert.match(await dave.read("requests"), /Alice/);
  assert.deepEqual(await mediaOf(dave), before, "no media code is touched");
  await dave.page.getByTestId("request-days-alice").selectOption("7");
  await dave.click("request-accept-alice");
  await dave.hides("requests-badge");

  await until("alice may call now", async () => (await alice.read("standing")) === "");
  await alice.click("person-audio");
  await dave.accepts({ video: false });
  await Promise.all([alice.isLive(), dave.isLive()]);
  await Promise.all([alice.receives({ video: false }), dave.receives({ video: false })]);
  await hangUp(dave, alice);

  await opensSettings(dave);
  await until("dave sees the permission", async () => /Alice.*May call until.*asked for it/.test((await dave.read("grants")) ?? ""));
  await dave.click("revoke-alice");
  await until("it is gone", async () => !/Alice/.test((await dave.read("grants")) ?? ""));
  await leavesSettings(dave);
  await alice.page.getByTestId("search").fill("dave");
  await alice.click("audio-dave");
  const { reason, title } = await alice.ended();
  assert.deepEqual({ reason, title }, { reason: "failed", title: "Dave has to allow your call first" });
  assert.ok(await isUndisturbed(dave));
  await alice.closesEnded();
  await alice.page.getByTestId("search").fill("");
});

test("somebody is blocked in a call: it ends, and neither can call the other until that is taken back", async () => {
  await callBetween(alice, bob, { video: false });
  await bob.click("call-more");
  await bob.click("block");
  await bob.click("block-now");
  await Promise.all([alice.ended(), bob.ended()]);
  assert.doesNotMatch((await alice.read("ended-title")) ?? "", /block/i, "alice is not told");
  await Promise.all([alice.closesEnded(), bob.closesEnded()]);

  await alice.page.getByTestId("search").fill("bob");
  await alice.click("audio-bob");
  assert.equal((await alice.ended()).title, "Bob is not reachable");
  assert.ok(await isUndisturbed(bob));
  await alice.closesEnded();

  await opensSettings(bob);
  await bob.shows("unblock-alice");
  await bob.click("unblock-alice");
  await bob.hides("unblock-alice");
  await leavesSettings(bob);
  await alice.page.getByTestId("search").fill("");
  await callBetween(alice, bob, { video: false });
  await hangUp(alice, bob);
});

test("after a call the other one can be blocked, and unblocked", async () => {
  await callBetween(alice, bob, { video: false });
  await alice.click("hangup");
  await Promise.all([alice.ended(), bob.ended()]);
  await bob.click("block");
  await bob.click("block-now");
  await bob.shows("blocked");
  await bob.click("unblock");
  await bob.hides("blocked");
  await Promise.all([alice.closesEnded(), bob.closesEnded()]);
});

test("a change of settings in another tab stops the ringing", async () => {
  const other = await chromiumPerson(browser, server, "bob", { context: bob.context });
  await opensSettings(other);
  await other.click("set-calling");
  await other.shows("preview-says");
  await alice.calls("bob", { video: false });
  await Promise.all([bob.rings(), other.rings()]);
  // The ringing lies over the page, as over any other: a person would have pressed just before.
  await other.browser.evaluate(() => document.querySelector('[data-testid="privacy-save"]').click());
  await Promise.all([bob.hides("incoming"), other.hides("incoming")]);
  await alice.ended();
  await alice.closesEnded();
  await bob.shows("banner-calling-off");
  await other.click("set-calling");
  await saves(other);
  await bob.hides("banner-calling-off");
  await other.page.close();
});

test("no page reported an error, and the server logged nobody's name", async () => {
  await Promise.all([alice, bob, dave].map((person) => person.close()));
  assert.doesNotMatch(server.logged(), /alice|bob|dave|nina|panicked/i);
});
