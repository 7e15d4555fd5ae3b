-- KEYS: room. ARGV: prefix, room. Answers the seats whose instances live.
local _, members = berth_room(ARGV[1], ARGV[2], math.floor(berth_now_us() / 1000))
return berth_list(members, '')
