-- Hosts that links must not lead to, in byte order. The counter counts the changes of the table.
CREATE TABLE blocked_hosts (
    host TEXT COLLATE "C" PRIMARY KEY,
    reason TEXT,
    blocked_by TEXT NOT NULL,
    blocked_at BIGINT NOT NULL
);
INSERT INTO counters (name, next) VALUES ('blocked_hosts', 0);
