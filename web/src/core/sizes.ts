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
 * From so many pixels on Chromium sends three sizes, two, or one, whatever it was asked for, and it would be the largest that it leaves
 * out. Not higher, or pictures have fewer sizes than they could; not lower, or they are small.
 */
const THREE_FROM = 960 * 540;
const TWO_FROM = 480 * 270;

/**
 * What the largest size is worth having beside the smaller ones with, in bit/s. Of three: less than this Chromium does not send at 720
 * lines; with the others it must stay below START_KBIT, or a way of which nothing is known counted as narrow. Of two: Chromium sends it from
 * 150 kbit/s on, but comes and goes with it by 500 kbit/s in all, and a smaller picture in half of the bits is worth less than one good one.
 * Higher leaves more viewers whose own way is narrow with one size to take or leave, lower keeps pictures that stand still.
 */
const LARGEST_OF_THREE = 600_000;
const LARGEST_OF_TWO = 500_000;

/**
 * One size is there for a way that is narrow, and its encoder follows the way: there is nothing to leave out of it. Three layers in time
 * took a fifth more bits for the same picture (`make routes`, VP8 at its best quantiser: 365 kbit/s, not 300).
 */
const NO_LAYERS = "L1T1";

const OFF: Size = { active: false, scaleResolutionDownBy: 1, maxBitrate: VIDEO_BITRATE_MAX, scalabilityMode: undefined };

/** Of a picture of so many pixels. The smaller ones together take a third of the largest: browsers send that last. */
export function sizesOf(pixels: number, choice: Choice = "all"): readonly Size[] {
  const all = allSizesOf(pixels);
  const largest = all.filter(({ active }) => active).at(-1);
  return choice === "all" ? all : all.map((size) => ({ ...size, active: size === largest, scalabilityMode: NO_LAYERS }));
}

/** What the way to the router has to carry for all sizes of a picture of so many pixels, in bit/s; null where there is only one. */
export function neededForAll(pixels: number): number | null {
  if (pixels < TWO_FROM) return null;
  const smaller = allSizesOf(pixels).filter(({ active, scaleResolutionDownBy }) => active && scaleResolutionDownBy > 1);
  return smaller.reduce((sum, { maxBitrate }) => sum + maxBitrate, pixels >= THREE_FROM ? LARGEST_OF_THREE : LARGEST_OF_TWO);
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

function allSizesOf(pixels: number): readonly [Size, Size, Size] {
  const size = (scaleResolutionDownBy: number, maxBitrate: number): Size => ({
    ...OFF,
    active: true,
    scaleResolutionDownBy,
    maxBitrate,
  });
  if (pixels >= THREE_FROM) return [size(4, 100_000), size(2, 350_000), size(1, VIDEO_BITRATE_MAX)];
  if (pixels >= TWO_FROM) return [size(2, 150_000), size(1, 1_000_000), OFF];
  return [size(1, 400_000), OFF, OFF];
}
