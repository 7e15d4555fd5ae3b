-- KEYS: room. ARGV: prefix, room, member, instance, ttl_ms.
-- Answers {'1' if the member had its seat at this instance, the seats that are left...}.
local prefix, room = ARGV[1], ARGV[2]
local had = berth_unseat(prefix, room, ARGV[3], ARGV[4], tonumber(ARGV[5]))
local _, members = berth_room(prefix, room, math.floor(berth_now_us() / 1000))
local answer = {had and '1' or '0'}
for _, part in ipairs(berth_list(members, '')) do answer[#answer + 1] = part end
return answer
