-- KEYS: room. ARGV: prefix, room, member, instance, ttl_ms. Answers the seats that are left.
local prefix, room = ARGV[1], ARGV[2]
berth_unseat(prefix, room, ARGV[3], ARGV[4], tonumber(ARGV[5]))
local _, members = berth_room(prefix, room, math.floor(berth_now_us() / 1000))
return berth_list(members, '')
