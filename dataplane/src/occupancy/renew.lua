-- KEYS: instances. ARGV: prefix, instance, lease_ms, ttl_ms, keep_ms, most seats to reap, held, blank_ms,
-- what the channels of instances begin with.
-- Answers {lost, more to reap, now (µs), room, member, its dead instance, number of seats left, seats left..., room, ...}.
local prefix, instance, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local ttl_ms, keep_ms, most = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local instances = KEYS[1]
local now_us = berth_now_us()
local now_ms = math.floor(now_us / 1000)
berth_note_loss(prefix, instance, tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9])
-- Both are asked: what is told now must not be told again.
local lapsed = berth_lapsed(prefix, instance, now_ms, lease_ms)
local unaware = redis.call('SREM', prefix .. 'lapsed', instance) == 1
local lost = (lapsed or unaware) and 1 or 0
redis.call('ZADD', instances, berth_integer(now_ms + lease_ms), instance)
redis.call('PEXPIRE', instances, keep_ms)
redis.call('PEXPIRE', berth_seats_key(prefix, instance), keep_ms)
local answer = {lost, 0, berth_integer(now_us)}
local calm = redis.call('EXISTS', prefix .. 'calm') == 1
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', instances, '-inf', berth_integer(now_ms), 'LIMIT', 0, 16)) do
  local released = tonumber(redis.call('ZSCORE', instances, dead)) == 0
  local seats = berth_seats_key(prefix, dead)
  local reap = released or not calm
  while reap and most > 0 do
    local entry = redis.call('SPOP', seats)
    if not entry then break end
    most = most - 1
    local member, room = string.match(entry, '^(%S+) (.*)$')
    -- The member may sit in the room again through another instance.
    if berth_unseat(prefix, room, member, dead, ttl_ms) then
      local _, members = berth_room(prefix, room, now_ms)
      local left = berth_list(members, '')
      answer[#answer + 1] = room
      answer[#answer + 1] = member
      answer[#answer + 1] = dead
      answer[#answer + 1] = berth_integer(#left / 5)
      for _, part in ipairs(left) do answer[#answer + 1] = part end
    end
  end
  if redis.call('EXISTS', seats) == 0 then
    redis.call('ZREM', instances, dead)
  elseif reap then
    answer[2] = 1
  end
end
return answer
