-- Removes a blocked host, and notifies the other instances.
-- KEYS: hosts, entries by host, revision
-- ARGV: host, channel, message
-- Returns 1 if done, 0 if there is no such entry.
if redis.call('HDEL', KEYS[2], ARGV[1]) == 0 then
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('INCR', KEYS[3])
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
