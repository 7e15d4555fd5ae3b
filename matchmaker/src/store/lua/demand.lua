-- Finds that were refused, by region: adds some, and sums up those of the last slots of time.
--
-- Keys, all behind the pool's prefix: demand:SLOT, a hash from region to number; SLOT counts since 1970.
-- KEYS: demand. ARGV: prefix of the pool, ahead_us, slot_ms, slots, most regions of a slot, name of all others, then region,
-- number, ... Answers region, sum, ...
local at, slot_ms, slots, most = ARGV[1] .. 'demand:', tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local now = math.floor((berth_now_us() + tonumber(ARGV[2])) / 1000 / slot_ms)
local key = at .. berth_integer(now)
for i = 7, #ARGV, 2 do
  local region = ARGV[i]
  if not redis.call('HGET', key, region) and redis.call('HLEN', key) >= most then region = ARGV[6] end
  redis.call('HINCRBY', key, region, ARGV[i + 1])
end
if #ARGV > 6 then redis.call('PEXPIRE', key, berth_integer(slot_ms * (slots + 1))) end
local sums, regions = {}, {}
for slot = now - slots + 1, now do
  local fields = redis.call('HGETALL', at .. berth_integer(slot))
  for i = 1, #fields, 2 do
    local region = fields[i]
    if not sums[region] then regions[#regions + 1] = region end
    sums[region] = (sums[region] or 0) + tonumber(fields[i + 1])
  end
end
local answer = {}
for _, region in ipairs(regions) do
  answer[#answer + 1] = region
  answer[#answer + 1] = berth_integer(sums[region])
end
return answer
