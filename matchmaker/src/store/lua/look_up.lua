-- KEYS: matches. ARGV: prefix, pool, ahead_us, terms, match.
-- Answers {{'live', host, room, region} | {'over', why} | {'unknown'}, events}.
local pool = pool_open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local reservation, host = pool_match(pool, ARGV[5])
if reservation then return {{'live', host.id, host.room, host.region}, pool.events} end
return {host and {'over', host} or {'unknown'}, pool.events}
