-- Random bytes that all instances share, such as the key for signing sessions.
CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
