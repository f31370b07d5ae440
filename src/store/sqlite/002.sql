-- For look-ups of links by their exact target. A document that is not JSON has no target, and must stay deletable.
CREATE INDEX links_by_target ON links ((CASE WHEN json_valid(doc) THEN doc ->> 'target' END), created_at, key);
