-- For lookups of links by their exact target.
CREATE INDEX links_by_target ON links ((doc ->> 'target'), created_at, key);
