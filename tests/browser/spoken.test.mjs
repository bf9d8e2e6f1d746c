// What a screen reader has to say of a call: the live regions of the page, and where the focus is in Chromium's own
// accessibility tree.

import { strict as assert } from "node:assert";
import { after, before, test } from "node:test";
import { chromiumPerson, launchChromium } from "./lib/chromium.mjs";
import { listenToRegions } from "./lib/inpage.mjs";
import { Server } from "./lib/server.mjs";
import { until } from "./lib/until.mjs";

let server, browser, alice, bob;

before(async () => {
  server = await Server.start();
  browser = await launchChromium();
  [alice, bob] = await Promise.all(
    ["alice", "bob"].map(async (handle) => {
      const person = await chromiumPerson(browser, server, handle, { init: [listenToRegions] });
      return Object.assign(person, { cdp: await person.context.newCDPSession(person.page) });
    }),
  );
});

after(async () => {
  await browser?.close();
  await server?.remove();
});

/** Waits until a live region has said it since `spokenSoFar`. */
function hears(person, words, from) {
  return until(`${person.handle} hears ${JSON.stringify(words)}`, async () => {
    const said = (await person.browser.evaluate(() => window.spoken)).slice(from);
    return said.includes(words);
  }).catch(async (error) => {
    error.message += `; said: ${JSON.stringify(await person.browser.evaluate(() => window.spoken))}`;
    throw error;
  });
}

const spokenSoFar = (person) => person.browser.evaluate(() => window.spoken.length);

/** Role, name and description of each part of the page that assistive technology is given. */
async function tree(person) {
  const { nodes } = await person.cdp.send("Accessibility.getFullAXTree");
  return nodes
    .filter((node) => !node.ignored)
    .map(({ role, name, description, properties = [] }) => ({
      role: role?.value ?? "",
      name: name?.value ?? "",
      description: description?.value ?? "",
      focused: properties.some((one) => one.name === "focused" && one.value.value === true),
    }));
}

function focusIsAt(person, role, name) {
  return until(`${person.handle}'s focus is at the ${role} ${name}`, async () =>
    (await tree(person)).some((node) => node.focused && node.role === role && node.name === name),
  );
}

test("ringing is said to both", async () => {
  await alice.calls("bob", { video: false });
  await bob.rings();
  await hears(alice, "Ringing…", 0);
  await focusIsAt(bob, "heading", "Alice is calling");
  const dialog = (await tree(bob)).find((node) => node.role === "alertdialog");
  assert.deepEqual([dialog?.name, dialog?.description], ["Alice is calling", "Incoming audio call"]);
});

test("the answer is said to both", async () => {
  await bob.accepts({ video: false });
  await Promise.all([alice.isLive(), bob.isLive()]);
  await Promise.all([hears(alice, "Connected with Bob", 0), hears(bob, "Connected with Alice", 0)]);
  await focusIsAt(bob, "heading", "Call with Alice");
});

test("muting and the camera are said to both, however they are switched", async () => {
  const switched = async (change, own, others) => {
    const from = await Promise.all([alice, bob].map(spokenSoFar));
    await change();
    await hears(alice, own, from[0]);
    if (others) await hears(bob, others, from[1]);
  };
  await switched(() => alice.page.keyboard.press("m"), "You are muted", "Alice is muted");
  await switched(() => alice.page.keyboard.press("m"), "Your microphone is on");
  await switched(() => alice.click("mic"), "You are muted", "Alice is muted");
  await switched(() => alice.click("mic"), "Your microphone is on");
  await switched(() => alice.page.keyboard.press("v"), "Your camera is on");
  await switched(() => alice.click("cam"), "Your camera is off");
});

test("the end is said to both", async () => {
  await alice.click("hangup");
  await Promise.all([focusIsAt(alice, "heading", "You hung up"), focusIsAt(bob, "heading", "Alice hung up")]);
  await Promise.all([alice.closesEnded(), bob.closesEnded()]);
});

test("a missed call is said, as the dialog is gone by then", async () => {
  const from = await spokenSoFar(bob);
  await alice.calls("bob", { video: false });
  await bob.rings();
  await alice.click("hangup");
  await until("bob hears of it", async () =>
    (await bob.browser.evaluate(() => window.spoken)).slice(from).some((words) => words.startsWith("Missed call from Alice")),
  );
});

test("neither page reported an error", () => Promise.all([alice.close(), bob.close()]));
