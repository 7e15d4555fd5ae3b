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

-- A seat as it is stored: join number, instance, and flags: nothing, or for a member that speaks protocol v2 its role ('h', 'p'),
-- when its connection took the seat (µs, rising), and 'a' while its connection is away and may come back.
local function berth_seat(value)
  return string.match(value, '^(%d+)|([^|]*)|?(%w*)$')
end

-- Last join number and members {member, join, instance, flags} whose instances live.
local function berth_room(prefix, room, now_ms)
  local fields = redis.call('HGETALL', prefix .. 'room:' .. room)
  local last, members = 0, {}
  for i = 1, #fields, 2 do
    if fields[i] == '#' then
      last = tonumber(fields[i + 1])
    else
      local join, instance, flags = berth_seat(fields[i + 1])
      if berth_live(prefix, instance, now_ms) then
        members[#members + 1] = {member = fields[i], join = tonumber(join), instance = instance, flags = flags}
      end
    end
  end
  return last, members
end

-- Tells the pool that watches the room, if one does.
local function berth_touch(prefix, room)
  local pool = redis.call('HGET', prefix .. 'watched', room)
  if not pool then return end
  local touched = prefix .. 'pool:' .. pool .. ':touched'
  redis.call('SADD', touched, room)
  -- A pool that is gone leaves nothing behind for ever.
  redis.call('PEXPIRE', touched, 3600000)
end
