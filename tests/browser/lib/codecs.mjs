// Which video codec a page offers, what becomes of it, and losing some of it. Runs inside a page: each function is sent there
// as text and may use nothing from outside itself.

/**
 * Before the page's own code: offers one video codec with its repetitions, or what the browser has for null; and puts a gate
 * between the network and the decoder, open until `losePictures`.
 */
export function offerOnly(codec) {
  const gate = () => {
    let losing = false;
    let port = null;
    const lost = { frames: 0, keyFrames: 0 };
    self.onrtctransform = ({ transformer }) => {
      port = transformer.options.port;
      port.onmessage = () => (losing = true);
      const pass = (frame, controller) => {
        if (!losing) return controller.enqueue(frame);
        lost.frames += 1;
        if (frame.type === "key") {
          lost.keyFrames += 1;
          losing = false;
        }
        port.postMessage({ ...lost });
      };
      transformer.readable.pipeThrough(new TransformStream({ transform: pass })).pipeTo(transformer.writable);
    };
  };
  window.lostPictures = { frames: 0, keyFrames: 0 };
  const native = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function addTransceiver(kind, ...more) {
    const line = native.call(this, kind, ...more);
    if (kind !== "video") return line;
    if (codec) {
      const { codecs } = RTCRtpReceiver.getCapabilities("video");
      line.setCodecPreferences(codecs.filter(({ mimeType }) => [`video/${codec}`, "video/rtx"].includes(mimeType)));
    }
    const worker = new Worker(URL.createObjectURL(new Blob([`(${gate})()`])));
    const { port1, port2 } = new MessageChannel();
    line.receiver.transform = new RTCRtpScriptTransform(worker, { port: port2 }, [port2]);
    port1.onmessage = ({ data }) => (window.lostPictures = data);
    window.pictureGate = port1;
    return line;
  };
}

/** Before the page's own code: sends this codec in one stream with layers in it, as `mode` says (WebRTC-SVC, section 6). */
export function sendLayers({ codec, mode }) {
  const native = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function addTransceiver(kind, init) {
    if (kind !== "video") return native.call(this, kind, init);
    const line = native.call(this, kind, { ...init, sendEncodings: [{ scalabilityMode: mode, maxBitrate: 1_700_000 }] });
    const { codecs } = RTCRtpReceiver.getCapabilities("video");
    line.setCodecPreferences(codecs.filter(({ mimeType }) => [`video/${codec}`, "video/rtx"].includes(mimeType)));
    return line;
  };
}

/** Before the page's own code: where its statistics have one of the names in `window.pretended`, they say that value; the way stays as it is. */
export function pretendWay() {
  window.pretended = {};
  const native = RTCPeerConnection.prototype.getStats;
  RTCPeerConnection.prototype.getStats = async function getStats(...given) {
    const all = await native.apply(this, given);
    const known = (entry) => Object.entries(window.pretended).filter(([name]) => name in entry);
    return new Map([...all].map(([id, entry]) => [id, { ...entry, ...Object.fromEntries(known(entry)) }]));
  };
}

/** From now on no picture comes to the decoder, until a key frame was lost, too. */
export function losePictures() {
  window.pictureGate.postMessage("lose");
}

/** The video of the page's newest connection: what it offered, what it sends and gets, what was lost. */
export async function videoStreams() {
  const peer = window.peers.at(-1);
  const video = (peer.localDescription?.sdp ?? "").split(/^m=/m).find((part) => part.startsWith("video")) ?? "";
  const offered = [...new Set([...video.matchAll(/^a=rtpmap:\d+ ([^/]+)/gm)].map(([, name]) => name))];
  const all = [...(await peer.getStats()).values()];
  // A picture may be sent in several sizes: what is counted is all of them.
  const one = (type) => {
    const streams = all.filter((entry) => entry.type === type && entry.kind === "video");
    if (streams.length === 0) return null;
    const [found] = streams;
    const counted = ["framesEncoded", "framesDecoded", "keyFramesDecoded", "keyFramesEncoded", "pliCount", "packetsReceived", "packetsSent"];
    const sum = (name) => (name in found ? streams.reduce((total, stream) => total + (stream[name] ?? 0), 0) : undefined);
    const { packetsReceived, packetsSent, ...more } = Object.fromEntries(counted.map((name) => [name, sum(name)]));
    return {
      codec: all.find((entry) => entry.id === found.codecId)?.mimeType ?? "",
      packets: packetsReceived ?? packetsSent,
      decoder: found.decoderImplementation,
      sizes: streams.map(({ rid, active, frameHeight, framesPerSecond, scalabilityMode }) => ({ rid, active, lines: frameHeight ?? 0, rate: framesPerSecond ?? 0, mode: scalabilityMode })),
      ...more,
    };
  };
  return { offered, inbound: one("inbound-rtp"), outbound: one("outbound-rtp"), lost: window.lostPictures };
}
