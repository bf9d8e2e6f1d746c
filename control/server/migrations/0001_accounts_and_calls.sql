-- Accounts as the platform names them. Calling is off until the account opts in.
CREATE TABLE accounts (
    account_id      TEXT    NOT NULL PRIMARY KEY,
    handle          TEXT    NOT NULL UNIQUE,
    display_name    TEXT    NOT NULL,
    calling_enabled INTEGER NOT NULL DEFAULT 0 CHECK (calling_enabled IN (0, 1)),
    created_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- "follower follows followee". Two accounts that follow each other are mutual contacts.
CREATE TABLE follows (
    follower TEXT NOT NULL REFERENCES accounts (account_id) ON DELETE CASCADE,
    followee TEXT NOT NULL REFERENCES accounts (account_id) ON DELETE CASCADE,
    PRIMARY KEY (follower, followee),
    CHECK (follower <> followee)
) STRICT, WITHOUT ROWID;

CREATE INDEX follows_by_followee ON follows (followee, follower);

-- Every call there was. Ids are 16 bytes, big-endian; times are Unix milliseconds. Handles and names are kept as they were
-- shown, so that a later rename does not rewrite history.
CREATE TABLE calls (
    call_id        BLOB    NOT NULL PRIMARY KEY CHECK (length(call_id) = 16),
    revision       INTEGER NOT NULL,
    state          TEXT    NOT NULL CHECK (state IN ('created', 'ringing', 'accepted', 'live', 'ended')),
    end_reason     TEXT    CHECK ((end_reason IS NOT NULL) = (state = 'ended')),
    video          INTEGER NOT NULL CHECK (video IN (0, 1)),
    node           TEXT    NOT NULL,
    boot           TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    accepted_at    INTEGER,
    live_at        INTEGER,
    ended_at       INTEGER,
    caller_account TEXT    NOT NULL REFERENCES accounts (account_id),
    caller_handle  TEXT    NOT NULL,
    caller_name    TEXT    NOT NULL,
    caller_device  TEXT,
    caller_leg     BLOB,
    caller_audio   INTEGER NOT NULL,
    caller_video   INTEGER NOT NULL,
    callee_account TEXT    NOT NULL REFERENCES accounts (account_id),
    callee_handle  TEXT    NOT NULL,
    callee_name    TEXT    NOT NULL,
    callee_device  TEXT,
    callee_leg     BLOB,
    callee_audio   INTEGER NOT NULL,
    callee_video   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- An account's history, newest first, from either seat.
CREATE INDEX calls_by_caller ON calls (caller_account, created_at DESC, call_id DESC);
CREATE INDEX calls_by_callee ON calls (callee_account, created_at DESC, call_id DESC);

-- What must be taken up again after a restart.
CREATE INDEX calls_open ON calls (state) WHERE state <> 'ended';
