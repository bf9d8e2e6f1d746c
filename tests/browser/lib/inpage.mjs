// What runs inside a page. Each function is sent there as text: it may use nothing from outside itself.

/**
 * Before the page's own code: keeps its peer connections at hand in `window.peers`, its sound elements in
 * `window.sounds`, what it rings with in `window.contexts` and how often it asked for a device in `window.devices`, may leave its microphone raw, and may give it a smaller camera.
 */
export function watchPeers({ rawMic, camera }) {
  const peers = [];
  Object.defineProperty(window, "peers", { value: peers });
  const sounds = [];
  Object.defineProperty(window, "sounds", { value: sounds });
  window.Audio = class extends window.Audio {
    constructor(...given) {
      super(...given);
      sounds.push(this);
    }
  };
  const contexts = [];
  Object.defineProperty(window, "contexts", { value: contexts });
  window.AudioContext = class extends window.AudioContext {
    constructor(...given) {
      super(...given);
      contexts.push(this);
    }

    createOscillator() {
      this.notes = (this.notes ?? 0) + 1;
      return super.createOscillator();
    }
  };
  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...given) {
      super(...given);
      peers.push(this);
    }
  };
  const devices = { asked: 0 };
  Object.defineProperty(window, "devices", { value: devices });
  if (!navigator.mediaDevices) return;
  // What a browser does for a voice in a room (echo, noise, level) would be scored as damage.
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  const raw = rawMic ? { echoCancellation: false, noiseSuppression: false, autoGainControl: false } : {};
  navigator.mediaDevices.getUserMedia = (wish) => {
    devices.asked += 1;
    return open(wish.audio ? { ...wish, audio: { ...wish.audio, ...raw } } : { ...wish, video: { ...wish.video, ...camera } });
  };
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

/**
 * Records what the page hears, or the microphone that it sends (`own`), until `seconds` of sound are there; gives 16-bit samples as
 * base64, their rate, and when the first began, in milliseconds of the machine's clock. `direct`: of the connection to the other party,
 * true or false; without it of the newest one.
 */
export async function recordSound({ seconds, own = false, direct }) {
  // The router alone is ICE-lite.
  const isDirect = ({ remoteDescription }) => remoteDescription !== null && !remoteDescription.sdp.includes("a=ice-lite");
  const open = window.peers.filter((peer) => peer.connectionState !== "closed");
  const peer = direct === undefined ? window.peers.at(-1) : open.findLast((one) => isDirect(one) === direct);
  const ends = own ? peer.getSenders() : peer.getReceivers();
  const { track } = ends.find((end) => end.track?.kind === "audio");
  // As many blocks of 10 ms as there will be: by default it drops what a busy page does not fetch at once.
  const processor = new MediaStreamTrackProcessor({ track: track.clone(), maxBufferSize: seconds * 100 });
  const reader = processor.readable.getReader();
  const parts = [];
  let rate = 48_000;
  let count = 0;
  let beganAtMs = Infinity;
  while (count < seconds * rate) {
    const { done, value } = await reader.read();
    if (done) break;
    const samples = new Float32Array(value.numberOfFrames);
    value.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
    rate = value.sampleRate;
    count += samples.length;
    // The block that waited least for this page tells it best.
    beganAtMs = Math.min(beganAtMs, performance.timeOrigin + performance.now() - (1000 * count) / rate);
    parts.push(Int16Array.from(samples, (sample) => Math.max(-32768, Math.min(32767, Math.round(sample * 32767)))));
    value.close();
  }
  await reader.cancel();
  let bytes = "";
  for (const part of parts) for (const byte of new Uint8Array(part.buffer)) bytes += String.fromCharCode(byte);
  return { rate, base64: btoa(bytes), beganAtMs };
}

/**
 * What came on the connection to the other party (`direct`) or on the routed one since it began, in how many sizes this page sends its
 * picture there, and whether it sends redundant sound.
 */
