-- Adds a link unless its key is taken. A put that is retried after a lost response finds its own link and succeeds
-- again.
-- KEYS: link, links by creation, links by clicks, days
-- ARGV: token of this put, creation time, version, document, member by creation, clicks, member by clicks, visits, then
--       a field name and a number for each daily count
-- Returns 1 if done, 0 if the key is taken.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return redis.call('HGET', KEYS[1], 'put') == ARGV[1] and 1 or 0
end
redis.call('HSET', KEYS[1], 'put', ARGV[1], 'created_at', ARGV[2], 'version', ARGV[3], 'doc', ARGV[4])
redis.call('ZADD', KEYS[2], 0, ARGV[5])
if ARGV[6] ~= '0' then
  redis.call('HSET', KEYS[1], 'clicks', ARGV[6])
  redis.call('ZADD', KEYS[3], 0, ARGV[7])
end
if ARGV[8] ~= '0' then
  redis.call('HSET', KEYS[1], 'visits', ARGV[8])
end
for i = 9, #ARGV, 2 do
  redis.call('HSET', KEYS[4], ARGV[i], ARGV[i + 1])
end
return 1
