-- One pool of hosts: records, the index of free slots, counts. Needs rooms.lua and slots.lua before it.
--
-- Keys, all behind the pool's prefix:
--   host:ID        hash: the host; fields r:MATCH hold its reservations as GRANTED_US|DEADLINE_MS|BASE|HOLDER,
--                  the field marks is SEAT|UNCLEAR|TAKEN
--   hosts          sorted set: ids, scored by the end of their life (Unix ms)
--   ids            sorted set: ids, all scored 0, for pages
--   due            sorted set: ids with waiting reservations, scored by the first deadline (Unix ms)
--   rooms          hash: room to the id that claims it
--   matches        hash: match to the id of its host
--   touched        set: rooms whose members changed (written by signaling)
--   free           set: ids with a free slot; free:REGION: the same by region
--   counts         hash: hosts by state, capacity, free slots
--   region:hosts, region:free, region:slots   hashes: per region its hosts, its hosts with a free slot, its free slots

-- What a call needs everywhere. `ahead_us` moves the clock of hosts and deadlines, not the clock of rooms. `demands` holds
-- the words `host` and `room` for what is demanded of a host.
local function pool_open(prefix, name, ahead_us, demands)
  local system_us = berth_now_us()
  local now_us = system_us + tonumber(ahead_us)
  local system_ms = math.floor(system_us / 1000)
  return {
    prefix = prefix, name = name, at = prefix .. 'pool:' .. name .. ':',
    system_us = system_us, system_ms = system_ms, now_us = now_us, now_ms = math.floor(now_us / 1000),
    demands = {
      host_in_room = string.find(demands, 'host', 1, true) ~= nil,
      known_room = string.find(demands, 'room', 1, true) ~= nil,
    },
    known = berth_occupancy_known(prefix, system_ms),
    events = {},
  }
end

