// What a browser takes its way to the router to carry before it knows: Chromium begins at 300 kbit/s, sends the larger sizes of a picture
// only where they fit, and does not look for room that a small picture has no use for.

/**
 * In kbit/s: what three sizes take, the largest of 720 lines at its least. Higher is a longer queue at first where the way is narrow, lower
 * leaves viewers with a small picture for as long as its contents are simple.
 */
export const START_KBIT = 1_100;

const CODECS = ["VP8", "VP9", "H264", "AV1"];

/** The description with that said of each video codec, as Chromium understands it; other browsers do not look at it. */
export function startingAt(sdp: string, kbit: number): string {
  const said = `x-google-start-bitrate=${kbit}`;
  const lines = sdp.split("\r\n");
  return lines
    .flatMap((line) => {
      const [, type, codec] = /^a=rtpmap:(\d+) ([^/]+)\//.exec(line) ?? [];
      if (type && CODECS.includes(codec ?? "") && !lines.some((other) => other.startsWith(`a=fmtp:${type} `))) {
        return [line, `a=fmtp:${type} ${said}`];
      }
      const [, described] = /^a=fmtp:(\d+) /.exec(line) ?? [];
      const isVideo = described && lines.some((other) => CODECS.some((name) => other.startsWith(`a=rtpmap:${described} ${name}/`)));
      return isVideo ? [`${line};${said}`] : [line];
    })
    .join("\r\n");
}
