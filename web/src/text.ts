// Every word that the client says. Sentences are plain, and an error says what to do.

import type { Announcement } from "./core/announce";
import type { CallNotice, Ended } from "./core/call";
import type { Call, EndReason, Failure } from "./core/model";
import type { Cause, Grade, Quality } from "./core/quality";
import type { DeviceState } from "./shell/capture";

export const text = {
  appName: "Duocast",

  signIn: {
    title: "Sign in to Duocast",
    lead: "Open the sign-in link that you were given. It signs in this tab only, so two tabs can be two people.",
    label: "Or paste the link or token here",
    placeholder: "http://localhost:8080/#token=…",
    button: "Sign in",
    invalid: "That is not a sign-in link or token. Copy the whole link, from http to its end, and paste it again.",
    developer: "Running Duocast yourself? This prints a link for a demo account:",
    command: "duocast ctl token alice",
  },
  expired: {
    title: "Your sign-in has expired",
    lead: "Ask for a new sign-in link and open it, or paste it here. Your contacts and calls are kept.",
  },
  rejected: {
    title: "This sign-in is not accepted",
    lead: "The server does not know this link. It may belong to another server or be incomplete. Ask for a new one.",
  },

  home: {
    contacts: "Contacts",
    recent: "Recent",
    search: "Find a contact",
    searchHint: "Name or handle",
    online: "Online",
    offline: "Offline",
    noContacts: "No contacts yet",
    noContactsHint: "People appear here when you follow each other. You can also call somebody by their handle.",
    noMatch: "Nobody matches",
    callHandle: (handle: string) => `Call @${handle}`,
    noRecents: "No calls yet",
    noRecentsHint: "Calls that you make, take or miss are listed here.",
    loading: "Loading…",
    listsFailed: "Your contacts could not be loaded.",
    tryAgain: "Try again",
    audioCall: "Audio call",
    videoCall: "Video call",
    audioCallTo: (name: string) => `Audio call to ${name}`,
    videoCallTo: (name: string) => `Video call to ${name}`,
    devices: "Sound and camera",
    signOut: "Sign out",
    callingOff: "Calling is off: nobody can ring you, and you cannot call.",
    callingOffButton: "Settings",
    privacy: "Calls and privacy",
    privacyButton: "Choose who can call you",
    pickTitle: "Who would you like to talk to?",
    pickLead: "Choose a contact, or enter a handle.",
    handleLabel: "Handle",
    handlePlaceholder: "for example bob",
    call: "Call",
    privateTitle: "Your address stays with you",
    privateLead:
      "Every call goes through the server unless both of you agree to a direct one. Nobody learns your IP address when it rings, or when you decline.",
    readyTitle: "Check before you call",
    readyLead: "Try your microphone and camera, and choose which ones to use.",
    readyButton: "Check sound and camera",
    results: (count: number) => (count === 1 ? "1 contact" : `${count} contacts`),
    withPerson: (name: string) => `Calls with ${name}`,
    back: "Back to the list",
  },

  connection: {
    connecting: "Connecting…",
    lost: "No connection to the server. Trying again by itself.",
    lostInCall: "No connection to the server. The call goes on while the router can be reached; trying again by itself.",
    refused: (why: string) => `The server does not sign this page in: ${why}. Trying again by itself.`,
    retryNow: "Try now",
    takenOverTitle: "Duocast is open in another tab",
    takenOver: "A copy of this tab has taken over. Calls ring there now.",
    useHere: "Use it here",
  },

  incoming: {
    audio: "Incoming audio call",
    video: "Incoming video call",
    from: (name: string) => `${name} is calling`,
    accept: "Accept",
    acceptAudio: "Accept, no camera",
    acceptNoCamera: "No camera",
    withCamera: "With camera",
    acceptVideo: "Accept, with camera",
    decline: "Decline",
    privacy: "They cannot see your IP address, whatever you choose.",
  },

  call: {
    calling: "Calling…",
    ringing: "Ringing…",
    answering: "Answering…",
    connecting: "Connecting…",
    reconnecting: "Reconnecting…",
    peerAway: (name: string) => `${name} lost the connection. Waiting for them to come back…`,
    callWith: (name: string) => `Call with ${name}`,
    mute: "Mute",
    unmute: "Unmute",
    cameraOn: "Start camera",
    cameraOff: "Stop camera",
    devices: "Devices",
    hangUp: "Hang up",
    cancel: "Cancel call",
    peerMuted: (name: string) => `${name} is muted`,
    peerCameraOff: "Camera off",
    tooSlowForVideo: "Your connection is too slow for video. Sound goes on.",
    selfView: "Your own picture",
    peerVideo: (name: string) => `Picture of ${name}`,
    youAreMuted: "You are muted",
    permission: "Your browser is asking to use your devices: choose Allow.",
    soundBlocked: "Your browser is holding back the sound of this call.",
    playSound: "Turn on sound",
    dismiss: "Dismiss",
    duration: "Duration",
    legRefused: "The media connection was refused. Hang up and call again; if it happens again, update your browser.",
  },

  devices: {
    title: "Sound and camera",
    microphone: "Microphone",
    camera: "Camera",
    speaker: "Speaker",
    systemDefault: "System default",
    notPluggedIn: "Chosen device (not plugged in)",
    unnamed: (kind: string, index: number) => `${kind} ${index}`,
    level: "Microphone level",
    speakNow: "Speak: the bar should move.",
    showPreview: "Show preview",
    hidePreview: "Hide preview",
    testSound: "Play a sound",
    speakerFixed: "This browser plays calls on the system's speaker. Choose it in the system's sound settings.",
    shortcuts: "Single keys in a call: M for the microphone, V for the camera",
    notifications: "Tell me about calls when this tab is out of sight",
    notificationsDenied: "Notifications are blocked for this site. Allow them in the browser's site settings.",
    done: "Done",
  },

  ended: {
    again: "Call again",
    back: "Call back",
    close: "Close",
    lasted: (duration: string) => `The call lasted ${duration}.`,
  },
} as const;

