-- Reading rooms, for every script that needs them. `prefix` is what all keys of the SignalingCluster start with;
-- all of them are in one slot. Join numbers stay below 2^53, so Lua's doubles hold them exactly.
local function berth_now_us()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function berth_integer(number)
  return string.format('%.0f', number)
end

-- Whether any instance of the signaling server holds a lease, and the store is not *blank*: only then does an empty room
-- mean something.
local function berth_occupancy_known(prefix, now_ms)
  return redis.call('ZCOUNT', prefix .. 'instances', '(' .. berth_integer(now_ms), '+inf') > 0
    and redis.call('EXISTS', prefix .. 'blank') == 0
end

-- Whether the lease of an instance lives. While the store is *calm*, because it was away for longer than the leases,
-- instances that could not renew meanwhile are believed; one that released its lease never is.
local function berth_live(prefix, instance, now_ms)
  local lease = redis.call('ZSCORE', prefix .. 'instances', instance)
  if not lease then return false end
  if tonumber(lease) > now_ms then return true end
  return tonumber(lease) > 0 and redis.call('EXISTS', prefix .. 'calm') == 1
end

-- A seat as it is stored: join number, instance, flags and id. Flags: the role ('h', 'p'; 'H', 'P' for a member that speaks
-- protocol v1; nothing while it is not known), then, for one that speaks v2, when its connection took the seat (µs, rising), and 'a'
-- while its connection is away and may come back. Id: that of its match token, or nothing.
local function berth_seat(value)
  return string.match(value, '^(%d+)|([^|]*)|?(%w*)|?(.*)$')
end

-- What is not a member among the fields of a room: the last join number, and who has left.
local function berth_is_member(field)
  return field ~= '#' and field ~= '~'
end

-- Last join number, members {member, join, instance, flags, id} whose instances live, and who has left, as berth_unseat notes it.
local function berth_room(prefix, room, now_ms)
  local fields = redis.call('HGETALL', prefix .. 'room:' .. room)
  local last, members, departed = 0, {}, ''
  for i = 1, #fields, 2 do
    if fields[i] == '#' then
      last = tonumber(fields[i + 1])
    elseif fields[i] == '~' then
      departed = fields[i + 1]
    else
      local join, instance, flags, id = berth_seat(fields[i + 1])
      if berth_live(prefix, instance, now_ms) then
        members[#members + 1] = {member = fields[i], join = tonumber(join), instance = instance, flags = flags, id = id}
      end
    end
  end
  return last, members, departed
end

-- The pools that watch a room, their names joined by commas; nothing if none does.
local function berth_watchers(prefix, room)
  return redis.call('HGET', prefix .. 'watched', room) or ''
end

-- From now on changes of the room are told to the pool, too.
local function berth_watch(prefix, room, pool)
  local pools = berth_watchers(prefix, room)
  if string.find(',' .. pools .. ',', ',' .. pool .. ',', 1, true) then return end
  redis.call('HSET', prefix .. 'watched', room, pools == '' and pool or pools .. ',' .. pool)
end

-- Ends the watch of one pool.
local function berth_unwatch(prefix, room, pool)
  local others = {}
  for name in string.gmatch(berth_watchers(prefix, room), '[^,]+') do
    if name ~= pool then others[#others + 1] = name end
  end
  if #others == 0 then
    redis.call('HDEL', prefix .. 'watched', room)
  else
    redis.call('HSET', prefix .. 'watched', room, table.concat(others, ','))
  end
end
