// Pictures of every screen of the gallery, on a phone and a desktop, light and dark:
// `npm run shots -- OUT_FOLDER [NAME...]`. Needs Chromium at $CHROMIUM or /usr/bin/chromium.

import { mkdir } from "node:fs/promises";
import { chromium } from "playwright-core";
import { createServer } from "vite";

const [out = "/tmp/duocast-shots", ...only] = process.argv.slice(2);
const SIZES = { phone: { width: 390, height: 844 }, desktop: { width: 1280, height: 800 } };

await mkdir(out, { recursive: true });
const server = await createServer({ server: { port: 0, host: "127.0.0.1" }, logLevel: "error" });
await server.listen();
const { port } = server.httpServer.address();
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"],
});
const gallery = `http://127.0.0.1:${port}/dev/gallery.html`;
const list = await browser.newPage();
await list.goto(gallery);
await list.waitForSelector("body[data-ready]");
const names = await list.$$eval("li a", (links) => links.map((link) => link.textContent));
await list.close();

for (const [size, viewport] of Object.entries(SIZES)) {
  for (const colorScheme of ["light", "dark"]) {
    const context = await browser.newContext({ viewport, colorScheme, reducedMotion: "reduce" });
    const page = await context.newPage();
    page.on("pageerror", (error) => console.error(`page: ${error.message}`));
    for (const name of names.filter((one) => only.length === 0 || only.includes(one))) {
      await page.goto("about:blank");
      await page.goto(`${gallery}#${name}`);
      await page.waitForSelector("body[data-ready]");
      await page.waitForFunction(() => [...document.querySelectorAll("video")].every((video) => video.readyState >= 2));
      await page.screenshot({ path: `${out}/${name}.${size}.${colorScheme}.png` });
    }
    await context.close();
  }
}
await browser.close();
await server.close();
