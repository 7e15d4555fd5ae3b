-- KEYS: hosts. ARGV: prefix, pool, ahead_us, terms, host. Answers {{'1' | '0'}, events}.
local pool = pool_open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
-- What became of its matches until now is told first.
local host = host_refresh(pool, ARGV[5])
if host then host_end(pool, ARGV[5], 'host-left', 'gone') end
return {{host and '1' or '0'}, pool.events}
