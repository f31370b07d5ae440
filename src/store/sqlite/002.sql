-- Finds links by their exact target. Without the CASE, a link whose document is not valid JSON could not be deleted.
CREATE INDEX links_by_target ON links ((CASE WHEN json_valid(doc) THEN doc ->> 'target' END), created_at, key);
