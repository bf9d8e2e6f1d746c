// A person at the settings page, and in a call's line about privacy.

import { strict as assert } from "node:assert";
import { until } from "./until.mjs";

export async function opensSettings(person) {
  await person.click("open-privacy");
  await person.shows("set-calling");
}

export async function leavesSettings(person) {
  await person.click("privacy-back");
  await person.shows("screen-home");
}

/** Saves what was changed, once its effect is shown; gives what was said of it. */
export async function saves(person) {
  await person.shows("preview-says");
  const said = await person.page.getByTestId("preview-says").allTextContents();
  await person.click("privacy-save");
  await person.hides("privacy-save");
  return said.join(" ");
}

/** Lets this person be asked for direct connections. */
export async function allowsDirect(person, setting = "ask") {
  await opensSettings(person);
  await person.click("set-enhanced");
  await person.click(`set-direct-${setting}`);
  await saves(person);
  await leavesSettings(person);
}

export function isChecked(person, testId) {
  return person.page.getByTestId(testId).isChecked();
}

/** The line of a call about who can see whose address. */
export function privacySays(person, words) {
  return until(`${person.handle} reads ${words}`, async () => words.test((await person.read("privacy")) ?? ""));
}

/** Both send and play on the direct path alone. */
export function areDirect(...people) {
  return Promise.all(
    people.map((person) =>
      person.sees("a direct connection", ({ direct }) => direct.phase === "active" && direct.plays.audio === "direct" && !direct.sends.routed.audio),
    ),
  );
}

/** Both send and play through the router alone, and no direct connection is left. */
export function areRouted(...people) {
  return Promise.all(
    people.map((person) =>
      person.sees("only the router's path", ({ direct }) => direct.phase === "routed" && direct.stage === null && direct.plays.audio === "routed"),
    ),
  );
}

/** Goes direct: one asks, the other says yes. */
export async function goDirect(asking, asked) {
  await asking.click("go-direct");
  await asked.shows("direct-question");
  await asked.click("direct-yes");
  await areDirect(asking, asked);
}

export function percentile(values, share) {
  assert.ok(values.length > 0);
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
}
