-- KEYS: room. ARGV: prefix, room, member, instance, flags, id. Answers whether the member has its seat at this instance, taken
-- by the connection that the flags are of; flags and id are then these.
local prefix, room, member, flags, id = ARGV[1], ARGV[2], ARGV[3], ARGV[5], ARGV[6]
local value = redis.call('HGET', KEYS[1], member)
if not value then return 0 end
local join, instance, known, known_id = berth_seat(value)
if instance ~= ARGV[4] or berth_taken(known) ~= berth_taken(flags) then return 0 end
-- An id stays: who comes back by its secret needs no token again.
if id == '' then id = known_id end
redis.call('HSET', KEYS[1], member, berth_seat_value(tonumber(join), instance, flags, id))
-- Nobody's occupancy changes with the connection alone.
if string.sub(known, 1, 1) ~= string.sub(flags, 1, 1) or known_id ~= id then
  berth_touch(prefix, room, berth_watchers(prefix, room))
end
return 1
