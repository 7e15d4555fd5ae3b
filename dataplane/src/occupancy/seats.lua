-- Seats in rooms. Every step is one call of one of these functions.
local function berth_seats_key(prefix, instance)
  return prefix .. 'seats:' .. instance
end

-- Exists after a member gave its seat back while other calls for it may still be under way.
local function berth_gone_key(prefix, member)
  return prefix .. 'gone:' .. member
end

-- Whether `instance` must take its lease anew. One that lapsed shows that the store, or the way to it, was away: the others
-- could not renew either and get the length of a lease to say that they live.
local function berth_lapsed(prefix, instance, now_ms, lease_ms)
  local lease = redis.call('ZSCORE', prefix .. 'instances', instance)
  if lease and tonumber(lease) > now_ms then return false end
  if lease and tonumber(lease) > 0 then redis.call('SET', prefix .. 'calm', '1', 'PX', lease_ms) end
  return true
end

-- A store that came back empty is *blank*: until the instances have had time to assert their seats, a room that is full
-- looks free. `held`: what an instance knows of its own lease; 0 it never had one, 1 it may have lapsed, 2 it cannot have.
local function berth_note_loss(prefix, instance, held, blank_ms)
  if blank_ms == 0 or held == 0 then return end
  local known = redis.call('ZSCORE', prefix .. 'instances', instance)
  -- Who lapsed may have been forgotten by the others; that all are unknown is another matter.
  if held == 2 and not known or held == 1 and redis.call('EXISTS', prefix .. 'instances') == 0 then
    redis.call('SET', prefix .. 'blank', '1', 'PX', blank_ms, 'NX')
  end
end

-- Takes one seat away. The room keeps its last join number for `ttl_ms` after its last member.
local function berth_unseat(prefix, room, member, instance, ttl_ms)
  local key = prefix .. 'room:' .. room
  if redis.call('HDEL', key, member) == 1 then
    if redis.call('HLEN', key) <= 1 then redis.call('PEXPIRE', key, ttl_ms) end
    berth_touch(prefix, room)
  end
  redis.call('SREM', berth_seats_key(prefix, instance), member .. ' ' .. room)
end

-- The answer of a room's seats: member, join, instance, member, ...
local function berth_list(members, except)
  local list = {}
  for _, seat in ipairs(members) do
    if seat.member ~= except then
      list[#list + 1] = seat.member
      list[#list + 1] = berth_integer(seat.join)
      list[#list + 1] = seat.instance
    end
  end
  return list
end

-- Takes the seats of dead instances out of one room; the members that had them.
local function berth_prune(prefix, room, now_ms, ttl_ms)
  local fields, reaped = redis.call('HGETALL', prefix .. 'room:' .. room), {}
  for i = 1, #fields, 2 do
    if fields[i] ~= '#' then
      local instance = string.match(fields[i + 1], '^%d+|(.*)$')
      if not berth_live(prefix, instance, now_ms) then
        berth_unseat(prefix, room, fields[i], instance, ttl_ms)
        reaped[#reaped + 1] = fields[i]
      end
    end
  end
  return reaped
end
