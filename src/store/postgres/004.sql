-- Hosts that no link may lead to, in the order of their bytes. The counter changes with each change of the table.
CREATE TABLE blocked_hosts (
    host TEXT COLLATE "C" PRIMARY KEY,
    reason TEXT,
    blocked_by TEXT NOT NULL,
    blocked_at BIGINT NOT NULL
);
INSERT INTO counters (name, next) VALUES ('blocked_hosts', 0);
