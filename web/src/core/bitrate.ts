/** Enough for 720p30 of a face; the bandwidth estimate lowers it where the network is narrower. */
export const VIDEO_BITRATE_MAX = 1_700_000;