local function pool_event(pool, kind, id, room, match)
  local events = pool.events
  events[#events + 1] = kind
  events[#events + 1] = id
  events[#events + 1] = room
  events[#events + 1] = match or ''
end

local function pool_add(key, field, by)
  if by ~= 0 and redis.call('HINCRBY', key, field, berth_integer(by)) == 0 then redis.call('HDEL', key, field) end
end

-- Moves a number of a host from one field of a hash to another, or changes it in place.
local function pool_move(key, from, before, to, after)
  if from == to then
    pool_add(key, to, after - before)
  else
    if from then pool_add(key, from, -before) end
    if to then pool_add(key, to, after) end
  end
end

-- First deadline of a host's waiting reservations, or nil.
local function host_due(host)
  local first
  for _, reservation in ipairs(host.reservations) do
    if not reservation.holder and not (first and first <= reservation.deadline_ms) then first = reservation.deadline_ms end
  end
  return first
end

local function host_marks(host)
  return berth_integer(host.seat) .. '|' .. berth_integer(host.unclear) .. '|' .. berth_integer(host.taken)
end

-- What the index, the counts and the timers know of a host.
local function host_trace(host)
  return {
    region = host.region, state = host.state, free = host.free, capacity = host.capacity,
    due = host_due(host), marks = host_marks(host),
  }
end

-- The record of a host, or nil; `was` is its trace in the store.
local function host_load(pool, id)
  local fields = redis.call('HGETALL', pool.at .. 'host:' .. id)
  if #fields == 0 then return nil end
  local record, reservations = {}, {}
  for i = 1, #fields, 2 do
    local match = string.match(fields[i], '^r:(.*)$')
    if match then
      local granted_us, deadline_ms, base, holder = string.match(fields[i + 1], '^(%d+)|(%d+)|(%d+)|(%w*)$')
      if holder == '' then holder = nil end
      reservations[#reservations + 1] = {
        id = match, granted_us = tonumber(granted_us), deadline_ms = tonumber(deadline_ms), base = tonumber(base),
        holder = tonumber(holder) or holder, stored = fields[i + 1],
      }
    else
      record[fields[i]] = fields[i + 1]
    end
  end
  slots_sort(reservations)
  local seat, unclear, taken = string.match(record.marks, '^(%d+)|(%d+)|(%d+)$')
  local host = {
    id = id, room = record.room, region = record.region, status = record.status,
    capacity = tonumber(record.capacity), available = tonumber(record.available), at_us = tonumber(record.at_us),
    alive_ms = tonumber(record.alive_ms), reservations = reservations,
    seat = tonumber(seat), unclear = tonumber(unclear), taken = tonumber(taken),
    state = record.state, free = tonumber(record.free),
  }
  host.was = host_trace(host)
  return host
end

local function host_room(pool, host)
  local last, seats = berth_room(pool.prefix, host.room, pool.system_ms)
  local members = {}
  for _, seat in ipairs(seats) do members[#members + 1] = seat.join end
  table.sort(members)
  return {last = last, members = members}
end

local NOWHERE = {capacity = 0, free = 0}

-- Moves a host in the index and in the counts from how it was to how it is; nil stands for not there.
local function host_count(pool, id, was, is)
  was, is = was or NOWHERE, is or NOWHERE
  local at, counts = pool.at, pool.at .. 'counts'
  pool_move(counts, was.state, 1, is.state, 1)
  pool_add(counts, 'capacity', is.capacity - was.capacity)
  pool_add(counts, 'free', is.free - was.free)
  pool_move(at .. 'region:hosts', was.region, 1, is.region, 1)
  pool_move(at .. 'region:slots', was.region, was.free, is.region, is.free)
  local from = was.free > 0 and was.region or nil
  local to = is.free > 0 and is.region or nil
  if from == to then return end
  pool_move(at .. 'region:free', from, 1, to, 1)
  if from then
    redis.call('SREM', at .. 'free', id)
    redis.call('SREM', at .. 'free:' .. from, id)
  end
  if to then
    redis.call('SADD', at .. 'free', id)
    redis.call('SADD', at .. 'free:' .. to, id)
  end
end

local function host_store_reservation(pool, host, reservation)
  local holder = reservation.holder or ''
  if slots_is_player(reservation) then holder = berth_integer(holder) end
  local text = table.concat({
    berth_integer(reservation.granted_us), berth_integer(reservation.deadline_ms), berth_integer(reservation.base), holder,
  }, '|')
  if text ~= reservation.stored then redis.call('HSET', pool.at .. 'host:' .. host.id, 'r:' .. reservation.id, text) end
end

local function host_drop_reservation(pool, host, reservation)
  redis.call('HDEL', pool.at .. 'host:' .. host.id, 'r:' .. reservation.id)
  redis.call('HDEL', pool.at .. 'matches', reservation.id)
end

-- Writes what differs from the stored record: standing, reservations, index, counts, timer.
local function host_save(pool, host)
  local was, is = host.was, host_trace(host)
  for _, reservation in ipairs(host.reservations) do host_store_reservation(pool, host, reservation) end
  if is.due ~= (was and was.due) then
    if is.due then
      redis.call('ZADD', pool.at .. 'due', berth_integer(is.due), host.id)
    else
      redis.call('ZREM', pool.at .. 'due', host.id)
    end
  end
  if not was or was.state ~= is.state or was.free ~= is.free or was.marks ~= is.marks then
    redis.call('HSET', pool.at .. 'host:' .. host.id,
      'state', is.state, 'free', berth_integer(is.free), 'marks', is.marks)
  end
  if not was or was.state ~= is.state or was.free ~= is.free or was.region ~= is.region
    or was.capacity ~= is.capacity then
    host_count(pool, host.id, was, is)
  end
  host.was = is
end

-- Brings a loaded host up to date with its room and the time.
local function host_settle(pool, host)
  local room = nil
  if pool.known then room = host_room(pool, host) end
  slots_settle(host, room, pool.now_ms, function(reservation, what)
    pool_event(pool, what, host.id, host.room, reservation.id)
    if what ~= 'joined' then host_drop_reservation(pool, host, reservation) end
  end)
  host.state, host.free = slots_standing(host, room, pool.demands)
  return room
end

local function host_unwatch(pool, host)
  redis.call('HDEL', pool.at .. 'rooms', host.room)
  if redis.call('HGET', pool.prefix .. 'watched', host.room) == pool.name then
    redis.call('HDEL', pool.prefix .. 'watched', host.room)
  end
end

local function host_end_reservations(pool, host, kind)
  for _, reservation in ipairs(host.reservations) do
    pool_event(pool, kind, host.id, host.room, reservation.id)
    host_drop_reservation(pool, host, reservation)
  end
  host.reservations = {}
end

-- Forgets a host and all that belongs to it.
local function host_lose(pool, id)
  local host = host_load(pool, id)
  redis.call('ZREM', pool.at .. 'hosts', id)
  redis.call('ZREM', pool.at .. 'ids', id)
  redis.call('ZREM', pool.at .. 'due', id)
  if not host then return end
  host_end_reservations(pool, host, 'host-lost')
  host_count(pool, id, host.was, nil)
  host_unwatch(pool, host)
  redis.call('DEL', pool.at .. 'host:' .. id)
  pool_event(pool, 'lost', id, host.room)
end

-- The host as it is now, and its room; nil when it is not alive.
local function host_refresh(pool, id)
  local host = host_load(pool, id)
  if not host or host.alive_ms <= pool.now_ms then
    host_lose(pool, id)
    return nil
  end
  local room = host_settle(pool, host)
  host_save(pool, host)
  return host, room
end

-- Looks after at most `most` each of touched rooms, silent hosts and deadlines. Answers whether there may be more.
local function pool_drain(pool, most)
  local touched = redis.call('SPOP', pool.at .. 'touched', most)
  for _, room in ipairs(touched) do
    local id = redis.call('HGET', pool.at .. 'rooms', room)
    if id then host_refresh(pool, id) end
  end
  local now = berth_integer(pool.now_ms)
  local silent = redis.call('ZRANGEBYSCORE', pool.at .. 'hosts', '-inf', now, 'LIMIT', 0, most)
  for _, id in ipairs(silent) do host_lose(pool, id) end
  local due = redis.call('ZRANGEBYSCORE', pool.at .. 'due', '-inf', now, 'LIMIT', 0, most)
  for _, id in ipairs(due) do host_refresh(pool, id) end
  most = tonumber(most)
  return #touched == most or #silent == most or #due == most
end
