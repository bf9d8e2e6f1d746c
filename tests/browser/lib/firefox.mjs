// Firefox with a fake camera and microphone, driven over WebDriver BiDi.

import puppeteer from "puppeteer-core";
import { Person } from "./person.mjs";
import { watchPeers } from "./inpage.mjs";

const EXECUTABLE = process.env.FIREFOX ?? "/usr/bin/firefox-esr";

const PREFERENCES = {
  "media.navigator.streams.fake": true,
  "media.navigator.permission.disabled": true,
  "media.autoplay.default": 0,
  "media.autoplay.blocking_policy": 0,
  // The video codec plugin would be downloaded; VP8 and VP9 are built in.
  "media.gmp-manager.updateEnabled": false,
};

export function launchFirefox() {
  return puppeteer.launch({ browser: "firefox", executablePath: EXECUTABLE, headless: true, extraPrefsFirefox: PREFERENCES });
}

export async function firefoxPerson(browser, server, handle) {
  const page = await browser.newPage();
  await page.evaluateOnNewDocument(watchPeers, { rawMic: false });
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  const person = new Person(handle, {
    goto: (url) => page.goto(url),
    reload: () => page.reload(),
    evaluate: (code, argument) => page.evaluate(code, argument),
    click: (testId) => page.locator(`[data-testid="${testId}"]`).click(),
    close: () => page.close(),
  });
  Object.assign(person, { page, errors });
  await person.signIn(await server.link(handle));
  return person;
}
