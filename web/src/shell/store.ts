// What this tab remembers, and what this browser does. Everything of a sign-in is in sessionStorage: two tabs can be
// two accounts, and closing a tab signs out.

import type { Call } from "../core/model";
import { NO_CURSOR, type Cursor } from "../core/session";

const TOKEN = "duocast.token";
const TAB = "duocast.tab";
const SESSION = "duocast.session";
const DEVICE = "duocast.device";
const SETTINGS = "duocast.settings";

/** Chosen devices and habits; kept for this browser. An empty id is the system's default. */
export interface Settings {
  readonly micId: string;
  readonly camId: string;
  readonly speakerId: string;
  /** Single keys (M, V) in a call. */
  readonly shortcuts: boolean;
}

const DEFAULTS: Settings = { micId: "", camId: "", speakerId: "", shortcuts: true };

export interface Resume {
  readonly cursor: Cursor;
  readonly calls: readonly Call[];
}

export function loadToken(): string | null {
  return read(sessionStorage, TOKEN);
}

export function saveToken(token: string): void {
  write(sessionStorage, TOKEN, token);
}

export function forgetSignIn(): void {
  for (const key of [TOKEN, SESSION]) sessionStorage.removeItem(key);
}

/** Stable for a tab of this browser: letters, digits and dashes, at most 64. */
export function deviceId(): string {
  return `${keptId(localStorage, DEVICE)}-${keptId(sessionStorage, TAB)}`;
}

function keptId(storage: Storage, key: string): string {
  const held = read(storage, key);
  if (held && /^[a-z0-9]{12}$/.test(held)) return held;
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  const fresh = Array.from(bytes, (byte) => (byte % 36).toString(36)).join("");
  write(storage, key, fresh);
  return fresh;
}

export function saveResume({ cursor, calls }: Resume): void {
  write(sessionStorage, SESSION, JSON.stringify({ id: cursor.sessionId, seq: cursor.lastSeq.toString(), calls }));
}

/** The session and the calls as they were before a reload; they are saved together, so they belong together. */
export function loadResume(): Resume {
  try {
    const held = JSON.parse(read(sessionStorage, SESSION) ?? "null") as { id: string; seq: string; calls: Call[] } | null;
    if (!held) return { cursor: NO_CURSOR, calls: [] };
    return { cursor: { sessionId: held.id, lastSeq: BigInt(held.seq) }, calls: held.calls };
  } catch {
    return { cursor: NO_CURSOR, calls: [] };
  }
}

export function loadSettings(): Settings {
  try {
    return { ...DEFAULTS, ...(JSON.parse(read(localStorage, SETTINGS) ?? "{}") as Partial<Settings>) };
  } catch {
    return DEFAULTS;
  }
}

export function saveSettings(settings: Settings): void {
  write(localStorage, SETTINGS, JSON.stringify(settings));
}

function read(storage: Storage, key: string): string | null {
  try {
    return storage.getItem(key);
  } catch {
    return null;
  }
}

function write(storage: Storage, key: string, value: string): void {
  try {
    storage.setItem(key, value);
  } catch {
    // Storage is full or switched off: the tab works until it is closed.
  }
}
