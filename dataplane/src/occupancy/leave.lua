-- KEYS: room. ARGV: prefix, room, member, instance, ttl_ms, gone_ms (0: nothing else is under way for the member), when the
-- connection that leaves took the seat.
-- Answers {'1' if the member had its seat at this instance, the seats that are left...}.
local prefix, room, member, gone_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[6])
if gone_ms > 0 then redis.call('SET', berth_gone_key(prefix, member), '1', 'PX', gone_ms) end
local had = berth_unseat(prefix, room, member, ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[7]))
local _, members = berth_room(prefix, room, math.floor(berth_now_us() / 1000))
local answer = {had and '1' or '0'}
for _, part in ipairs(berth_list(members, '')) do answer[#answer + 1] = part end
return answer
