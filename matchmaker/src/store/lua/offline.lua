-- KEYS: offline. ARGV: prefix, pool, ahead_us, terms. Answers {host, SINCE_US HOW ROOM REGION, ...} of those that are still to be listed.
local pool = pool_open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local answer = {}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if tonumber(string.match(fields[i + 1], '^%d+')) > pool.now_us - OFFLINE_MS * 1000 then
    answer[#answer + 1] = fields[i]
    answer[#answer + 1] = fields[i + 1]
  end
end
return answer
