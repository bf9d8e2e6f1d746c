// Chromium with a fake camera and microphone, and pages signed in as somebody.

import { chromium } from "playwright-core";
import { Person } from "./person.mjs";
import { watchPeers } from "./inpage.mjs";

const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";

const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--use-fake-ui-for-media-stream",
  "--autoplay-policy=no-user-gesture-required",
  // A machine without a network has no other address than loopback.
  "--allow-loopback-in-peer-connection",
];

/**
 * `wav`: what the microphone hears, again and again, instead of beeps. `quic`: the host:port of each place, with commas, that
 * is reached by HTTP/3 only. `cameras`: how many there are to choose from; of microphones and speakers there are always three.
 */
export async function launchChromium({ wav, quic, trustKey, cameras = 1, args = [] } = {}) {
  const own = [`--use-fake-device-for-media-stream=fps=30,device-count=${cameras}`];
  if (wav) own.push(`--use-file-for-fake-audio-capture=${wav}`);
  if (quic) own.push(`--origin-to-force-quic-on=${quic}`);
  if (trustKey) own.push(`--ignore-certificate-errors-spki-list=${trustKey}`);
  return chromium.launch({ executablePath: EXECUTABLE, args: [...ARGS, ...own, ...args] });
}

/**
 * A person at a window of their own: own storage, own sign-in. Errors of the page fail the test through `person.errors`.
 * `init`: a function that runs before the page's own code, and what it is given. `context`: the window, if there is one.
 */
export async function chromiumPerson(browser, server, handle, { rawMic = false, camera = {}, origin, options = {}, init, context } = {}) {
  context ??= await browser.newContext({ viewport: { width: 900, height: 700 }, reducedMotion: "reduce", ...options });
  if (init) await context.addInitScript(...init);
  const page = await context.newPage();
  await page.addInitScript(watchPeers, { rawMic, camera });
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  const person = new Person(handle, {
    goto: (url) => page.goto(url),
    reload: () => page.reload(),
    evaluate: (code, argument) => page.evaluate(code, argument),
    click: (testId) => page.getByTestId(testId).click(),
    close: () => context.close(),
  });
  Object.assign(person, { page, context, errors });
  await person.signIn(await server.link(handle, origin));
  return person;
}
