-- Timestamps are in milliseconds since the Unix epoch.
CREATE TABLE links (
    key TEXT PRIMARY KEY,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    -- JSON with all other fields of the link.
    doc JSONB NOT NULL
);
CREATE INDEX links_by_creation ON links (created_at, key);
-- Finds links by their exact target.
CREATE INDEX links_by_target ON links ((doc ->> 'target'), created_at, key);

-- The first visit to a link inserts its row. The row contains the link's creation time, so that a later link with the
-- same key does not inherit the counts.
CREATE TABLE counts (
    key TEXT PRIMARY KEY,
    created_at BIGINT NOT NULL,
    clicks BIGINT NOT NULL,
    visits BIGINT NOT NULL
);
CREATE INDEX counts_by_clicks ON counts (clicks, key) WHERE clicks > 0;

CREATE TABLE days (
    key TEXT NOT NULL,
    -- Days since 1970-01-01.
    day INTEGER NOT NULL,
    people BIGINT NOT NULL,
    bots BIGINT NOT NULL,
    -- Visits by people, per device.
    desktop BIGINT NOT NULL,
    mobile BIGINT NOT NULL,
    tablet BIGINT NOT NULL,
    other BIGINT NOT NULL,
    -- Visits by people per referrer as JSON, or null.
    referrers TEXT,
    PRIMARY KEY (key, day)
);

-- `key` numbers generated keys, starting at FIRST_NUMBER. `blocked_hosts` counts the changes to that table.
CREATE TABLE counters (name TEXT PRIMARY KEY, next BIGINT NOT NULL);
INSERT INTO counters (name, next) VALUES ('key', 1000), ('blocked_hosts', 0);

-- Random bytes that all instances share, such as the key for signing sessions.
CREATE TABLE secrets (name TEXT PRIMARY KEY, value BYTEA NOT NULL);

-- Hosts that links must not lead to, in byte order.
CREATE TABLE blocked_hosts (
    host TEXT COLLATE "C" PRIMARY KEY,
    reason TEXT,
    blocked_by TEXT NOT NULL,
    blocked_at BIGINT NOT NULL
);
