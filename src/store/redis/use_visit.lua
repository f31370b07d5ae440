-- Uses up one visit of a link, if there is one left. A visit that is sent again, because its answer was lost, is found
-- used and succeeds again.
-- KEYS: link, number of this visit
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 1
end
local link = redis.call('HMGET', KEYS[1], 'version', 'max_visits', 'visits')
if not link[1] or link[2] and tonumber(link[3]) >= tonumber(link[2]) then
  return 0
end
redis.call('HINCRBY', KEYS[1], 'visits', 1)
-- Longer than any answer is waited for.
redis.call('SET', KEYS[2], '', 'EX', 60)
return 1
