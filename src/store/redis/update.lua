-- Replaces the fields of a link that still has the expected version, and tells the other instances.
-- KEYS: link
-- ARGV: expected version, channel, key, number of fields, fields…, names of fields to remove…
-- Returns 1 when done, 0 for another version, -1 for no link.
local version = redis.call('HGET', KEYS[1], 'version')
if not version then
  return -1
end
if version ~= ARGV[1] then
  return 0
end
local removed = 5 + tonumber(ARGV[4])
redis.call('HSET', KEYS[1], unpack(ARGV, 5, removed - 1))
if removed <= #ARGV then
  redis.call('HDEL', KEYS[1], unpack(ARGV, removed))
end
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
