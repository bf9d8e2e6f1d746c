-- What an account chose. Accounts that were there keep calling as it was and get the defaults for the rest; whoever had calling
-- on has answered the first question.
ALTER TABLE accounts ADD COLUMN decided INTEGER NOT NULL DEFAULT 0 CHECK (decided IN (0, 1));
-- One bit for each audience: mutuals 1, following 2, address book 4, verified 8, direct message accepted 16, everyone 32.
ALTER TABLE accounts ADD COLUMN audience INTEGER NOT NULL DEFAULT 1 CHECK (audience BETWEEN 0 AND 63);
ALTER TABLE accounts ADD COLUMN strangers TEXT NOT NULL DEFAULT 'request' CHECK (strangers IN ('request', 'deny'));
ALTER TABLE accounts ADD COLUMN enhanced_call_privacy INTEGER NOT NULL DEFAULT 1 CHECK (enhanced_call_privacy IN (0, 1));
ALTER TABLE accounts ADD COLUMN direct TEXT NOT NULL DEFAULT 'never' CHECK (direct IN ('never', 'ask', 'mutuals', 'anyone'));
ALTER TABLE accounts ADD COLUMN require_e2ee INTEGER NOT NULL DEFAULT 0 CHECK (require_e2ee IN (0, 1));
-- The platform's badge.
ALTER TABLE accounts ADD COLUMN verified INTEGER NOT NULL DEFAULT 0 CHECK (verified IN (0, 1));

UPDATE accounts SET decided = calling_enabled;

-- "granter lets grantee call, until then".
CREATE TABLE grants (
    granter      TEXT    NOT NULL REFERENCES accounts (account_id) ON DELETE CASCADE,
    grantee      TEXT    NOT NULL REFERENCES accounts (account_id) ON DELETE CASCADE,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    from_request INTEGER NOT NULL CHECK (from_request IN (0, 1)),
    PRIMARY KEY (granter, grantee),
    CHECK (granter <> grantee)
) STRICT, WITHOUT ROWID;

CREATE INDEX grants_by_grantee ON grants (grantee, granter);
CREATE INDEX grants_by_expiry ON grants (expires_at);

CREATE TABLE blocks (
    blocker    TEXT    NOT NULL REFERENCES accounts (account_id) ON DELETE CASCADE,
    blocked    TEXT    NOT NULL REFERENCES accounts (account_id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (blocker, blocked),
    CHECK (blocker <> blocked)
) STRICT, WITHOUT ROWID;

-- A stranger's request for permission to call: the last one of each pair.
CREATE TABLE call_requests (
    sender     TEXT    NOT NULL REFERENCES accounts (account_id) ON DELETE CASCADE,
    receiver   TEXT    NOT NULL REFERENCES accounts (account_id) ON DELETE CASCADE,
    state      TEXT    NOT NULL CHECK (state IN ('pending', 'accepted', 'declined')),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (sender, receiver),
    CHECK (sender <> receiver)
) STRICT, WITHOUT ROWID;

CREATE INDEX call_requests_by_receiver ON call_requests (receiver, state, created_at DESC);
CREATE INDEX call_requests_by_expiry ON call_requests (expires_at);

-- "sender sent recipient a direct message", and whether recipient accepted it.
CREATE TABLE direct_messages (
    sender    TEXT    NOT NULL REFERENCES accounts (account_id) ON DELETE CASCADE,
    recipient TEXT    NOT NULL REFERENCES accounts (account_id) ON DELETE CASCADE,
    accepted  INTEGER NOT NULL CHECK (accepted IN (0, 1)),
    PRIMARY KEY (sender, recipient),
    CHECK (sender <> recipient)
) STRICT, WITHOUT ROWID;

-- Whom an account has in its address book: keyed hashes of numbers and addresses, no plain ones.
CREATE TABLE address_book (
    owner TEXT NOT NULL REFERENCES accounts (account_id) ON DELETE CASCADE,
    hash  BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (owner, hash)
) STRICT, WITHOUT ROWID;

-- Under which of those hashes others have an account in their book.
CREATE TABLE contact_hashes (
    account TEXT NOT NULL REFERENCES accounts (account_id) ON DELETE CASCADE,
    hash    BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (account, hash)
) STRICT, WITHOUT ROWID;

CREATE INDEX contact_hashes_by_hash ON contact_hashes (hash, account);

-- The exposure ledger: what the other party learned of each one's addresses, and since when. Never an address.
ALTER TABLE calls ADD COLUMN caller_exposed_at INTEGER;
ALTER TABLE calls ADD COLUMN caller_exposed_public INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN caller_exposed_local INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN callee_exposed_at INTEGER;
ALTER TABLE calls ADD COLUMN callee_exposed_public INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN callee_exposed_local INTEGER NOT NULL DEFAULT 0;

-- What history forgets first.
CREATE INDEX calls_ended ON calls (ended_at) WHERE ended_at IS NOT NULL;
