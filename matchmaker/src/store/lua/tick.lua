-- KEYS: hosts. ARGV: prefix, pool, ahead_us, terms, most to drain, keep_ms, epoch that the caller knows, or nothing, one to
-- begin with, how long the pool is quiet after a loss (ms).
-- Answers {{more, occupancy known, epoch, 1 if it begins now, 1 if the pool is quiet}, events, counts, hosts by region, free slots by region}.
local pool = pool_open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local at, keep_ms = pool.at, ARGV[6]
local created = pool_watch(pool, ARGV[7], ARGV[8], tonumber(ARGV[9]), keep_ms)
local more = pool_drain(pool, ARGV[5])
-- A pool that nobody looks after any more vanishes from Redis by itself.
local names = {'hosts', 'ids', 'due', 'drained', 'rooms', 'matches', 'touched', 'index', 'classes', 'class:hosts', 'counts',
  'region:hosts', 'region:slots'}
for _, name in ipairs(names) do redis.call('PEXPIRE', at .. name, keep_ms) end
redis.call('PEXPIRE', pool.prefix .. 'watched', keep_ms)
return {
  {
    more and '1' or '0', pool.known and '1' or '0', pool.state.epoch, created and '1' or '0', pool.quiet and '1' or '0',
  },
  pool.events,
  redis.call('HGETALL', at .. 'counts'),
  redis.call('HGETALL', at .. 'region:hosts'),
  redis.call('HGETALL', at .. 'region:slots'),
}
