// The sizes that a picture is sent in: the router gives each viewer the largest that its path carries. Where the way to the router is
// narrow, the browser leaves out the larger ones itself.

import { VIDEO_BITRATE_MAX } from "./bitrate";

/** What becomes of one encoding. */
export interface Size {
  readonly active: boolean;
  readonly scaleResolutionDownBy: number;
  readonly maxBitrate: number;
}

/** The encodings' names, the smallest picture first. */
export const SIZE_NAMES = ["q", "h", "f"] as const;

/**
 * From so many pixels on Chromium sends three sizes, two, or one, whatever it was asked for, and it would be the largest that it leaves
 * out. Not higher, or pictures have fewer sizes than they could; not lower, or they are small.
 */
const THREE_FROM = 960 * 540;
const TWO_FROM = 480 * 270;

const OFF: Size = { active: false, scaleResolutionDownBy: 1, maxBitrate: VIDEO_BITRATE_MAX };

/** Of a picture of so many pixels. The smaller ones together take a third of the largest: browsers send that last. */
export function sizesOf(pixels: number): readonly [Size, Size, Size] {
  const size = (scaleResolutionDownBy: number, maxBitrate: number): Size => ({ active: true, scaleResolutionDownBy, maxBitrate });
  if (pixels >= THREE_FROM) return [size(4, 100_000), size(2, 350_000), size(1, VIDEO_BITRATE_MAX)];
  if (pixels >= TWO_FROM) return [size(2, 150_000), size(1, 1_000_000), OFF];
  return [size(1, 400_000), OFF, OFF];
}
