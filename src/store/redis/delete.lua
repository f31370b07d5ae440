-- Removes a link and all that was counted about it, and tells the other instances.
-- KEYS: link, links by creation, links by clicks, day counts
-- ARGV: expected version or '', channel, key, offset of places
-- Returns 1 when done, 0 for another version, -1 for no link.
local link = redis.call('HMGET', KEYS[1], 'version', 'created_at', 'clicks')
if not link[1] then
  return -1
end
if ARGV[1] ~= '' and link[1] ~= ARGV[1] then
  return 0
end
redis.call('ZREM', KEYS[2], string.format('%016.0f:%s', tonumber(link[2]) + ARGV[4], ARGV[3]))
redis.call('ZREM', KEYS[3], string.format('%016.0f:%s', tonumber(link[3]) + ARGV[4], ARGV[3]))
redis.call('DEL', KEYS[1], KEYS[4])
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
