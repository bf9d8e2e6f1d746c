import { describe, expect, it } from "vitest";
import { SIZE_NAMES } from "../src/core/sizes";
import { Sending } from "../src/shell/sending";

function camera(width: number, height: number): MediaStreamTrack {
  return { kind: "video", getSettings: () => ({ width, height }) } as unknown as MediaStreamTrack;
}

/** A sender that takes its time, as browsers do, and counts how often its encodings were set. */
class Sender {
  track: MediaStreamTrack | null = null;
  encodings: RTCRtpEncodingParameters[];
  changes = 0;

  constructor(count: number) {
    this.encodings = SIZE_NAMES.slice(0, count).map((rid) => ({ rid, active: true }));
  }

  getParameters(): RTCRtpSendParameters {
    return { encodings: this.encodings.map((encoding) => ({ ...encoding })) } as RTCRtpSendParameters;
  }

  async setParameters({ encodings }: RTCRtpSendParameters): Promise<void> {
    await settled();
    this.encodings = encodings;
    this.changes += 1;
  }

  async replaceTrack(track: MediaStreamTrack | null): Promise<void> {
    await settled();
    this.track = track;
  }

  /** The names of the sizes that are sent. */
  get sizes(): string {
    return this.encodings.filter(({ active }) => active).map(({ rid }) => rid).join("");
  }
}

function settled(): Promise<void> {
  return new Promise((done) => setTimeout(done, 0));
}

function sending(count: number): [Sending, Sender] {
  const sender = new Sender(count);
  return [new Sending(sender as unknown as RTCRtpSender, "track"), sender];
}

/** Until all that was wished for is done. */
async function done(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await settled();
}

describe("what is sent of a picture", () => {
  it("is every size that it has, or the largest alone", async () => {
    for (const [width, height, all, one] of [[1280, 720, "qhf", "f"], [640, 360, "q", "q"], [320, 180, "q", "q"]] as const) {
      const [video, sender] = sending(3);
      const track = camera(width, height);
      for (const [choice, sizes] of [["all", all], ["one", one], ["all", all]] as const) {
        video.send(track, true, choice);
        await done();
        expect([sender.track, sender.sizes], `${height} lines, ${choice}`).toEqual([track, sizes]);
        expect(video.paused).toEqual(SIZE_NAMES.filter((name) => !sizes.includes(name)));
      }
    }
  });

  it("stays one size when the camera is another one, and when it was off", async () => {
    const [video, sender] = sending(3);
    video.send(camera(1280, 720), true, "one");
    await done();
    for (const [width, height, one] of [[1280, 720, "f"], [640, 360, "q"]] as const) {
      const track = camera(width, height);
      video.send(track, true, "one");
      await done();
      expect([sender.track, sender.sizes]).toEqual([track, one]);
      video.send(null, true, "one");
      await done();
      expect([sender.track, sender.sizes, video.paused]).toEqual([null, "", SIZE_NAMES]);
      video.send(track, true, "one");
      await done();
      expect([sender.track, sender.sizes]).toEqual([track, one]);
    }
  });

  it("is what was wished for last, whatever was being done", async () => {
    const [video, sender] = sending(3);
    const track = camera(1280, 720);
    video.send(track, true, "all");
    video.send(track, true, "one");
    video.send(null, true, "one");
    video.send(track, true, "one");
    await done();
    expect([sender.track, sender.sizes]).toEqual([track, "f"]);
  });

  it("is not touched again where nothing has changed, nor where there is one encoding", async () => {
    const [video, sender] = sending(3);
    const track = camera(1280, 720);
    for (let again = 0; again < 3; again += 1) {
      video.send(track, true, "one");
      await done();
    }
    expect(sender.changes).toBe(1);
    const [layered, alone] = sending(1);
    for (const choice of ["all", "one", "all"] as const) {
      layered.send(track, true, choice);
      await done();
    }
    expect([alone.sizes, alone.changes, layered.paused]).toEqual(["q", 0, []]);
  });
});