export interface Explained {
  readonly title: string;
  readonly hint: string;
}

/** What to say of a microphone or camera that is not on; null where nothing is wrong. */
export function deviceProblem(kind: "mic" | "cam", state: DeviceState): Explained | null {
  const what = kind === "mic" ? "microphone" : "camera";
  const effect = kind === "mic" ? "You can listen, but they cannot hear you." : "They cannot see you.";
  switch (state) {
    case "denied":
      return {
        title: `Your ${what} is blocked`,
        hint: `${effect} Allow the ${what} in the browser's site settings (beside the address), then try again.`,
      };
    case "missing":
      return { title: `No ${what} found`, hint: `${effect} Plug one in: it is taken into use by itself.` };
    case "busy":
      return { title: `Your ${what} is in use`, hint: `${effect} Close other programs that use it, then try again.` };
    case "insecure":
      return { title: `No ${what} on this page`, hint: `${effect} Browsers give it to https pages only: open Duocast with https.` };
    case "failed":
      return { title: `Your ${what} did not start`, hint: `${effect} Choose another one under Devices, or try again.` };
    default:
      return null;
  }
}

/** The chosen device is gone, and the browser has taken another one. */
export function substituteText(kind: "mic" | "cam", label: string): string {
  const what = kind === "mic" ? "microphone" : "camera";
  return `Your chosen ${what} is not plugged in. Using ${label || "another one"}.`;
}

/** For the call's live region. */
export function announcementText(announcement: Announcement, name: string): string {
  switch (announcement) {
    case "connected":
      return `Connected with ${name}`;
    case "muted":
      return text.call.youAreMuted;
    case "unmuted":
      return "Your microphone is on";
    case "camera_on":
      return "Your camera is on";
    case "camera_off":
      return "Your camera is off";
  }
}

/** What to say of a request that did not succeed. */
export function explain(failure: Failure, name: string): Explained {
  const known = REFUSALS[failure.reason];
  if (known) return known(name);
  switch (failure.kind) {
    case "unreachable":
      return { title: "The server cannot be reached", hint: "Check your network, then try again." };
    case "signed_out":
      return { title: "You are signed out", hint: "Open a new sign-in link." };
    case "refused":
      return { title: "The call was not possible", hint: failure.message || "Try again in a moment." };
  }
}

