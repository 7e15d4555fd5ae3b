-- KEYS: matches. ARGV: prefix, pool, ahead_us, terms, keep_ms, then of each reservation: host, room, match, text.
-- Writes reservations back that their store may have lost. One that it knows, or knows to be over, stays as it is there. One of
-- a host that it does not know waits for that host. Answers {events}.
local pool = pool_open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
for i = 6, #ARGV, 4 do
  local id, room, match, text = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local known = redis.call('HGET', pool.at .. 'matches', match) or redis.call('GET', pool.at .. 'over:' .. match)
  local host = not known and host_refresh(pool, id)
  if host and host.room == room then
    local reservation = reservation_read(match, text)
    reservation.stored = nil
    host.reservations[#host.reservations + 1] = reservation
    slots_sort(host.reservations)
    redis.call('HSET', pool.at .. 'matches', match, id)
    host_settle(pool, host)
    host_save(pool, host)
  elseif not known and not host then
    local key = pool.at .. 'kept:' .. id
    redis.call('HSET', key, match, room .. '|' .. text)
    redis.call('PEXPIRE', key, ARGV[5])
  end
end
return {pool.events}
