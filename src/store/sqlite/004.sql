-- Hosts that links must not lead to. Each change to the table increments the counter.
CREATE TABLE blocked_hosts (
    host TEXT PRIMARY KEY,
    reason TEXT,
    blocked_by TEXT NOT NULL,
    blocked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters (name, next) VALUES ('blocked_hosts', 0);
