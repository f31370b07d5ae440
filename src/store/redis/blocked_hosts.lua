-- Returns the entries of blocked hosts, sorted by host.
-- KEYS: hosts, entries by host
-- ARGV: start of the range, maximum number of entries
local entries = {}
for _, host in ipairs(redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], '+', 'LIMIT', 0, ARGV[2])) do
  entries[#entries + 1] = redis.call('HGET', KEYS[2], host)
end
return entries