export async function arrivals(direct) {
  // The router alone is ICE-lite.
  const isDirect = ({ remoteDescription }) => remoteDescription !== null && !remoteDescription.sdp.includes("a=ice-lite");
  const peer = window.peers.filter((one) => one.connectionState !== "closed").findLast((one) => isDirect(one) === direct);
  const all = [...(await peer.getStats()).values()];
  const came = (kind) => all.find((entry) => entry.type === "inbound-rtp" && entry.kind === kind) ?? {};
  const pick = (entry, ...names) => Object.fromEntries(names.map((name) => [name, entry[name] ?? 0]));
  // Chromium sends redundant sound where that was agreed on before plain one.
  const sound = peer.getTransceivers().find(({ receiver }) => receiver.track.kind === "audio");
  return {
    audio: pick(came("audio"), "timestamp", "bytesReceived", "packetsReceived", "packetsLost", "fecPacketsReceived", "totalSamplesReceived", "concealedSamples", "jitterBufferDelay", "jitterBufferTargetDelay", "jitterBufferEmittedCount"),
    video: pick(came("video"), "timestamp", "bytesReceived", "packetsReceived", "packetsLost", "retransmittedBytesReceived", "fecBytesReceived", "framesDecoded", "qpSum", "freezeCount", "totalFreezesDuration", "frameHeight"),
    sizes: all.filter((entry) => entry.type === "outbound-rtp" && entry.kind === "video" && entry.active).length,
    sendsRed: sound.sender.getParameters().codecs[0]?.mimeType === "audio/red",
  };
}

/** Before the page's own code: sound goes plain, as if this browser knew no redundant one. */
export function knowNoRed() {
  const plain = (line) => {
    const { codecs } = RTCRtpReceiver.getCapabilities("audio");
    line.setCodecPreferences(codecs.filter(({ mimeType }) => mimeType.toLowerCase() !== "audio/red"));
  };
  const native = RTCPeerConnection.prototype.addTransceiver;
  RTCPeerConnection.prototype.addTransceiver = function addTransceiver(kind, ...more) {
    const line = native.call(this, kind, ...more);
    if (kind === "audio") plain(line);
    return line;
  };
}

/** From now on notes in `window.noted` when each picture of the other side was drawn, and whether it could be seen. */
export function watchPictures() {
  if (window.noted) return;
  const noted = (window.noted = []);
  const watched = new WeakSet();
  const look = () => {
    for (const video of document.querySelectorAll("video[data-path]")) {
      if (watched.has(video)) continue;
      watched.add(video);
      const onFrame = (at) => {
        noted.push({ at, path: video.dataset.path, seen: video.dataset.shown === "true" });
        video.requestVideoFrameCallback(onFrame);
      };
      video.requestVideoFrameCallback(onFrame);
    }
  };
  look();
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
}

/**
 * Before the page's own code: the camera shows a number in black and white that grows by one with each picture, so that who
 * sees it can tell which picture that is.
 */
export function numberedCamera() {
  const { mediaDevices } = navigator;
  if (!mediaDevices) return;
  const open = mediaDevices.getUserMedia.bind(mediaDevices);
  mediaDevices.getUserMedia = async (wish) => {
    if (!wish.video) return open(wish);
    const canvas = Object.assign(document.createElement("canvas"), { width: 640, height: 360 });
    const brush = canvas.getContext("2d");
    const stream = canvas.captureStream(30);
    let number = 0;
    const draw = () => {
      if (stream.getVideoTracks()[0].readyState === "ended") return clearInterval(timer);
      // Not 0: black is no picture.
      number = (number % 4095) + 1;
      brush.fillStyle = `hsl(${number % 360} 40% 50%)`;
      brush.fillRect(0, 60, 640, 300);
      // 12 bits, and 4 to tell by whether they were read right.
      const bits = number * 16 + (number % 13);
      for (let bit = 0; bit < 16; bit += 1) {
        brush.fillStyle = bits & (1 << bit) ? "white" : "black";
        brush.fillRect(bit * 40, 0, 40, 60);
      }
    };
    const timer = setInterval(draw, 1000 / 30);
    draw();
    return stream;
  };
}

/**
 * From now on keeps in `window.watched` what there is of the other side at each moment (20 ms apart): how many sounds are heard and
 * pictures seen, and how many of their tracks live; and the number of each picture that is seen (`numberedCamera`), in that order.
 */
