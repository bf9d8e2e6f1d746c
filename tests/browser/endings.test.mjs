// All the ways in which a call does not come about, or ends, as both people see them.

import { strict as assert } from "node:assert";
import { after, before, beforeEach, test } from "node:test";
import { chromiumPerson, launchChromium } from "./lib/chromium.mjs";
import { callBetween, hangUp } from "./lib/person.mjs";
import { Server } from "./lib/server.mjs";
import { until } from "./lib/until.mjs";

/** Nobody answers for 45 s; then it ends by itself. */
const UNANSWERED_MS = 60_000;

let server, browser, alice, bob, bobsOtherTab, carol, dave, erin, unanswered;

before(async () => {
  server = await Server.start();
  await server.account("carol", ["alice", "bob"]);
  await server.account("dave", []);
  await server.account("erin", ["dave"]);
  await server.account("frank", ["carol"]);
  browser = await launchChromium();
  const join = (handle) => chromiumPerson(browser, server, handle);
  // This one rings on, unanswered, while the other stories are told.
  [dave, erin] = await Promise.all([join("dave"), join("erin")]);
  await dave.calls("erin", { video: false });
  const since = Date.now();
  await erin.rings();
  unanswered = dave.ended(UNANSWERED_MS).then((ending) => ({ ...ending, rangMs: Date.now() - since }));
  unanswered.catch(() => "its own story tells of it");
  [alice, bob, carol] = await Promise.all([join("alice"), join("bob"), join("carol")]);
});

beforeEach(() => Promise.all([alice, bob, carol].map((person) => person.backHome())));

after(async () => {
  await browser?.close();
  await server?.remove();
});

test("the callee declines", async () => {
  await alice.calls("bob");
  await bob.rings();
  await bob.click("decline");
  assert.deepEqual(await alice.ended(), { reason: "declined", title: "Bob declined" });
  await bob.hides("incoming");
  await bob.shows("screen-home");
  await alice.closesEnded();
});

test("the caller gives up, and the callee has a missed call", async () => {
  await alice.calls("bob");
  await bob.rings();
  await alice.click("hangup");
  assert.deepEqual(await alice.ended(), { reason: "cancelled", title: "You cancelled the call" });
  await bob.hides("incoming");
  assert.match(await bob.read("notices"), /Missed call from Alice/);
  await alice.closesEnded();
});

test("both of bob's tabs ring, one answers, and the other says so", async () => {
  bobsOtherTab = await chromiumPerson(browser, server, "bob", { context: bob.context });
  await alice.calls("bob");
  await Promise.all([bob.rings(), bobsOtherTab.rings()]);
  await bobsOtherTab.accepts();
  await bob.hides("incoming");
  await until("bob's first tab says where the call went", async () =>
    /answered on another device/.test(await bob.read("notices")),
  );
  await Promise.all([alice.isLive(), bobsOtherTab.isLive()]);
  await Promise.all([alice.receives(), bobsOtherTab.receives()]);
  assert.equal((await bob.state()).call, null);
  await hangUp(bobsOtherTab, alice);
});

test("a tab that is opened in mid-call leaves the call where it is", async () => {
  await callBetween(bob, alice, { video: false });
  await bobsOtherTab.browser.reload();
  await bobsOtherTab.online();
  await bobsOtherTab.shows("contact-alice");
  const state = await bobsOtherTab.state();
  assert.deepEqual([state.call, state.incoming, state.ended], [null, null, null]);
  await bobsOtherTab.click("audio-carol");
  assert.deepEqual(await bobsOtherTab.ended(), { reason: "failed", title: "You are already in a call" });
  await Promise.all([alice.receives({ video: false }), bob.receives({ video: false })]);
  await hangUp(alice, bob);
  await bobsOtherTab.page.close();
});

test("whoever calls somebody in a call is told that they are busy, and the call goes on", async () => {
  await callBetween(alice, bob, { video: false });
  await carol.calls("bob", { video: false });
  assert.deepEqual(await carol.ended(), { reason: "busy", title: "Bob is in another call" });
  assert.equal((await bob.state()).incoming, null);
  await Promise.all([alice.receives({ video: false }), bob.receives({ video: false })]);
  await carol.closesEnded();
  await hangUp(bob, alice);
});

test("whoever is offline is not reachable", async () => {
  await carol.shows("contact-frank");
  assert.equal(await carol.read("contact-frank", "data-online"), "false");
  await carol.click("audio-frank");
  assert.deepEqual(await carol.ended(), { reason: "failed", title: "Frank is not reachable" });
  await carol.closesEnded();
});

test("a contact who comes while the list of contacts is on its way is shown online", async () => {
  const delivered = () => server.metric("duocast_control_events_delivered_total");
  const list = "**/duocast.v1.CallService/ListContacts";
  let frank;
  await carol.page.route(list, async (route) => {
    const before = await route.fetch();
    const start = await delivered();
    frank = await chromiumPerson(browser, server, "frank");
    // His own first event, and the one that tells carol.
    await until("carol was told of frank", async () => (await delivered()) >= start + 2);
    await route.fulfill({ response: before });
  });
  await carol.browser.reload();
  await until("carol sees frank online", async () => (await carol.read("contact-frank", "data-online")) === "true");
  await carol.page.unroute(list);
  await frank.close();
});

test("a handle that nobody has was not found", async () => {
  await carol.page.getByTestId("search").fill("nobody");
  await carol.click("audio-nobody");
  assert.deepEqual(await carol.ended(), { reason: "failed", title: "nobody was not found" });
  await carol.closesEnded();
});

test("a sign-in that the server did not give is not accepted", async () => {
  const page = await (await browser.newContext()).newPage();
  const [head, claims] = (await server.token("alice")).split(".");
  await page.goto(`${server.page}/#token=${head}.${claims}.${"A".repeat(86)}`);
  await page.getByTestId("screen-signin-rejected").waitFor();
  await page.context().close();
});

test("a call that nobody answers ends by itself after 45 seconds", async () => {
  const { reason, title, rangMs } = await unanswered;
  assert.deepEqual({ reason, title }, { reason: "timed_out", title: "Erin did not answer" });
  assert.ok(rangMs > 43_000 && rangMs < 52_000, `it rang for ${rangMs} ms`);
  await erin.hides("incoming");
  assert.match(await erin.read("notices"), /Missed call from Dave/);
});

test("no page reported an error, and the server logged nobody's name or address", async () => {
  await Promise.all([alice, bob, carol, dave, erin].map((person) => person.close()));
  assert.doesNotMatch(server.logged(), /alice|bob|carol|dave|erin|frank|127\.0\.0\.1:\d+.*(peer|client)|panicked/i);
});
