-- One pool of hosts: records, counts, timers. Needs rooms.lua, slots.lua and index.lua before it.
--
-- Keys, all behind the pool's prefix:
--   host:ID        hash: the host; fields r:MATCH hold its reservations as
--                  GRANTED_US|DEADLINE_MS|BASE|HOLDER|JOINED_US|LEFT_MS|ASKED, where HOLDER is nothing, u (unclear), n (named
--                  by the host), or a join number, with a p if it is known to be a player, and a c if it is clear; the field
--                  marks is SEAT|FLOOR|TAKEN|DOUBT|DOUBT_MS|ABSENT_MS; labels is a JSON object, class names the host's class:
--                  both are absent where there is none; drain is there while the host is taken out of service, info is a
--                  digest of what info:ID holds; said_us is when it last said by itself what it does (Unix µs)
--   info:ID        string: what the host tells of itself, JSON; only if it tells anything
--   drained        sorted set: ids that were taken out of service, scored by when (Unix ms); they stay while the host is gone
--   hosts          sorted set: ids, scored by the end of their life (Unix ms)
--   ids            sorted set: ids, all scored 0, for pages
--   due            sorted set: ids of which something changes by time alone, scored by when (Unix ms)
--   rooms          hash: room to the id that claims it
--   matches        hash: match to the id of its host
--   kept:HOST      hash: reservations of a host that a store which lost everything does not know yet, as ROOM|TEXT
--   state          hash: secret and before, the pool's secret and the one before it; epoch, quiet and calm, see below (until when, Unix ms); seen and known, when the pool was last looked
--                  after and when occupancy was last known (these and calm by the system's clock, which no test moves)
--   offline        hash: hosts that are gone, as SINCE_US HOW ROOM REGION; offline:since, a sorted set: their ids, scored by when (Unix ms)
--   over:MATCH     string: why a match ended, for a while
--   touched        set: rooms whose members changed (written by signaling)
--   index          sorted set: hosts with a free slot, as index.lua has it
--   classes        hash: class to its text, as index.lua has it; class:hosts: class to the number of its hosts
--   counts         hash: hosts by state, capacity, free slots, taken slots
--   region:states   hash: STATE:REGION to the number of hosts
--   region:capacity, region:slots   hashes: per region all slots, its free slots

-- Epoch: a store that came back empty has another one than before, or none. Reservations may be lost, so nobody is handed out
-- until they would be over: the pool is *quiet*. Those who granted them write them back.
--
-- Calm: nobody looked after the pool for a while, so heartbeats could not be heard either, or only by who could not write them
-- down. Hosts whose life is over are not lost then, but not handed out.

-- How long nobody looks after a pool before that is a sign of trouble, ms; it is done each second.
local GAP_MS = 5000

-- What a call needs everywhere. `ahead_us` moves the clock of hosts and deadlines, not the clock of rooms. `terms` is
-- HOLD_MS|GRACE_MS|DOUBT_MS|PLAYERS|TTL_MS|WORDS, with the words `host` and `room` for what is demanded of a host.
local function pool_open(prefix, name, ahead_us, terms)
  local system_us = berth_now_us()
  local now_us = system_us + tonumber(ahead_us)
  local system_ms = math.floor(system_us / 1000)
  local hold_ms, grace_ms, doubt_ms, players, ttl_ms, words = string.match(terms, '^(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|(.*)$')
  local at, state = prefix .. 'pool:' .. name .. ':', {}
  local fields = redis.call('HGETALL', at .. 'state')
  for i = 1, #fields, 2 do state[fields[i]] = tonumber(fields[i + 1]) or fields[i + 1] end
  local gap = state.seen ~= nil and system_ms - state.seen > GAP_MS
  if gap then state.calm = system_ms + tonumber(ttl_ms) end
  return {
    prefix = prefix, name = name, at = at,
    system_us = system_us, system_ms = system_ms, now_us = now_us, now_ms = math.floor(now_us / 1000),
    ahead_ms = math.floor(ahead_us / 1000),
    terms = {
      hold_ms = tonumber(hold_ms), grace_ms = tonumber(grace_ms), doubt_ms = tonumber(doubt_ms),
      players = tonumber(players),
      host_in_room = string.find(words, 'host', 1, true) ~= nil,
      known_room = string.find(words, 'room', 1, true) ~= nil,
    },
    known = berth_occupancy_known(prefix, system_ms),
    state = state, calm = (state.calm or 0) > system_ms, quiet = (state.quiet or 0) > math.floor(now_us / 1000),
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
    region = host.region, class = host.class, state = host.state, free = host.free, taken = host.taken, capacity = host.capacity,
    due = host.due, marks = host_marks(host),
  }
end

-- A stored reservation.
local function reservation_read(match, text)
  local granted_us, deadline_ms, base, holder, joined_us, left_ms, asked =
    string.match(text, '^(%d+)|(%d+)|(%d+)|(%w*)|(%d+)|(%d+)|(%w*)$')
  return {
    id = match, granted_us = tonumber(granted_us), deadline_ms = tonumber(deadline_ms), base = tonumber(base),
    holder = tonumber(string.match(holder, '^%d+')) or HOLDERS[holder],
    known = string.find(holder, 'p', 1, true) ~= nil, clear = string.find(holder, 'c', 1, true) ~= nil,
    joined_us = tonumber(joined_us), left_ms = tonumber(left_ms), asked = asked, stored = text,
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
      reservations[#reservations + 1] = reservation_read(match, fields[i + 1])
    else
      record[fields[i]] = fields[i + 1]
    end
  end
  slots_sort(reservations)
  local host = {
    id = id, room = record.room, region = record.region, status = record.status,
    labels = record.labels, class = record.class,
    capacity = tonumber(record.capacity), available = tonumber(record.available), at_us = tonumber(record.at_us),
    said_us = tonumber(record.said_us or 0), alive_ms = tonumber(record.alive_ms), reservations = reservations,
    drain = record.drain ~= nil, info = record.info or '',
    -- Records of earlier versions do not say how many slots are taken.
    state = record.state, free = tonumber(record.free), taken = tonumber(record.taken or 0), due = tonumber(record.due),
  }
  local place = 0
  for mark in string.gmatch(record.marks, '%d+') do
    place = place + 1
    host[MARKS[place]] = tonumber(mark)
  end
  host.was = host_trace(host)
  return host
end

-- Whether a host has all these labels, which are {key, value, ...}.
local function host_has(host, labels)
  if #labels == 0 then return true end
  local own = host.labels and cjson.decode(host.labels) or {}
  for i = 1, #labels, 2 do
    if own[labels[i]] ~= labels[i + 1] then return false end
  end
  return true
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

local NOWHERE = {capacity = 0, free = 0, taken = 0}

-- Moves a host in the index and in the counts from how it was to how it is; nil stands for not there.
local function host_count(pool, id, was, is)
  was, is = was or NOWHERE, is or NOWHERE
  local at, counts = pool.at, pool.at .. 'counts'
  pool_move(counts, was.state, 1, is.state, 1)
  pool_add(counts, 'capacity', is.capacity - was.capacity)
  pool_add(counts, 'free', is.free - was.free)
  pool_add(counts, 'taken', is.taken - was.taken)
  pool_move(at .. 'region:states', was.region and was.state .. ':' .. was.region, 1, is.region and is.state .. ':' .. is.region, 1)
  pool_move(at .. 'region:capacity', was.region, was.capacity, is.region, is.capacity)
  pool_move(at .. 'region:slots', was.region, was.free, is.region, is.free)
  index_move(at .. 'index', id, was, is)
end

local function host_store_reservation(pool, host, reservation)
  local holder = ''
  if type(reservation.holder) == 'string' then
    holder = string.sub(reservation.holder, 1, 1)
  elseif reservation.holder then
    holder = berth_integer(reservation.holder) .. (reservation.known and 'p' or '') .. (reservation.clear and 'c' or '')
  end
  local text = table.concat({
    berth_integer(reservation.granted_us), berth_integer(reservation.deadline_ms), berth_integer(reservation.base), holder,
    berth_integer(reservation.joined_us), berth_integer(reservation.left_ms), reservation.asked,
  }, '|')
  if text ~= reservation.stored then redis.call('HSET', pool.at .. 'host:' .. host.id, 'r:' .. reservation.id, text) end
  reservation.stored = text
end

-- How long it is known why a match ended, ms.
local OVER_MS = 600000

-- Forgets a reservation, but for why it ended.
local function host_drop_reservation(pool, host, reservation, why)
  redis.call('HDEL', pool.at .. 'host:' .. host.id, 'r:' .. reservation.id)
  redis.call('HDEL', pool.at .. 'matches', reservation.id)
  redis.call('SET', pool.at .. 'over:' .. reservation.id, why, 'PX', OVER_MS)
  pool_event(pool, why, host.id, host.room, reservation.id)
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
  if not was or was.state ~= is.state or was.free ~= is.free or was.taken ~= is.taken or was.marks ~= is.marks or was.due ~= is.due then
    redis.call('HSET', pool.at .. 'host:' .. host.id, 'state', is.state, 'free', berth_integer(is.free),
      'taken', berth_integer(is.taken), 'marks', is.marks, 'due', is.due and berth_integer(is.due) or '')
  end
  if not was or was.state ~= is.state or was.free ~= is.free or was.taken ~= is.taken or was.region ~= is.region
    or was.class ~= is.class or was.capacity ~= is.capacity then
    host_count(pool, host.id, was, is)
  end
  host.was = is
end

-- Finds out where a host stands, right after its slots were settled. One whose life is over is here only because of the calm.
local function host_stand(pool, host, room)
  local sessions, waiting
  host.state, host.free, sessions, waiting = slots_standing(host, room, pool.terms, pool.now_us)
  host.taken = sessions + waiting
  if host.drain or host.status == 'draining' then
    host.free = 0
    if host.state ~= 'unreachable' then host.state = 'draining' end
  end
  if host.alive_ms <= pool.now_ms then
    host.state, host.free = 'unreachable', 0
  end
  host.due = slots_due_ms(host, room, pool.terms, pool.now_us)
  -- Otherwise the timer of silent hosts looks after it.
  if pool.calm and host.alive_ms > pool.now_ms then host.due = math.min(host.due or host.alive_ms, host.alive_ms) end
end

-- Tells what became of a host's reservations.
local function host_change(pool, host)
  return function(reservation, what)
    if what == 'joined' then
      pool_event(pool, what, host.id, host.room, reservation.id)
    else
      host_drop_reservation(pool, host, reservation, what)
    end
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
  berth_unwatch(pool.prefix, host.room, pool.name)
end

local function host_end_reservations(pool, host, kind)
  for _, reservation in ipairs(host.reservations) do host_drop_reservation(pool, host, reservation, kind) end
  host.reservations = {}
end

-- Gives a host the reservations back that were written back before it was known.
local function host_restore(pool, host)
  local key = pool.at .. 'kept:' .. host.id
  local fields = redis.call('HGETALL', key)
  if #fields == 0 then return end
  for i = 1, #fields, 2 do
    local text = string.match(fields[i + 1], '|([^|]*|[^|]*|[^|]*|[^|]*|[^|]*|[^|]*|[^|]*)$')
    if host.room .. '|' .. text == fields[i + 1] then
      local reservation = reservation_read(fields[i], text)
      reservation.stored = nil
      host.reservations[#host.reservations + 1] = reservation
      redis.call('HSET', pool.at .. 'matches', reservation.id, host.id)
    end
  end
  slots_sort(host.reservations)
  redis.call('DEL', key)
end

-- How long a host that is gone is listed, ms, and how many are.
local OFFLINE_MS, MOST_OFFLINE = 600000, 1000

local function offline_forget(pool, ids)
  for _, id in ipairs(ids) do
    redis.call('ZREM', pool.at .. 'offline:since', id)
    redis.call('HDEL', pool.at .. 'offline', id)
  end
end

-- Lists a host as gone. `gone`: how it went.
local function offline_note(pool, host, gone)
  local since = pool.at .. 'offline:since'
  offline_forget(pool, redis.call('ZRANGEBYSCORE', since, '-inf', berth_integer(pool.now_ms - OFFLINE_MS), 'LIMIT', 0, 16))
  redis.call('ZADD', since, berth_integer(pool.now_ms), host.id)
  redis.call('HSET', pool.at .. 'offline', host.id,
    table.concat({berth_integer(pool.now_us), gone, host.room, host.region}, ' '))
  local many = redis.call('ZCARD', since) - MOST_OFFLINE
  if many > 0 then offline_forget(pool, redis.call('ZRANGE', since, 0, berth_integer(many - 1))) end
end

-- When a host went, µs, and how; nothing if that is not known.
local function offline_since(pool, id)
  local text = redis.call('HGET', pool.at .. 'offline', id)
  if not text then return nil end
  local at_us, gone = string.match(text, '^(%d+) (%S+)')
  return tonumber(at_us), gone
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
  if host.class then class_leave(pool.at, host.class) end
  host_unwatch(pool, host)
  redis.call('DEL', pool.at .. 'host:' .. id, pool.at .. 'info:' .. id)
  pool_event(pool, gone, id, host.room)
  offline_note(pool, host, gone)
end

local function host_lose(pool, id)
  host_end(pool, id, 'host-lost', 'lost')
end

-- The host as it is now, and its room; nil when it is lost.
local function host_refresh(pool, id)
  local host = host_load(pool, id)
  if not host or host.alive_ms <= pool.now_ms and not pool.calm then
    host_lose(pool, id)
    return nil
  end
  local room = host_settle(pool, host)
  host_save(pool, host)
  return host, room
end

-- The live reservation of a match, its host and that host's room; or nil and why it ended, if that is known.
local function pool_match(pool, match)
  local id = redis.call('HGET', pool.at .. 'matches', match)
  local host, room
  if id then host, room = host_refresh(pool, id) end
  for _, reservation in ipairs(host and host.reservations or {}) do
    if reservation.id == match then return reservation, host, room end
  end
  return nil, redis.call('GET', pool.at .. 'over:' .. match) or nil
end

-- Notes that the pool is looked after, and whether its store lost everything: `known` is the epoch that the caller knows, or
-- nothing, `new` one to begin with. `secret` is the pool's secret as the caller knows it, or nothing, `fresh` one to begin with.
local function pool_watch(pool, known, new, quiet_ms, keep_ms, secret, fresh)
  local state, at = pool.state, pool.at .. 'state'
  local created = not state.epoch
  if created then state.epoch = new end
  if known ~= '' and known ~= state.epoch then
    state.quiet = math.max(state.quiet or 0, pool.now_ms + quiet_ms)
    pool.quiet = true
  end
  -- What was made of the secret before a loss is good afterwards too.
  if not state.secret then
    state.secret = secret ~= '' and secret or fresh
  elseif secret ~= '' and secret ~= state.secret then
    state.before = secret
  end
  if pool.known then state.known = pool.system_ms end
  redis.call('HSET', at, 'known', berth_integer(state.known or 0), 'epoch', state.epoch, 'seen', berth_integer(pool.system_ms),
    'quiet', berth_integer(state.quiet or 0), 'calm', berth_integer(state.calm or 0), 'secret', state.secret,
    'before', state.before or '')
  redis.call('PEXPIRE', at, keep_ms)
  return created
end

-- Looks after at most `most` each of touched rooms, silent hosts and deadlines. Answers whether there may be more.
local function pool_drain(pool, most)
  local touched = redis.call('SPOP', pool.at .. 'touched', most)
  for _, room in ipairs(touched) do
    local id = redis.call('HGET', pool.at .. 'rooms', room)
    if id then host_refresh(pool, id) end
  end
  local now = berth_integer(pool.now_ms)
  local silent = {}
  if not pool.calm then silent = redis.call('ZRANGEBYSCORE', pool.at .. 'hosts', '-inf', now, 'LIMIT', 0, most) end
  for _, id in ipairs(silent) do host_lose(pool, id) end
  local due = redis.call('ZRANGEBYSCORE', pool.at .. 'due', '-inf', now, 'LIMIT', 0, most)
  for _, id in ipairs(due) do host_refresh(pool, id) end
  most = tonumber(most)
  return #touched == most or #silent == most or #due == most
end
