-- Adds or replaces a blocked host, unless there are too many other entries, and notifies the other instances.
-- KEYS: hosts, entries by host, revision
-- ARGV: host, entry, maximum number of entries, channel, message
-- Returns 1 if done, 0 if there are too many other hosts.
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[3]) then
  return 0
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[1], 0, ARGV[1])
redis.call('INCR', KEYS[3])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 1
