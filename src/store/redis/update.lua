-- Replaces a link if it still has the expected version, and notifies the other instances.
-- KEYS: link
-- ARGV: creation time, expected version, new version, document, channel, key
-- Returns 1 if done, 0 if the link has another version, -1 if there is no link.
local link = redis.call('HMGET', KEYS[1], 'created_at', 'version')
if not link[1] then
  return -1
end
if link[1] ~= ARGV[1] or link[2] ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], 'version', ARGV[3], 'doc', ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1
