-- KEYS: room. ARGV: prefix, room, member, instance, capacity, ttl_ms, keep_ms, lease_ms, earlier join number or 0, held,
-- blank_ms. Answers {join, number of members reaped, members reaped..., others...}, {'full'}, or {'blank', ms to wait}.
local prefix, room, member, instance = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local capacity, ttl_ms, keep_ms, lease_ms = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local earlier = tonumber(ARGV[9])
berth_note_loss(prefix, instance, tonumber(ARGV[10]), tonumber(ARGV[11]))
if earlier == 0 then
  local left_ms = redis.call('PTTL', prefix .. 'blank')
  if left_ms > 0 then return {'blank', berth_integer(left_ms)} end
end
-- It was given back for good before this call came through.
if redis.call('EXISTS', berth_gone_key(prefix, member)) == 1 then return {'full'} end
local now_us = berth_now_us()
local now_ms = math.floor(now_us / 1000)
-- A lease that the store lost must not make the new seat a dead one; the renewal tells the instance of the loss.
if berth_lapsed(prefix, instance, now_ms, lease_ms) then
  redis.call('ZADD', prefix .. 'instances', berth_integer(now_ms + lease_ms), instance)
  redis.call('SADD', prefix .. 'lapsed', instance)
  redis.call('PEXPIRE', prefix .. 'instances', keep_ms)
  redis.call('PEXPIRE', prefix .. 'lapsed', keep_ms)
end
local last, members = berth_room(prefix, room, now_ms)
local held, others = nil, 0
for _, seat in ipairs(members) do
  if seat.member == member then held = seat.join else others = others + 1 end
end
-- Who sits keeps the seat, also where the capacity was lowered meanwhile.
if not held and others >= capacity then return {'full'} end
-- Only now: whoever takes seats away tells those who are left, and who is refused tells nobody.
local reaped = berth_prune(prefix, room, now_ms, ttl_ms)
local join = held
if not join and earlier > 0 then
  join = earlier
  -- The store lost this room: numbers of members that have not come back yet must not be given out again.
  if last == 0 then last = now_us end
end
if not join then
  if last == 0 then join = now_us else join = last + 1 end
end
if join > last then last = join end
local key = KEYS[1]
redis.call('HSET', key, member, berth_integer(join) .. '|' .. instance, '#', berth_integer(last))
redis.call('PEXPIRE', key, keep_ms)
local seats = berth_seats_key(prefix, instance)
redis.call('SADD', seats, member .. ' ' .. room)
redis.call('PEXPIRE', seats, keep_ms)
berth_touch(prefix, room)
local answer = {berth_integer(join), #reaped}
for _, gone in ipairs(reaped) do answer[#answer + 1] = gone end
for _, part in ipairs(berth_list(members, member)) do answer[#answer + 1] = part end
return answer
