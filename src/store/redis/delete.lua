-- Removes a link and its counts if the link still has the expected version, and notifies the other instances.
-- KEYS: link, links by creation, links by clicks, days
-- ARGV: expected creation time, expected version, key, member by creation, channel
-- Returns 1 if done, 0 if the link has another version, -1 if there is no link.
local link = redis.call('HMGET', KEYS[1], 'created_at', 'version', 'clicks')
if not link[1] then
  return -1
end
if link[1] ~= ARGV[1] or link[2] ~= ARGV[2] then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[4])
if link[3] then
  redis.call('ZREM', KEYS[3], string.rep('0', 19 - #link[3]) .. link[3] .. ':' .. ARGV[3])
end
redis.call('DEL', KEYS[1], KEYS[4])
redis.call('PUBLISH', ARGV[5], ARGV[3])
return 1
