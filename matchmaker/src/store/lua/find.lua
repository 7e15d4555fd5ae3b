-- KEYS: hosts. ARGV: prefix, pool, ahead_us, terms, match, deadline (ms from now), region, host, region weight,
-- dice for straying, dice for the region, most to drain, most tries, digest of a request that may be a repetition, or nothing, epoch that the caller knows, or nothing.
-- Answers {{'granted', host, room, region, reservation} | {'no-hosts'} | {'none-matching'} | {'conflict'} | {'over', why} | {'again'}, events}.
local pool = pool_open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local match, wanted_region, wanted_host, weight = ARGV[5], ARGV[7], ARGV[8], tonumber(ARGV[9])
local at, stray = pool.at, weight < 100 and tonumber(ARGV[10]) % (weight + 1) == 0

local function grant(host, room)
  local last = room and room.last or tonumber(redis.call('HGET', pool.prefix .. 'room:' .. host.room, '#') or 0)
  -- A room that does not exist begins above the clock.
  if last == 0 then last = pool.system_us end
  local reservation = {
    id = match, granted_us = pool.now_us, deadline_ms = pool.now_ms + tonumber(ARGV[6]), base = last,
    joined_us = 0, left_ms = 0, asked = ARGV[14],
  }
  table.insert(host.reservations, reservation)
  slots_sort(host.reservations)
  host_stand(pool, host, room)
  redis.call('HSET', at .. 'matches', match, host.id)
  host_save(pool, host)
  return {{'granted', host.id, host.room, host.region, reservation.stored}, pool.events}
end

-- Another region than the wanted one, by the number of its free hosts.
local function other_region()
  local regions, total = redis.call('HGETALL', at .. 'region:free'), 0
  for i = 1, #regions, 2 do
    if regions[i] ~= wanted_region then total = total + tonumber(regions[i + 1]) end
  end
  if total == 0 then return nil end
  local place = tonumber(ARGV[11]) % total
  for i = 1, #regions, 2 do
    if regions[i] ~= wanted_region then
      place = place - tonumber(regions[i + 1])
      if place < 0 then return regions[i] end
    end
  end
end

-- The set of free hosts to draw from.
local function draw_from()
  local wanted = at .. 'free:' .. wanted_region
  if wanted_region == '' or redis.call('SCARD', wanted) == 0 then return at .. 'free' end
  local region = stray and other_region()
  if region and redis.call('EXISTS', at .. 'free:' .. region) == 1 then return at .. 'free:' .. region end
  return wanted
end

pool_drain(pool, ARGV[12])
if ARGV[14] ~= '' then
  local known, host = pool_match(pool, match)
  if known and known.asked ~= ARGV[14] then return {{'conflict'}, pool.events} end
  if known then return {{'granted', host.id, host.room, host.region, known.stored}, pool.events} end
  if host then return {{'over', host}, pool.events} end
end
-- What was granted before may be lost.
if pool.quiet or ARGV[15] ~= '' and ARGV[15] ~= pool.state.epoch then return {{'no-hosts'}, pool.events} end
-- Nobody meets the demands: hosts keep their places in the index for when occupancy is known again.
if pool.terms.known_room and not pool.known then return {{'no-hosts'}, pool.events} end
if wanted_host ~= '' then
  local host, room = host_refresh(pool, wanted_host)
  if host and host.free > 0 then return grant(host, room) end
  local answer = redis.call('EXISTS', at .. 'free') == 1 and 'none-matching' or 'no-hosts'
  return {{answer}, pool.events}
end
-- A host that turns out to be taken leaves the index, so each try makes the index truer.
for _ = 1, tonumber(ARGV[13]) do
  local set = draw_from()
  local id = redis.call('SRANDMEMBER', set)
  if not id then return {{'no-hosts'}, pool.events} end
  local host, room = host_refresh(pool, id)
  if host and host.free > 0 then return grant(host, room) end
  if not host then
    redis.call('SREM', set, id)
    redis.call('SREM', at .. 'free', id)
  end
end
return {{'again'}, pool.events}
