-- KEYS: hosts. ARGV: prefix, pool, ahead_us, terms, host, status. Answers {{'1' | '0'}, events}.
local pool = pool_open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local id, status = ARGV[5], ARGV[6]
local host = host_load(pool, id)
if not host or host.alive_ms <= pool.now_ms and not pool.calm then
  host_lose(pool, id)
  return {{'0'}, pool.events}
end
host.status = status
if status == 'busy' or status == 'allocated' then
  host.available = 0
elseif status == 'idle' and host.available == 0 then
  host.available = host.capacity
end
redis.call('HSET', pool.at .. 'host:' .. id, 'status', status, 'available', berth_integer(host.available),
  'said_us', berth_integer(pool.now_us))
host_settle(pool, host)
host_save(pool, host)
return {{'1'}, pool.events}
