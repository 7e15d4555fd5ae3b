-- KEYS: drained. ARGV: prefix, pool, ahead_us, terms, host, '1' to take it out of service or '0', most hosts to remember.
-- Answers {{'1' | '0'}, events}.
local pool = pool_open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local id, drain = ARGV[5], ARGV[6] == '1'
local host, room = host_refresh(pool, id)
local known = host ~= nil
local key = pool.at .. 'host:' .. id
if drain and host then
  redis.call('ZADD', KEYS[1], berth_integer(pool.now_ms), id)
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -tonumber(ARGV[7]) - 1)
  redis.call('HSET', key, 'drain', '1')
elseif not drain then
  known = redis.call('ZREM', KEYS[1], id) == 1 or known
  if host then redis.call('HDEL', key, 'drain') end
end
if host then
  host.drain = drain
  host_stand(pool, host, room)
  host_save(pool, host)
end
return {{known and '1' or '0'}, pool.events}