const REFUSALS: Readonly<Record<string, (name: string) => Explained>> = {
  CALLEE_UNKNOWN: (name) => ({ title: `${name} was not found`, hint: "Check the spelling of the handle and call again." }),
  CALLEE_OFFLINE: (name) => ({ title: `${name} is not reachable`, hint: "They have no device online. Try again later." }),
  CALLEE_IS_SELF: () => ({ title: "That is you", hint: "Enter the handle of somebody else." }),
  ALREADY_IN_CALL: () => ({ title: "You are already in a call", hint: "Hang up or decline that one first, also on your other devices." }),
  NO_CAPACITY: () => ({ title: "All lines are taken", hint: "The service is full at the moment. Try again in a minute." }),
  REQUEST_NEEDED: (name) => ({ title: `${name} has to allow your call first`, hint: "You can ask for permission. They see it in a list; nothing rings." }),
  REQUEST_PENDING: (name) => ({ title: `${name} has to allow your call first`, hint: "You have asked. You can call once they accept." }),
  RING_BUDGET: (name) => ({ title: `${name} was called too often`, hint: "Wait a while before you call again." }),
  REQUEST_BUDGET: () => ({ title: "Too many call requests", hint: "Wait until some of them are answered." }),
  BLOCKED_BY_CALLER: (name) => ({ title: `You have blocked ${name}`, hint: "Unblock them under Calls and privacy to call." }),
  CALLER_REQUIRES_E2EE: () => ({
    title: "Your settings block this call",
    hint: "You allow end-to-end encrypted calls only, and there are none yet. Change it under Calls and privacy.",
  }),
  CALLEE_REQUIRES_E2EE: (name) => ({ title: `${name} takes end-to-end encrypted calls only`, hint: "This app cannot make them yet." }),
  CALLEE_NOT_REACHABLE: (name) => ({ title: `${name} is not reachable`, hint: "They do not take calls from you at present." }),
  CALLER_NOT_ENABLED: () => ({ title: "Calling is switched off", hint: "Switch it on under Calls and privacy." }),
  PEER_IS_CALLING: (name) => ({ title: `${name} is calling you`, hint: "Answer their call." }),
  CALL_UNKNOWN: () => ({ title: "The call is over", hint: "Call again if you like." }),
  CALL_ENDED: () => ({ title: "The call is over", hint: "They hung up before you answered. Call back if you like." }),
  ANSWERED_ELSEWHERE: () => ({ title: "Answered on another device", hint: "Go on there." }),
};

/** The screen after a call. */
export function endedText(ended: Ended): Explained {
  const name = ended.peer.name;
  const { ending } = ended;
  if (ending.type === "failed") return explain(ending.failure, name);
  if (ending.type === "forgotten") {
    return { title: "The call ended while you were away", hint: "Your connection was lost for too long. Call again to go on." };
  }
  if (ending.byMe) return { title: ending.reason === "cancelled" ? "You cancelled the call" : "You hung up", hint: "" };
  return ENDINGS[ending.reason](name, ended.role);
}

const ENDINGS: Record<EndReason, (name: string, role: Call["role"]) => Explained> = {
  hung_up: (name) => ({ title: `${name} hung up`, hint: "" }),
  declined: (name) => ({ title: `${name} declined`, hint: "They cannot talk at the moment." }),
  timed_out: (name, role) =>
    role === "caller" ? { title: `${name} did not answer`, hint: "Try again later." } : { title: "Missed call", hint: "" },
  busy: (name) => ({ title: `${name} is in another call`, hint: "Try again in a few minutes." }),
  cancelled: (name) => ({ title: `${name} gave up calling`, hint: "" }),
  answered_elsewhere: () => ({ title: "Answered on another device", hint: "" }),
  party_lost: (name) => ({ title: "The connection was lost", hint: `${name} did not come back within 30 seconds. Call again to go on.` }),
  media_failed: () => ({
    title: "Sound and picture could not be connected",
    hint: "A firewall may be blocking calls. Try another network, such as a phone's hotspot, and call again.",
  }),
  node_lost: () => ({ title: "The router stopped", hint: "This was a fault on our side. Call again to go on." }),
  unknown: () => ({ title: "The call ended", hint: "" }),
};

