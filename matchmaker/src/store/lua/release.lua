-- KEYS: matches. ARGV: prefix, pool, ahead_us, terms, match. Answers {{'1' | '0'}, events}.
local pool = pool_open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local id = redis.call('HGET', KEYS[1], ARGV[5])
local host = id and host_load(pool, id)
if not host then return {{'0'}, pool.events} end
local room = host_settle(pool, host)
local released = slots_release(host, room, ARGV[5])
if released then host_drop_reservation(pool, host, released) end
host_stand(pool, host, room)
host_save(pool, host)
return {{released and '1' or '0'}, pool.events}
