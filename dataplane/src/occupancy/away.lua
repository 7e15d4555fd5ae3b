-- KEYS: room. ARGV: prefix, room, member, instance, flags. Answers whether the member has its seat at this instance, taken by
-- the connection that the flags are of; they are then these. Nobody's occupancy changes.
local value = redis.call('HGET', KEYS[1], ARGV[3])
if not value then return 0 end
local join, instance, flags = berth_seat(value)
if instance ~= ARGV[4] or berth_taken(flags) ~= berth_taken(ARGV[5]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[3], join .. '|' .. instance .. '|' .. ARGV[5])
return 1
