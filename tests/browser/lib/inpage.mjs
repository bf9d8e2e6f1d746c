// What runs inside a page. Each function is sent there as text: it may use nothing from outside itself.

/** Before the page's own code: keeps its peer connections at hand in `window.peers`, and may leave its microphone raw. */
export function watchPeers({ rawMic }) {
  const peers = [];
  Object.defineProperty(window, "peers", { value: peers });
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...given) {
      super(...given);
      peers.push(this);
    }
  };
  if (!rawMic || !navigator.mediaDevices) return;
  // What a browser does for a voice in a room (echo, noise, level) would be scored as damage.
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  navigator.mediaDevices.getUserMedia = (wish) => open(wish.audio ? { ...wish, audio: { ...wish.audio, ...raw } } : wish);
}

/** Offer and answer of the page's newest connection, and every candidate that its statistics know. */
export async function inspectPeer() {
  const peer = window.peers.at(-1);
  if (!peer) return null;
  const candidates = { local: [], remote: [] };
  for (const entry of (await peer.getStats()).values()) {
    const side = { "local-candidate": "local", "remote-candidate": "remote" }[entry.type];
    if (side) candidates[side].push({ address: entry.address ?? entry.ip, port: entry.port, type: entry.candidateType });
  }
  return { offer: peer.localDescription?.sdp ?? "", answer: peer.remoteDescription?.sdp ?? "", candidates };
}

/** Records what the page hears until `seconds` of sound are there; gives 16-bit samples as base64 and their rate. */
export async function recordHeard(seconds) {
  const { track } = window.peers.at(-1).getReceivers().find((receiver) => receiver.track.kind === "audio");
  const reader = new MediaStreamTrackProcessor({ track: track.clone() }).readable.getReader();
  const parts = [];
  let rate = 48_000;
  let count = 0;
  while (count < seconds * rate) {
    const { done, value } = await reader.read();
    if (done) break;
    const samples = new Float32Array(value.numberOfFrames);
    value.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
    rate = value.sampleRate;
    count += samples.length;
    parts.push(Int16Array.from(samples, (sample) => Math.max(-32768, Math.min(32767, Math.round(sample * 32767)))));
    value.close();
  }
  await reader.cancel();
  let bytes = "";
  for (const part of parts) for (const byte of new Uint8Array(part.buffer)) bytes += String.fromCharCode(byte);
  return { rate, base64: btoa(bytes) };
}
