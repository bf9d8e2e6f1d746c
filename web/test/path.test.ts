import { afterEach, describe, expect, it, vi } from "vitest";
import { MediaLines } from "../src/shell/path";

/** A line on which packets with these timestamps are known; a browser forgets them ten seconds after the last. */
function line(known: number[]): RTCRtpTransceiver {
  const receiver = { track: {}, getSynchronizationSources: () => known.map((rtpTimestamp) => ({ rtpTimestamp })) };
  return { receiver, sender: {} } as unknown as RTCRtpTransceiver;
}

describe("what a path decoded", () => {
  afterEach(() => vi.unstubAllGlobals());

  it("is new media, and not a source that was forgotten", () => {
    vi.stubGlobal("MediaStream", class {});
    vi.stubGlobal("HTMLVideoElement", class {});
    const [sound, picture] = [[] as number[], [] as number[]];
    const lines = new MediaLines(line(sound), line(picture));
    expect(lines.heard()).toEqual({ audio: false, video: false });
    [sound[0], picture[0]] = [960, 3000];
    expect(lines.heard()).toEqual({ audio: true, video: true });
    expect(lines.heard()).toEqual({ audio: false, video: false });
    sound.length = picture.length = 0;
    expect(lines.heard()).toEqual({ audio: false, video: false });
    sound[0] = 1920;
    expect(lines.heard()).toEqual({ audio: true, video: false });
  });
});
