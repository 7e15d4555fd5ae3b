-- KEYS: ids. ARGV: prefix, pool, ahead_us, terms, lower bound as ZRANGEBYLEX has it, limit.
-- Answers {now_ms, {host, info or '', field, value, ...}, ...}.
local pool = pool_open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local answer = {berth_integer(pool.now_ms)}
for _, id in ipairs(redis.call('ZRANGEBYLEX', KEYS[1], ARGV[5], '+', 'LIMIT', 0, ARGV[6])) do
  local fields = redis.call('HGETALL', pool.at .. 'host:' .. id)
  table.insert(fields, 1, id)
  table.insert(fields, 2, redis.call('GET', pool.at .. 'info:' .. id) or '')
  answer[#answer + 1] = fields
end
return answer
