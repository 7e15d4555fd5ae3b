-- KEYS: hosts. ARGV: prefix, pool, ahead_us, terms, match, deadline (ms from now), host, most to drain, most tries,
-- strategy (packed, spread or sample), size of a sample, region weight, dice for straying, for the region, for the sample and for
-- the host, region, digest of a request that may be a repetition, or nothing, epoch that the caller knows, or nothing, or '-' if
-- only what is granted already may be granted, number of nearest regions, those, keys and values of labels.
-- Answers {{'granted', host, room, region, reservation} | {'no-hosts'} | {'none-matching'} | {'not-now'} | {'conflict'} |
-- {'over', why} | {'again'}, events}.
local pool = pool_open(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
local match, wanted_host, at = ARGV[5], ARGV[7], pool.at
local asked, epoch = ARGV[18], ARGV[19]

local wanted = {
  packed = ARGV[10] == 'packed', size = ARGV[10] == 'sample' and tonumber(ARGV[11]) or nil,
  weight = tonumber(ARGV[12]), stray = tonumber(ARGV[13]), place = tonumber(ARGV[14]),
  luck = tonumber(ARGV[15]) / 4294967296, dice = tonumber(ARGV[16]),
  region = ARGV[17] ~= '' and ARGV[17] or nil, order = {}, labels = {},
}
local nearest = 20 + tonumber(ARGV[20])
if wanted.region then wanted.order[1] = wanted.region end
for i = 21, nearest do wanted.order[#wanted.order + 1] = ARGV[i] end
for i = nearest + 1, #ARGV do wanted.labels[#wanted.labels + 1] = ARGV[i] end

local function grant(host, room)
  local last = room and room.last or tonumber(redis.call('HGET', pool.prefix .. 'room:' .. host.room, '#') or 0)
  -- A room that does not exist begins above the clock.
  if last == 0 then last = pool.system_us end
  local reservation = {
    id = match, granted_us = pool.now_us, deadline_ms = pool.now_ms + tonumber(ARGV[6]), base = last,
    joined_us = 0, left_ms = 0, asked = asked,
  }
  table.insert(host.reservations, reservation)
  slots_sort(host.reservations)
  host_stand(pool, host, room)
  redis.call('HSET', at .. 'matches', match, host.id)
  host_save(pool, host)
  return {{'granted', host.id, host.room, host.region, reservation.stored}, pool.events}
end

local function refuse()
  return {{redis.call('EXISTS', at .. 'index') == 1 and 'none-matching' or 'no-hosts'}, pool.events}
end

pool_drain(pool, ARGV[8])
if asked ~= '' then
  local known, host = pool_match(pool, match)
  if known and known.asked ~= asked then return {{'conflict'}, pool.events} end
  if known then return {{'granted', host.id, host.room, host.region, known.stored}, pool.events} end
  if host then return {{'over', host}, pool.events} end
end
-- What was granted before may be lost.
if pool.quiet or epoch ~= '' and epoch ~= pool.state.epoch then return {{'not-now'}, pool.events} end
-- Nobody meets the demands: hosts keep their places in the index for when occupancy is known again.
if pool.terms.known_room and not pool.known then return {{'not-now'}, pool.events} end
if wanted_host ~= '' then
  local host, room = host_refresh(pool, wanted_host)
  if host and host.free > 0 and host_has(host, wanted.labels) then return grant(host, room) end
  return refuse()
end
local pick = pick_open(at, wanted)
-- A host that turns out to be taken leaves the index, so each try makes the index truer.
for _ = 1, tonumber(ARGV[9]) do
  local id, entry = pick_draw(pick)
  if not id then return refuse() end
  local host, room = host_refresh(pool, id)
  if host and host.free > 0 then return grant(host, room) end
  -- A record that Redis evicted cannot say where the host stands.
  if not host then redis.call('ZREM', pick.key, entry) end
  pick_forget(pick, entry)
end
return {{'again'}, pool.events}
