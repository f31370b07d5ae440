-- Hosts that no link may lead to. The counter changes with each change of the table.
CREATE TABLE blocked_hosts (
    host TEXT PRIMARY KEY,
    reason TEXT,
    blocked_by TEXT NOT NULL,
    blocked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counters (name, next) VALUES ('blocked_hosts', 0);
