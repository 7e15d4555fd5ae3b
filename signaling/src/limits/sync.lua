-- The buckets of client addresses, of all instances together. Two sorted sets, of connections and of messages: address to
-- the time at which its bucket is full, in µs of Redis' clock. An address whose bucket is full stands in neither.
-- KEYS: connections, messages. ARGV: most addresses in a set, longest time until a bucket is full in µs, and for each
-- address: name, what its connections and its messages cost (the time in which so many tokens come), each with the time
-- since the first of them, in µs.
-- Answers for each address the time until either bucket is full, in µs; 0 where nothing was taken.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local most, longest = tonumber(ARGV[1]), tonumber(ARGV[2])
local answer = {}

local function integer(number)
  return string.format('%.0f', number)
end

for which, key in ipairs(KEYS) do
  local full = redis.call('ZCOUNT', key, '-inf', integer(now))
  -- In small pieces: nobody waits long for a set that was full.
  if full > 0 then redis.call('ZREMRANGEBYRANK', key, 0, math.min(full, 4096) - 1) end
  local free = most - redis.call('ZCARD', key)
  local changes = {}
  for i = 3, #ARGV, 5 do
    local address, cost, age = ARGV[i], tonumber(ARGV[i + 2 * which - 1]), tonumber(ARGV[i + 2 * which])
    local left = 0
    if cost > 0 then
      local known = redis.call('ZSCORE', key, address)
      -- Not from now on: who takes all of his tokens at once has them back a period later, whenever this is told.
      local full_at = math.max(known and tonumber(known) or 0, now - age) + cost
      full_at = math.min(full_at, now + longest)
      left = math.max(full_at - now, 0)
      if left > 0 then
        if not known then free = free - 1 end
        if known or free >= 0 then
          changes[#changes + 1] = integer(full_at)
          changes[#changes + 1] = address
        end
      end
    end
    answer[(i - 3) / 5 * 2 + which] = left
  end
  if #changes > 0 then
    redis.call('ZADD', key, unpack(changes))
    -- By then every bucket in it is full.
    redis.call('PEXPIRE', key, math.ceil(longest / 1000))
  end
end
return answer
