-- KEYS: hosts. ARGV: prefix, pool, ahead_us, terms, host, room, region, status, capacity, available, ttl_ms, keep_ms, digest of the
-- info or '', info or ''.
-- Answers {{'new' | 'renewed'} | {'room-taken', other host}, events}.
local pool = pool_open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local id, room, alive_ms = ARGV[5], ARGV[6], pool.now_ms + tonumber(ARGV[11])
local owner = redis.call('HGET', pool.at .. 'rooms', room)
if owner and owner ~= id and host_refresh(pool, owner) then
  return {{'room-taken', owner}, pool.events}
end
local host = host_load(pool, id)
if host and host.alive_ms <= pool.now_ms then
  host_lose(pool, id)
  host = nil
end
local answer = host and 'renewed' or 'new'
local key, info_key, digest = pool.at .. 'host:' .. id, pool.at .. 'info:' .. id, ARGV[13]
if not host then
  host = host_new(id)
  host.drain = redis.call('ZSCORE', pool.at .. 'drained', id) ~= false
  if host.drain then redis.call('HSET', key, 'drain', '1') end
end
if host.room and host.room ~= room then
  host_end_reservations(pool, host, 'room-changed')
  host_unwatch(pool, host)
  local before = host
  host = host_new(id)
  host.was, host.drain, host.info = before.was, before.drain, before.info
end
host.room, host.region, host.at_us, host.status = room, ARGV[7], pool.now_us, ARGV[8]
host.capacity, host.available = tonumber(ARGV[9]), tonumber(ARGV[10])
redis.call('HSET', key, 'room', room, 'region', ARGV[7], 'status', ARGV[8], 'capacity', ARGV[9], 'available', ARGV[10],
  'at_us', berth_integer(pool.now_us), 'alive_ms', berth_integer(alive_ms))
redis.call('PEXPIRE', key, ARGV[12])
-- Heartbeats tell the same again and again: only what is new is written.
if digest ~= '' and (redis.call('PEXPIRE', info_key, ARGV[12]) == 0 or host.info ~= digest) then
  redis.call('SET', info_key, ARGV[14], 'PX', ARGV[12])
end
if host.info ~= digest then
  if digest == '' then
    redis.call('HDEL', key, 'info')
    redis.call('DEL', info_key)
  else
    redis.call('HSET', key, 'info', digest)
  end
end
redis.call('ZADD', KEYS[1], berth_integer(alive_ms), id)
redis.call('ZADD', pool.at .. 'ids', 0, id)
redis.call('HSET', pool.at .. 'rooms', room, id)
redis.call('HSET', pool.prefix .. 'watched', room, pool.name)
host_settle(pool, host)
host_save(pool, host)
return {{answer}, pool.events}
