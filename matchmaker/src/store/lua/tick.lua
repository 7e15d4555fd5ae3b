-- KEYS: hosts. ARGV: prefix, pool, ahead_us, terms, most to drain, keep_ms, epoch that the caller knows, or nothing, one to
-- begin with, how long the pool is quiet after a loss (ms), the pool's secret as the caller knows it, or nothing, one to begin with.
-- Answers {{more, occupancy known, epoch, 1 if it begins now, 1 if the pool is quiet, for how long occupancy was not known before this call
-- (ms), or nothing, the pool's secret, the one before it, or nothing}, events, counts, hosts by state and region, slots by region, free slots by region}.
local pool = pool_open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local at, keep_ms = pool.at, ARGV[6]
local known_ms = pool.state.known or 0
known_ms = known_ms > 0 and berth_integer(math.max(pool.system_ms - known_ms, 0)) or ''
local created = pool_watch(pool, ARGV[7], ARGV[8], tonumber(ARGV[9]), keep_ms, ARGV[10], ARGV[11])
local more = pool_drain(pool, ARGV[5])
-- A pool that nobody looks after any more vanishes from Redis by itself.
local names = {'hosts', 'ids', 'offline', 'offline:since', 'due', 'drained', 'rooms', 'matches', 'touched', 'index', 'classes', 'class:hosts', 'counts',
  'region:states', 'region:capacity', 'region:slots'}
for _, name in ipairs(names) do redis.call('PEXPIRE', at .. name, keep_ms) end
redis.call('PEXPIRE', pool.prefix .. 'watched', keep_ms)
return {
  {
    more and '1' or '0', pool.known and '1' or '0', pool.state.epoch, created and '1' or '0', pool.quiet and '1' or '0',
    known_ms, pool.state.secret, pool.state.before or '',
  },
  pool.events,
  redis.call('HGETALL', at .. 'counts'),
  redis.call('HGETALL', at .. 'region:states'),
  redis.call('HGETALL', at .. 'region:capacity'),
  redis.call('HGETALL', at .. 'region:slots'),
}
