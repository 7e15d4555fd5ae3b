-- KEYS: hosts. ARGV: prefix, pool, ahead_us, terms, host, room, region, status, capacity, available, ttl_ms, keep_ms,
-- most classes, labels as JSON or nothing, matches that the host serves, joined by commas, or '-' if it does not say, age of the
-- heartbeat (ms), digest of the info or nothing, info or nothing, keys and values of the labels.
-- Answers {{'new'} | {'renewed', ms since the heartbeat before} | {'room-taken', other host}, events, reservations as match, text,
-- ...}.
local pool = pool_open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local id, room, age_ms = ARGV[5], ARGV[6], tonumber(ARGV[16])
local at_us, alive_ms = pool.now_us - age_ms * 1000, pool.now_ms - age_ms + tonumber(ARGV[11])
local owner = redis.call('HGET', pool.at .. 'rooms', room)
if owner and owner ~= id and host_refresh(pool, owner) then
  return {{'room-taken', owner}, pool.events, {}}
end
local host = host_load(pool, id)
if host and host.alive_ms <= pool.now_ms and not pool.calm then
  host_lose(pool, id)
  host = nil
end
-- It was said before what is known by now.
if host and host.at_us > at_us then return {{'renewed'}, pool.events, {}} end
-- It waited somewhere while the host took its leave.
if not host and age_ms > 0 then
  local gone_us, gone = offline_since(pool, id)
  if gone == 'gone' and gone_us >= at_us then return {{'renewed'}, pool.events, {}} end
end
local answer = host and 'renewed' or 'new'
local status, available = ARGV[8], tonumber(ARGV[10])
-- So it did while the host said something else.
if host and host.said_us > at_us then status, available = host.status, host.available end
local silent_ms = host and berth_integer(math.floor((at_us - host.at_us) / 1000))
local key, info_key, digest = pool.at .. 'host:' .. id, pool.at .. 'info:' .. id, ARGV[17]
if not host then
  host = host_new(id)
  host.drain = redis.call('ZSCORE', pool.at .. 'drained', id) ~= false
  if host.drain then redis.call('HSET', key, 'drain', '1') end
end
local region, labels, class = host.region, host.labels, host.class
if host.room and host.room ~= room then
  host_end_reservations(pool, host, 'room-changed')
  host_unwatch(pool, host)
  local before = host
  host = host_new(id)
  host.was, host.drain, host.info = before.was, before.drain, before.info
end
host.room, host.region, host.at_us, host.alive_ms, host.status = room, ARGV[7], at_us, alive_ms, status
host.capacity = tonumber(ARGV[9])
host.available = math.min(available, host.capacity)
-- A host that found no place among the classes looks for one at each heartbeat.
host.class = class
if region ~= host.region or (labels or '') ~= ARGV[14] or not class then
  if class then class_leave(pool.at, class) end
  host.class = nil
  if #ARGV > 18 then
    local flat = {}
    for i = 19, #ARGV do flat[#flat + 1] = ARGV[i] end
    host.class = class_join(pool.at, class_text(host.region, flat), tonumber(ARGV[13]))
    redis.call('HSET', key, 'labels', ARGV[14])
  elseif labels then
    redis.call('HDEL', key, 'labels')
  end
  if host.class then
    redis.call('HSET', key, 'class', host.class)
  elseif class then
    redis.call('HDEL', key, 'class')
  end
end
if #ARGV > 18 and not host.class then pool_event(pool, 'labels-ignored', id, room) end
redis.call('HSET', key, 'room', room, 'region', ARGV[7], 'status', status, 'capacity', ARGV[9], 'available',
  berth_integer(host.available),
  'at_us', berth_integer(at_us), 'alive_ms', berth_integer(alive_ms))
redis.call('PEXPIRE', key, ARGV[12])
-- Heartbeats tell the same again and again: only what is new is written.
if digest ~= '' and (redis.call('PEXPIRE', info_key, ARGV[12]) == 0 or host.info ~= digest) then
  redis.call('SET', info_key, ARGV[18], 'PX', ARGV[12])
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
if answer == 'new' then
  redis.call('ZADD', pool.at .. 'ids', 0, id)
  offline_forget(pool, {id})
end
if answer == 'new' or owner ~= id then redis.call('HSET', pool.at .. 'rooms', room, id) end
berth_watch(pool.prefix, room, pool.name)
if answer == 'new' then host_restore(pool, host) end
local names = nil
if ARGV[15] ~= '-' then
  names = {}
  for name in string.gmatch(ARGV[15], '[^,]+') do names[name] = true end
end
slots_name(host, names, pool.now_us, host_change(pool, host))
host_settle(pool, host)
host_save(pool, host)
local reservations = {}
for _, reservation in ipairs(host.reservations) do
  reservations[#reservations + 1] = reservation.id
  reservations[#reservations + 1] = reservation.stored
end
return {{answer, silent_ms}, pool.events, reservations}
