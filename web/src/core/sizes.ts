// The sizes that a picture is sent in: the router gives each viewer the largest that its path carries. Where the way to the router is
// narrow, the browser leaves out the larger ones itself; where it stays narrow, the page gives up the smaller ones (core/onesize.ts).

import { VIDEO_BITRATE_MAX } from "./bitrate";

/** What becomes of one encoding. */
export interface Size {
  readonly active: boolean;
  readonly scaleResolutionDownBy: number;
  readonly maxBitrate: number;
  /** Layers in time; undefined for those that the browser chooses, which for VP8 in several sizes are three. */
  readonly scalabilityMode: string | undefined;
}

/** All that the picture can have, or the largest alone. */
export type Choice = "all" | "one";

/** The encodings' names, the smallest picture first. */
export const SIZE_NAMES = ["q", "h", "f"] as const;

/**
 * From so many pixels on a picture is sent in three sizes. Not lower: Chromium would leave out the largest. A smaller one is sent in one size,
 * as in a plain call: its encoder follows the narrower of the two ways, and a second size beside it would be bits that sound waits behind.
 */
const THREE_FROM = 960 * 540;

/** From so many on, one that is sent alone may take more: smaller ones have no use for it. */
const MEDIUM_FROM = 480 * 270;

/**
 * What the largest of three is worth having beside the smaller ones with, in bit/s: less than this Chromium does not send at 720 lines. Higher
 * leaves more viewers whose own way is narrow with one size to take or leave, lower keeps pictures that stand still.
 */
const LARGEST_OF_THREE = 600_000;

/**
 * One size is there for a way that is narrow, and its encoder follows the way: there is nothing to leave out of it. Three layers in time
 * took a fifth more bits for the same picture (`make routes`, VP8 at its best quantiser: 365 kbit/s, not 300).
 */
const NO_LAYERS = "L1T1";

const OFF: Size = { active: false, scaleResolutionDownBy: 1, maxBitrate: VIDEO_BITRATE_MAX, scalabilityMode: undefined };

/** Of a picture of so many pixels. */
export function sizesOf(pixels: number, choice: Choice = "all"): readonly Size[] {
  const all = allSizesOf(pixels);
  const active = all.filter((size) => size.active);
  if (choice === "all" && active.length > 1) return all;
  return all.map((size) => ({ ...size, active: size === active.at(-1), scalabilityMode: NO_LAYERS }));
}

/** What the way to the router has to carry for all sizes of a picture of so many pixels, in bit/s; null where there is only one. */
export function neededForAll(pixels: number): number | null {
  return pixels < THREE_FROM ? null : SMALLER.reduce((sum, { maxBitrate }) => sum + maxBitrate, LARGEST_OF_THREE);
}

/**
 * The router's answer as if it had asked to pause these sizes and no other (RFC 8853, section 5.1). Chromium takes from every answer which
 * encodings are active, and would begin with all of them again.
 */
export function pausedIn(sdp: string, paused: readonly string[]): string {
  return sdp.replace(/^(a=simulcast:recv )(.*)/m, (_, head: string, list: string) => {
    const names = list.split(";").map((name) => name.replace(/^~/, ""));
    return head + names.map((name) => (paused.includes(name) ? `~${name}` : name)).join(";");
  });
}

function size(scaleResolutionDownBy: number, maxBitrate: number): Size {
  return { ...OFF, active: true, scaleResolutionDownBy, maxBitrate };
}

/** Beside the largest of three, of which they take a third together: browsers send that last. */
const SMALLER = [size(4, 100_000), size(2, 350_000)] as const;

function allSizesOf(pixels: number): readonly Size[] {
  if (pixels >= THREE_FROM) return [...SMALLER, size(1, VIDEO_BITRATE_MAX)];
  return [size(1, pixels >= MEDIUM_FROM ? 1_000_000 : 400_000), OFF, OFF];
}
