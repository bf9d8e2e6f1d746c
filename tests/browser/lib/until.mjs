// Waiting for something to become true, and saying what it was if it does not.

/** Long enough for a loaded two-core machine: a passing test never waits for it. */
export const PATIENCE_MS = 20_000;
const LOOK_EVERY_MS = 50;

/** Resolves with the first truthy value of `look`; fails after `patienceMs` with the name and what was seen last. */
export async function until(what, look, patienceMs = PATIENCE_MS) {
  const end = Date.now() + patienceMs;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`waited ${patienceMs / 1000} s in vain until ${what}`);
    await pause(LOOK_EVERY_MS);
  }
}

export function pause(ms) {
  return new Promise((done) => setTimeout(done, ms));
}

/** Fails if `work` takes longer. For what has no time limit of its own. */
export async function within(what, ms, work) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`${what} took more than ${ms / 1000} s`)), ms);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}

/** A measured value that is reported and not judged; tests/all.sh shows these lines. */
export function figure(text) {
  console.log(`figure ${text}`);
}

/** Whether limits of time and quality are judged (`make quality`). Elsewhere a machine that stands still for a moment is no failure. */
export const IS_JUDGED = process.env.TEST_JUDGE === "1";

/** Fails where limits are judged and this one is not kept. Say the value by `figure`, whatever it is. */
export function judge(isKept, text) {
  if (IS_JUDGED && !isKept) throw new Error(text);
}
