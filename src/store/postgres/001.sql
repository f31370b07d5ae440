-- Times are milliseconds since the Unix epoch.
CREATE TABLE links (
    key TEXT PRIMARY KEY,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    -- Everything else.
    doc JSONB NOT NULL
);
CREATE INDEX links_by_creation ON links (created_at, key);

-- A row is added with the first visit. It has the creation time of its link, so that a later link with the same key
-- does not inherit its counts.
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
    -- People by device.
    desktop BIGINT NOT NULL,
    mobile BIGINT NOT NULL,
    tablet BIGINT NOT NULL,
    other BIGINT NOT NULL,
    -- JSON of people by referrer, or null.
    referrers TEXT,
    PRIMARY KEY (key, day)
);

-- The counter behind sequential keys starts at FIRST_NUMBER.
CREATE TABLE counters (name TEXT PRIMARY KEY, next BIGINT NOT NULL);
INSERT INTO counters (name, next) VALUES ('key', 1000);
