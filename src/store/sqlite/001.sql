-- Times are milliseconds since the Unix epoch.
CREATE TABLE links (
    key TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    version INTEGER NOT NULL,
    -- JSON with everything else.
    doc TEXT NOT NULL
) STRICT;
CREATE INDEX links_by_creation ON links (created_at, key);

-- A row appears with the first visit. It names the creation time of its link, so a later link with the same key gets
-- none of its counts, and a flush of clicks has no need to look at the link.
CREATE TABLE counts (
    key TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    clicks INTEGER NOT NULL,
    visits INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- It has all columns, so that a listing by clicks reads neighbouring pages.
CREATE INDEX counts_by_clicks ON counts (clicks, key, created_at, visits) WHERE clicks > 0;

CREATE TABLE days (
    key TEXT NOT NULL,
    -- Days since 1970-01-01.
    day INTEGER NOT NULL,
    people INTEGER NOT NULL,
    bots INTEGER NOT NULL,
    -- People by their device.
    desktop INTEGER NOT NULL,
    mobile INTEGER NOT NULL,
    tablet INTEGER NOT NULL,
    other INTEGER NOT NULL,
    -- JSON of people by referrer, or null.
    referrers TEXT,
    PRIMARY KEY (key, day)
) STRICT, WITHOUT ROWID;

-- The counter that keys are made of starts at FIRST_NUMBER.
CREATE TABLE counters (name TEXT PRIMARY KEY, next INTEGER NOT NULL) STRICT;
INSERT INTO counters (name, next) VALUES ('key', 1000);
