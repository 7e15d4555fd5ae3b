-- KEYS: matches. ARGV: prefix, pool, ahead_us, terms, match.
-- Answers {{'released' | 'stays' | 'unknown'} | {'over', why}, events}.
local pool = pool_open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local reservation, host = pool_match(pool, ARGV[5])
if not reservation then return {host and {'over', host} or {'unknown'}, pool.events} end
if not slots_release(host, ARGV[5]) then return {{'stays'}, pool.events} end
host_drop_reservation(pool, host, reservation, 'released')
-- Somebody who could have come for it may be the host after all.
host_settle(pool, host)
host_save(pool, host)
return {{'released'}, pool.events}
