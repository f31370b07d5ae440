-- Keeps a link unless its key is taken. A put that is sent again, because its answer was lost, finds its own link and
-- succeeds again.
-- KEYS: link, links by creation, links by clicks, day counts
-- ARGV: number of this put, place by creation, place by clicks or '', number of fields, fields…, day counts…
if redis.call('EXISTS', KEYS[1]) == 1 then
  return redis.call('HGET', KEYS[1], 'put') == ARGV[1] and 1 or 0
end
local days = 5 + tonumber(ARGV[4])
redis.call('HSET', KEYS[1], 'put', ARGV[1], unpack(ARGV, 5, days - 1))
redis.call('ZADD', KEYS[2], 0, ARGV[2])
if ARGV[3] ~= '' then
  redis.call('ZADD', KEYS[3], 0, ARGV[3])
end
for i = days, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[4], ARGV[i], ARGV[i + 1])
end
return 1
