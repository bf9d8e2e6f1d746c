// What the client reads from a token, without judging it: only the server verifies tokens.

export interface TokenFacts {
  readonly handle: string;
  readonly name: string;
  /** Milliseconds since the Unix epoch, null if the token has no `exp`. */
  readonly expiresAt: number | null;
}

/** Reads handle, name and expiry; null if this is not a token of ours at all. */
export function readToken(token: string): TokenFacts | null {
  const parts = token.split(".");
  const payload = parts[1];
  if (parts.length !== 3 || !payload) return null;
  const claims = parseObject(decodeBase64Url(payload));
  const handle = claims?.["handle"];
  if (!claims || typeof handle !== "string" || handle === "") return null;
  const name = claims["name"];
  const exp = claims["exp"];
  return {
    handle,
    name: typeof name === "string" && name !== "" ? name : handle,
    expiresAt: typeof exp === "number" && Number.isFinite(exp) ? exp * 1000 : null,
  };
}

/** The token in a sign-in link's fragment (`#token=...`), or null. */
export function tokenFromFragment(fragment: string): string | null {
  const token = new URLSearchParams(fragment.replace(/^#/, "")).get("token");
  return token ? token.trim() : null;
}

/** The token in what a person pasted: a token, or a whole sign-in link. */
export function tokenFromPaste(text: string): string | null {
  const trimmed = text.trim();
  const hash = trimmed.indexOf("#");
  const token = hash >= 0 ? tokenFromFragment(trimmed.slice(hash)) : trimmed;
  return token && readToken(token) ? token : null;
}

function decodeBase64Url(text: string): string {
  try {
    const bytes = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return new TextDecoder().decode(Uint8Array.from(bytes, (char) => char.charCodeAt(0)));
  } catch {
    return "";
  }
}

function parseObject(json: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
