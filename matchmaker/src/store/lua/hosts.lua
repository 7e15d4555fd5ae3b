-- One pool of hosts: records, the index of free slots, counts. Needs rooms.lua and slots.lua before it.
--
-- Keys, all behind the pool's prefix:
--   host:ID        hash: the host; fields r:MATCH hold its reservations as
--                  GRANTED_US|DEADLINE_MS|BASE|HOLDER|JOINED_US|LEFT_MS, where HOLDER is nothing, u (unclear), n (named by the
--                  host), a join number, or one with a p (known to be a player); the field marks is
--                  SEAT|FLOOR|TAKEN|DOUBT|DOUBT_MS|ABSENT_MS; drain is there while the host is taken out of service, info is a
--                  digest of what info:ID holds
--   info:ID        string: what the host tells of itself, JSON; only if it tells anything
--   drained        sorted set: ids that were taken out of service, scored by when (Unix ms); they stay while the host is gone
--   hosts          sorted set: ids, scored by the end of their life (Unix ms)
--   ids            sorted set: ids, all scored 0, for pages
--   due            sorted set: ids of which something changes by time alone, scored by when (Unix ms)
--   rooms          hash: room to the id that claims it
--   matches        hash: match to the id of its host
--   touched        set: rooms whose members changed (written by signaling)
--   free           set: ids with a free slot; free:REGION: the same by region
--   counts         hash: hosts by state, capacity, free slots
--   region:hosts, region:free, region:slots   hashes: per region its hosts, its hosts with a free slot, its free slots

