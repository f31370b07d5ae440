-- Uses up one of a link's visits, if any are left. A call that is retried after a lost response finds the mark of its
-- visit and succeeds again.
-- KEYS: link, mark of this visit
-- Returns 1 if done, 0 if no visit is left or there is no link.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 1
end
local link = redis.call('HMGET', KEYS[1], 'created_at', 'doc', 'visits')
if not link[1] then
  return 0
end
local is_json, doc = pcall(cjson.decode, link[2])
local limit = is_json and type(doc) == 'table' and (doc.max_visits or math.huge)
if limit == cjson.null then
  limit = math.huge
end
local visits = string.match(link[3] or '0', '^%d+$')
if type(limit) ~= 'number' or not visits then
  return redis.error_reply('CORRUPT the link has no readable visit limit or count')
end
if tonumber(visits) >= limit then
  return 0
end
-- This fails only if the count is already the largest integer. In that case, the count stays unchanged.
redis.pcall('HINCRBY', KEYS[1], 'visits', 1)
-- The mark expires only after every call has stopped waiting for its response.
redis.call('SET', KEYS[2], '', 'EX', 60)
return 1
