-- Timestamps are in milliseconds since the Unix epoch.
CREATE TABLE links (
    key TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    version INTEGER NOT NULL,
    -- JSON with all other fields of the link.
    doc TEXT NOT NULL
) STRICT;
CREATE INDEX links_by_creation ON links (created_at, key);
-- Finds links by their exact target. Without the CASE, a link whose document is not valid JSON could not be deleted.
CREATE INDEX links_by_target ON links ((CASE WHEN json_valid(doc) THEN doc ->> 'target' END), created_at, key);

-- The first visit to a link inserts its row. The row contains the link's creation time, so that a later link with the
-- same key does not inherit the counts, and a flush of clicks can update the row without reading the link.
CREATE TABLE counts (
    key TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    clicks INTEGER NOT NULL,
    visits INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- The index covers all columns, so that a listing by clicks reads the counts from neighbouring pages.
CREATE INDEX counts_by_clicks ON counts (clicks, key, created_at, visits) WHERE clicks > 0;

CREATE TABLE days (
    key TEXT NOT NULL,
    -- Days since 1970-01-01.
    day INTEGER NOT NULL,
    people INTEGER NOT NULL,
    bots INTEGER NOT NULL,
    -- Visits by people, per device.
    desktop INTEGER NOT NULL,
    mobile INTEGER NOT NULL,
    tablet INTEGER NOT NULL,
    other INTEGER NOT NULL,
    -- Visits by people per referrer as JSON, or null.
    referrers TEXT,
    PRIMARY KEY (key, day)
) STRICT, WITHOUT ROWID;

-- `key` numbers generated keys, starting at FIRST_NUMBER. `blocked_hosts` counts the changes to that table.
CREATE TABLE counters (name TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT;
INSERT INTO counters (name, next) VALUES ('key', 1000), ('blocked_hosts', 0);

-- Bytes with a name: the key for signing sessions, which all instances share, and the journal of clicks.
CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;

-- Hosts that links must not lead to.
CREATE TABLE blocked_hosts (
    host TEXT PRIMARY KEY,
    reason TEXT,
    blocked_by TEXT NOT NULL,
    blocked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
