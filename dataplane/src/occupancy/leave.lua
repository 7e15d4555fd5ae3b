-- KEYS: room. ARGV: prefix, room, member, instance, ttl_ms, gone_ms (0: nothing else is under way for the member).
-- Answers the seats that are left.
local prefix, room, member, gone_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[6])
if gone_ms > 0 then redis.call('SET', berth_gone_key(prefix, member), '1', 'PX', gone_ms) end
berth_unseat(prefix, room, member, ARGV[4], tonumber(ARGV[5]))
local _, members = berth_room(prefix, room, math.floor(berth_now_us() / 1000))
return berth_list(members, '')
