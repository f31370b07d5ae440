-- Adds to the counts of a link, unless the link has gone or this batch was added already: a batch is sent again where
-- its answer was lost.
-- KEYS: link, links by clicks, day counts
-- ARGV: number of the batch, key, offset of places, clicks by people, then day count, number…
local link = redis.call('HMGET', KEYS[1], 'version', 'batch', 'clicks')
if not link[1] or link[2] == ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'batch', ARGV[1])
if ARGV[4] ~= '0' then
  local before = tonumber(link[3])
  local after = redis.call('HINCRBY', KEYS[1], 'clicks', ARGV[4])
  redis.call('ZREM', KEYS[2], string.format('%016.0f:%s', before + ARGV[3], ARGV[2]))
  redis.call('ZADD', KEYS[2], 0, string.format('%016.0f:%s', after + ARGV[3], ARGV[2]))
end
for i = 5, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[3], ARGV[i], ARGV[i + 1])
end
return 1