-- What a call needs everywhere. `ahead_us` moves the clock of hosts and deadlines, not the clock of rooms. `terms` is
-- HOLD_MS|GRACE_MS|DOUBT_MS|WORDS, with the words `host` and `room` for what is demanded of a host.
local function pool_open(prefix, name, ahead_us, terms)
  local system_us = berth_now_us()
  local now_us = system_us + tonumber(ahead_us)
  local system_ms = math.floor(system_us / 1000)
  local hold_ms, grace_ms, doubt_ms, words = string.match(terms, '^(%d+)|(%d+)|(%d+)|(.*)$')
  return {
    prefix = prefix, name = name, at = prefix .. 'pool:' .. name .. ':',
    system_us = system_us, system_ms = system_ms, now_us = now_us, now_ms = math.floor(now_us / 1000),
    ahead_ms = math.floor(ahead_us / 1000),
    terms = {
      hold_ms = tonumber(hold_ms), grace_ms = tonumber(grace_ms), doubt_ms = tonumber(doubt_ms),
      host_in_room = string.find(words, 'host', 1, true) ~= nil,
      known_room = string.find(words, 'room', 1, true) ~= nil,
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

local HOLDERS = {n = 'named', u = 'unclear'}
local MARKS = {'seat', 'floor', 'taken', 'doubt', 'doubt_ms', 'absent_ms'}

local function host_marks(host)
  local marks = {}
  for i, name in ipairs(MARKS) do marks[i] = berth_integer(host[name]) end
  return table.concat(marks, '|')
end

-- A host of which nothing is known but its name.
local function host_new(id)
  local host = {id = id, reservations = {}, drain = false, info = ''}
  for _, name in ipairs(MARKS) do host[name] = 0 end
  return host
end

-- What the index, the counts and the timers know of a host.
local function host_trace(host)
  return {
    region = host.region, state = host.state, free = host.free, capacity = host.capacity,
    due = host.due, marks = host_marks(host),
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
      local granted_us, deadline_ms, base, holder, joined_us, left_ms =
        string.match(fields[i + 1], '^(%d+)|(%d+)|(%d+)|(%w*)|(%d+)|(%d+)$')
      reservations[#reservations + 1] = {
        id = match, granted_us = tonumber(granted_us), deadline_ms = tonumber(deadline_ms), base = tonumber(base),
        holder = tonumber(string.match(holder, '^%d+')) or HOLDERS[holder],
        known = string.match(holder, 'p$') ~= nil,
        joined_us = tonumber(joined_us), left_ms = tonumber(left_ms), stored = fields[i + 1],
      }
    else
      record[fields[i]] = fields[i + 1]
    end
  end
  slots_sort(reservations)
  local host = {
    id = id, room = record.room, region = record.region, status = record.status,
    capacity = tonumber(record.capacity), available = tonumber(record.available), at_us = tonumber(record.at_us),
    alive_ms = tonumber(record.alive_ms), reservations = reservations,
    drain = record.drain ~= nil, info = record.info or '',
    state = record.state, free = tonumber(record.free), due = tonumber(record.due),
  }
  local place = 0
  for mark in string.gmatch(record.marks, '%d+') do
    place = place + 1
    host[MARKS[place]] = tonumber(mark)
  end
  host.was = host_trace(host)
  return host
end

local function by_join(a, b) return a.join < b.join end

-- The room of a host, as slots.lua has it.
local function host_room(pool, host)
  local last, seats, gone = berth_room(pool.prefix, host.room, pool.system_ms)
  local members, departed = {}, {}
  for _, seat in ipairs(seats) do
    members[#members + 1] = {join = seat.join, role = string.match(string.lower(seat.flags), '^[hp]?'), id = seat.id}
  end
  for join, at_us, role, id in string.gmatch(gone, '(%d+):(%d+):(%w*):([^;]*)') do
    local at_ms = math.floor(tonumber(at_us) / 1000) + pool.ahead_ms
    departed[#departed + 1] = {join = tonumber(join), role = role, id = id, at_ms = at_ms}
  end
  table.sort(members, by_join)
  table.sort(departed, by_join)
  return {last = last, members = members, departed = departed}
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
  local holder = ''
  if type(reservation.holder) == 'string' then
    holder = string.sub(reservation.holder, 1, 1)
  elseif reservation.holder then
    holder = berth_integer(reservation.holder) .. (reservation.known and 'p' or '')
  end
  local text = table.concat({
    berth_integer(reservation.granted_us), berth_integer(reservation.deadline_ms), berth_integer(reservation.base), holder,
    berth_integer(reservation.joined_us), berth_integer(reservation.left_ms),
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
  if not was or was.state ~= is.state or was.free ~= is.free or was.marks ~= is.marks or was.due ~= is.due then
    redis.call('HSET', pool.at .. 'host:' .. host.id, 'state', is.state, 'free', berth_integer(is.free),
      'marks', is.marks, 'due', is.due and berth_integer(is.due) or '')
  end
  if not was or was.state ~= is.state or was.free ~= is.free or was.region ~= is.region
    or was.capacity ~= is.capacity then
    host_count(pool, host.id, was, is)
  end
  host.was = is
end

-- Finds out where a host stands, right after its slots were settled.
local function host_stand(pool, host, room)
  host.state, host.free = slots_standing(host, room, pool.terms, pool.now_us)
  if host.drain or host.status == 'draining' then
    host.free = 0
    if host.state ~= 'unreachable' then host.state = 'draining' end
  end
  host.due = slots_due_ms(host, room, pool.terms, pool.now_us)
end

-- Tells what became of a host's reservations.
local function host_change(pool, host)
  return function(reservation, what)
    pool_event(pool, what, host.id, host.room, reservation.id)
    if what ~= 'joined' then host_drop_reservation(pool, host, reservation) end
  end
end

-- Brings a loaded host up to date with its room and the time.
local function host_settle(pool, host)
  local room = nil
  if pool.known then room = host_room(pool, host) end
  slots_settle(host, room, pool.terms, pool.now_us, host_change(pool, host))
  host_stand(pool, host, room)
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

-- Forgets a host and all that belongs to it. `ended` is told of its reservations, `gone` of itself.
local function host_end(pool, id, ended, gone)
  local host = host_load(pool, id)
  redis.call('ZREM', pool.at .. 'hosts', id)
  redis.call('ZREM', pool.at .. 'ids', id)
  redis.call('ZREM', pool.at .. 'due', id)
  if not host then return end
  host_end_reservations(pool, host, ended)
  host_count(pool, id, host.was, nil)
  host_unwatch(pool, host)
  redis.call('DEL', pool.at .. 'host:' .. id, pool.at .. 'info:' .. id)
  pool_event(pool, gone, id, host.room)
end

local function host_lose(pool, id)
  host_end(pool, id, 'host-lost', 'lost')
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