export function watchTracks() {
  if (window.watched) return;
  const watched = (window.watched = { moments: 0, odd: [], numbers: [], unread: 0 });
  const brush = new OffscreenCanvas(16, 1).getContext("2d", { willReadFrequently: true });
  const isLive = (kind) => (element) => element.srcObject.getTracks().filter((track) => track.kind === kind && track.readyState === "live").length === 1;
  const numberOf = (video) => {
    const { videoWidth: width = video.width, videoHeight: height = video.height } = video;
    brush.drawImage(video, 0, 0, width, height / 6, 0, 0, 16, 1);
    const { data } = brush.getImageData(0, 0, 16, 1);
    let bits = 0;
    for (let bit = 0; bit < 16; bit += 1) if (data[bit * 4] > 127) bits += 1 << bit;
    const number = bits >> 4;
    return number > 0 && number % 13 === (bits & 15) ? number : null;
  };
  const look = () => {
    const heard = window.sounds.filter((sound) => sound.srcObject && !sound.muted && !sound.paused);
    const pictures = [...document.querySelectorAll("video[data-path]")].filter((video) => video.srcObject);
    const seen = document.querySelectorAll('[data-path][data-shown="true"]');
    watched.moments += 1;
    // A picture that is seen may be the last one of a path that is gone, as long as another path's track lives.
    const live = { heard: heard.filter(isLive("audio")).length, pictures: pictures.filter(isLive("video")).length };
    const now = { heard: heard.length, seen: seen.length, live };
    if (now.heard !== 1 || now.seen !== 1 || live.heard !== 1 || live.pictures < 1) watched.odd.push(now);
    if (seen.length !== 1) return;
    const number = numberOf(seen[0]);
    if (number === null) watched.unread += 1;
    else watched.numbers.push({ number, path: seen[0].dataset.path });
  };
  setInterval(look, 20);
}

/** How the page stands at this moment: its clock, what it heard, how many connections are open, which elements sound. */
export async function soundings() {
  const { heard } = await window.duocast.stats();
  return {
    at: performance.now(),
    heard,
    open: window.peers.filter((peer) => peer.connectionState !== "closed").length,
    audible: window.sounds.filter((sound) => sound.srcObject && !sound.muted && !sound.paused).length,
  };
}

/** The longest time between two pictures that could be seen, from `since` until now. */
export function longestPictureGap(since) {
  const seen = window.noted.filter((frame) => frame.seen && frame.at >= since - 500).map((frame) => frame.at);
  const times = [...seen, performance.now()];
  return Math.max(...times.slice(1).map((at, index) => at - times[index]), 0);
}

/**
 * Before the page's own code: lets a test pull out and put back a device, by `window.plug(deviceId, isIn)`. Fake ones cannot be
 * unplugged, so what the browser then does is done here: the track ends, the list is shorter, a wish for it fails.
 */
export function unpluggable() {
  const { mediaDevices } = navigator;
  if (!mediaDevices) return;
  const gone = new Set();
  const busy = new Set();
  const tracks = [];
  const enumerate = mediaDevices.enumerateDevices.bind(mediaDevices);
  const open = mediaDevices.getUserMedia.bind(mediaDevices);
  mediaDevices.enumerateDevices = async () => (await enumerate()).filter(({ deviceId }) => !gone.has(deviceId));
  mediaDevices.getUserMedia = async (wish) => {
    const kind = wish.audio ? "audio" : "video";
    if (gone.has(wish[kind].deviceId?.exact)) throw new DOMException("unplugged", "NotFoundError");
    if (busy.delete(wish[kind].deviceId?.exact)) throw new DOMException("just plugged in", "NotReadableError");
    const stream = await open(wish);
    tracks.push(...stream.getTracks());
    return stream;
  };
  window.plug = (deviceId, isIn, isBusy = false) => {
    if (isBusy) busy.add(deviceId);
    if (isIn) gone.delete(deviceId);
    else gone.add(deviceId);
    for (const track of tracks) {
      if (isIn || track.readyState === "ended" || track.getSettings().deviceId !== deviceId) continue;
      track.stop();
      track.dispatchEvent(new Event("ended"));
    }
    mediaDevices.dispatchEvent(new Event("devicechange"));
  };
  window.isBusy = (deviceId) => busy.has(deviceId);
}

/**
 * Before the page's own code: collects in `window.spoken` what its live regions come to say. Of a region that comes together
 * with its words nothing is collected, as screen readers often do not read it.
 */
export function listenToRegions() {
  const spoken = (window.spoken = []);
  const known = new WeakMap();
  const look = () => {
    for (const region of document.querySelectorAll('[role="status"], [role="alert"], [aria-live]')) {
      const words = region.textContent.trim();
      if (known.has(region) && known.get(region) !== words && words !== "") spoken.push(words);
      known.set(region, words);
    }
  };
  new MutationObserver(look).observe(document, { childList: true, characterData: true, subtree: true });
}
