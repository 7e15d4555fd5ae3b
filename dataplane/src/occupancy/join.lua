-- KEYS: room. ARGV: prefix, room, member, instance, capacity, ttl_ms, keep_ms, lease_ms, earlier join number or 0, role,
-- 'a' or '', when its connection took the seat as far as the caller knows, what the instance knows of its lease, blank_ms,
-- until when the caller waits (µs) or 0, what the channels of instances begin with, the member's id or ''.
-- Answers {join, '1' if the member had a seat, the instance that it has left or '', when its connection took the seat,
-- number of members gone, members gone and their instances..., others...}, {'full'}, {'blank', ms to wait}, {'late', now}, or, to a seat
-- that is asserted and was taken at another instance since, {'elsewhere'}.
local prefix, room, member, instance = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local capacity, ttl_ms, keep_ms, lease_ms = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local earlier, role, away, taken = tonumber(ARGV[9]), ARGV[10], ARGV[11], tonumber(ARGV[12])
local key = KEYS[1]
local now_us, not_after_us = berth_now_us(), tonumber(ARGV[15])
-- Who asked has given up, and may have asked again: this must not take the seat from what came of that.
if not_after_us > 0 and now_us > not_after_us then return {'late', berth_integer(now_us)} end
berth_note_loss(prefix, instance, tonumber(ARGV[13]), tonumber(ARGV[14]), ARGV[16])
if earlier == 0 then
  local left_ms = redis.call('PTTL', prefix .. 'blank')
  if left_ms > 0 then return {'blank', berth_integer(left_ms)} end
end
-- It was given back for good before this call came through.
if redis.call('EXISTS', berth_gone_key(prefix, member)) == 1 then return {'full'} end
local now_ms = math.floor(now_us / 1000)
-- A lease that the store lost must not make the new seat a dead one; the renewal tells the instance of the loss.
if berth_lapsed(prefix, instance, now_ms, lease_ms) then
  redis.call('ZADD', prefix .. 'instances', berth_integer(now_ms + lease_ms), instance)
  redis.call('SADD', prefix .. 'lapsed', instance)
  redis.call('PEXPIRE', prefix .. 'instances', keep_ms)
  redis.call('PEXPIRE', prefix .. 'lapsed', keep_ms)
end
-- The seat that the member has, be it at an instance that died: it comes back before anybody else took it.
local held, holder, kept, id = nil, '', nil, ARGV[17]
local value = redis.call('HGET', key, member)
if value then
  local flags, known_id
  held, holder, flags, known_id = berth_seat(value)
  -- Who comes back by its secret needs no token again.
  if id == '' then id = known_id end
  held = tonumber(held)
  local known = berth_taken(flags)
  if earlier > 0 and known > taken then
    if holder ~= instance then return {'elsewhere'} end
    -- Of a later connection than the one that is asserted.
    kept, id = flags, known_id
  end
  taken = math.max(taken, known)
end
-- The clock goes on where the store begins anew.
if earlier == 0 then taken = math.max(taken + 1, now_us) end
local flags = role
if berth_speaks_v2(role) then flags = kept or role .. berth_integer(taken) .. away end
local last, members = berth_room(prefix, room, now_ms)
local sits, others = false, 0
for _, seat in ipairs(members) do
  if seat.member == member then sits = true else others = others + 1 end
end
-- Who sits keeps the seat, also where the capacity was lowered meanwhile.
local evicted = nil
if not sits and others >= capacity then
  evicted = others == capacity and berth_evictable(members, member, role)
  if not evicted then return {'full'} end
end
-- Only now: whoever takes seats away tells those who are left, and who is refused tells nobody.
if value and holder ~= instance then
  redis.call('SREM', berth_seats_key(prefix, holder), member .. ' ' .. room)
  redis.call('HSET', key, member, berth_seat_value(held, instance, flags, id))
end
local gone = berth_prune(prefix, room, now_ms, ttl_ms)
if evicted then
  berth_unseat(prefix, room, evicted.member, evicted.instance, ttl_ms)
  gone[#gone + 1] = evicted.member
  gone[#gone + 1] = evicted.instance
end
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
redis.call('HSET', key, member, berth_seat_value(join, instance, flags, id), '#', berth_integer(last))
redis.call('PEXPIRE', key, keep_ms)
local seats = berth_seats_key(prefix, instance)
redis.call('SADD', seats, member .. ' ' .. room)
redis.call('PEXPIRE', seats, keep_ms)
berth_touch(prefix, room, berth_watchers(prefix, room))
local moved = ''
if value and holder ~= instance then moved = holder end
local answer = {berth_integer(join), held and '1' or '0', moved, berth_integer(taken), berth_integer(#gone / 2)}
for _, part in ipairs(gone) do answer[#answer + 1] = part end
local _, sitting = berth_room(prefix, room, now_ms)
for _, part in ipairs(berth_list(sitting, member)) do answer[#answer + 1] = part end
return answer
