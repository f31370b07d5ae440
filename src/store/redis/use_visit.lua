-- Uses up one visit of a link, if there is one left.
-- KEYS: link
local link = redis.call('HMGET', KEYS[1], 'version', 'max_visits', 'visits')
if not link[1] or link[2] and tonumber(link[3]) >= tonumber(link[2]) then
  return 0
end
redis.call('HINCRBY', KEYS[1], 'visits', 1)
return 1