/** One line in the list of recent calls. */
export function recentText(call: Call): string {
  if (call.acceptedAt !== null) return call.role === "caller" ? "Outgoing" : "Incoming";
  if (call.role === "caller") {
    const outcomes: Partial<Record<EndReason, string>> = { declined: "Declined", busy: "Busy", cancelled: "Cancelled", timed_out: "No answer" };
    return outcomes[call.endReason ?? "unknown"] ?? "Not connected";
  }
  return call.endReason === "declined" ? "Declined by you" : "Missed";
}

export function noticeText(notice: CallNotice): Explained {
  switch (notice.type) {
    case "missed":
      return { title: `Missed call from ${notice.peer.name}`, hint: "" };
    case "answered_elsewhere":
      return { title: `The call from ${notice.peer.name} was answered on another device`, hint: "" };
    case "accept_failed":
      return explain(notice.failure, notice.peer.name);
  }
}

export function alertTitle(call: Call): string {
  return `☎ ${text.incoming.from(call.peer.name)}`;
}

export function notificationText(call: Call): string {
  return call.video ? text.incoming.video : text.incoming.audio;
}

export const GRADES: Record<Grade, string> = {
  unknown: "Measuring the connection",
  good: "Good connection",
  fair: "Fair connection",
  poor: "Poor connection",
};

const CAUSES: Record<Cause, string> = {
  loss: "Some of what they send does not arrive.",
  upload_loss: "Some of what you send does not arrive. A better network on your side helps.",
  delay: "Sound takes long to travel, so you may talk over each other.",
  jitter: "The network is uneven, so sound is held back to smooth it.",
  gaps: "There are gaps in the sound. A better network helps; so does switching the camera off.",
  freezes: "The picture stops now and then. Switching the camera off helps the sound.",
  silence: "Nothing is arriving at the moment.",
};

export function qualityText(quality: Quality): string {
  if (quality.cause) return CAUSES[quality.cause];
  return quality.grade === "good" ? "Sound and picture arrive complete and in time." : "This takes a few seconds.";
}

export function qualityNumbers(quality: Quality): string {
  const delay = quality.roundTripMs === null ? "" : `Round trip ${Math.round(quality.roundTripMs)} ms, `;
  return `${delay}loss ${quality.lossPercent.toFixed(1)} %, jitter ${Math.round(quality.jitterMs)} ms, gaps ${quality.concealedPercent.toFixed(1)} %`;
}

/** 0:07, 12:34, 1:02:03. */
export function clock(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  const shown = parts[0] === 0 ? parts.slice(1) : parts;
  return shown.map((part, index) => (index === 0 ? String(part) : String(part).padStart(2, "0"))).join(":");
}

/** "12 minutes 34 seconds", for sentences. */
export function spoken(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const units: [number, string][] = [
    [Math.floor(seconds / 3600), "hour"],
    [Math.floor(seconds / 60) % 60, "minute"],
    [seconds % 60, "second"],
  ];
  const said = units.filter(([count]) => count > 0).map(([count, unit]) => `${count} ${unit}${count === 1 ? "" : "s"}`);
  return said.length > 0 ? said.slice(0, 2).join(" ") : "less than a second";
}

/** "14:05" today, "Tue 14:05" within a week, else the date. */
export function when(ms: number, now: number): string {
  const date = new Date(ms);
  const time = date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
  if (new Date(now).toDateString() === date.toDateString()) return time;
  if (now - ms < 6 * 24 * 3600 * 1000) return `${date.toLocaleDateString(undefined, { weekday: "short" })} ${time}`;
  return date.toLocaleDateString(undefined, { day: "numeric", month: "short" });
}
