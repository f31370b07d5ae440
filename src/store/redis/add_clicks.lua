-- Adds to the counts of a link, unless the link has been deleted or the batch has already been added. A batch is
-- retried if its response was lost. Sums saturate at the largest integer.
-- KEYS: link, links by clicks, days
-- ARGV: token of this batch, key, creation time of the link, clicks by people, then a field name and a number for each
--       daily count
-- Returns 1 if done, 0 if there was nothing to do.
local largest = '9223372036854775807'
local damage

-- Adds to one count. A damaged count stays unchanged, and the other counts are still increased.
local function add(key, field, number)
  local sum = redis.pcall('HINCRBY', key, field, number)
  if type(sum) == 'table' and sum.err then
    if string.find(sum.err, 'overflow') then
      redis.call('HSET', key, field, largest)
    else
      damage = sum.err
    end
  end
end

-- Lua's numbers are exact only up to 2^53, so the count stays a string.
local function member(clicks)
  return string.rep('0', #largest - #clicks) .. clicks .. ':' .. ARGV[2]
end

local link = redis.call('HMGET', KEYS[1], 'created_at', 'batch', 'clicks')
if link[1] ~= ARGV[3] or link[2] == ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'batch', ARGV[1])
if ARGV[4] ~= '0' then
  add(KEYS[1], 'clicks', ARGV[4])
  if not damage then
    if link[3] then
      redis.call('ZREM', KEYS[2], member(link[3]))
    end
    redis.call('ZADD', KEYS[2], 0, member(redis.call('HGET', KEYS[1], 'clicks')))
  end
end
for i = 5, #ARGV, 2 do
  add(KEYS[3], ARGV[i], ARGV[i + 1])
end
return damage and redis.error_reply('CORRUPT ' .. damage) or 1
