-- Seats in rooms. Every step is one call of one of these functions.
local function berth_seat_value(join, instance, flags, id)
  return table.concat({berth_integer(join), instance, flags, id}, '|')
end

local function berth_speaks_v2(flags)
  return string.match(flags, '^[hp]') ~= nil
end

-- Tells the pools that watch the room.
local function berth_touch(prefix, room, pools)
  for pool in string.gmatch(pools, '[^,]+') do
    local touched = prefix .. 'pool:' .. pool .. ':touched'
    redis.call('SADD', touched, room)
    -- A pool that is gone leaves nothing behind for ever.
    redis.call('PEXPIRE', touched, 3600000)
  end
end

-- Notes at the room who has left, for the pools that watch it: join number, when (µs), role or nothing, id or nothing; the
-- latest first, at most 8. Hosts are none of it.
local function berth_note_departure(key, join, flags, id)
  local role = string.lower(string.sub(flags, 1, 1))
  if role == 'h' then return end
  -- Ids of matches are no longer and have no other characters; what a key of ours signed may be anything.
  if #id > 64 or string.match(id, '[^%w-]') then id = '' end
  local earlier, kept = redis.call('HGET', key, '~') or '', {table.concat({join, berth_integer(berth_now_us()), role, id}, ':')}
  for entry in string.gmatch(earlier, '[^;]+') do
    if #kept < 8 then kept[#kept + 1] = entry end
  end
  redis.call('HSET', key, '~', table.concat(kept, ';'))
end
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

-- Whether another instance listens for what is said to it: its subscription outlives the keys. In a Redis Cluster it is at
-- another node, and not seen.
local function berth_others_listen(inboxes, instance)
  for _, channel in ipairs(redis.call('PUBSUB', 'CHANNELS', inboxes .. '*')) do
    if channel ~= inboxes .. instance then return true end
  end
  return false
end

-- A store that came back empty is *blank*: until the instances have had time to assert their seats, a room that is full
-- looks free. `held`: what an instance knows of its own lease; 0 it never had one, 1 it may have lapsed, 2 it cannot have.
-- `inboxes`: what the names of the channels of all instances begin with.
local function berth_note_loss(prefix, instance, held, blank_ms, inboxes)
  if blank_ms == 0 then return end
  local lost
  if held == 2 then
    lost = not redis.call('ZSCORE', prefix .. 'instances', instance)
  else
    -- Who lapsed may have been forgotten by the others; that all are unknown is another matter. And to who has just started, a
    -- store that knows nobody is new, unless somebody is there.
    lost = redis.call('EXISTS', prefix .. 'instances') == 0 and (held == 1 or berth_others_listen(inboxes, instance))
  end
  if lost then redis.call('SET', prefix .. 'blank', '1', 'PX', blank_ms, 'NX') end
end

-- When the connection of a member took its seat, out of the flags of the seat; 0 if it speaks v1.
local function berth_taken(flags)
  return tonumber(string.match(flags, '%d+') or 0)
end

-- Takes the seat that a member has at `instance` away; whether there was one. One that it has at another instance by now
-- is not touched, nor one that a later connection than that of `taken` took. The room keeps its last join number for
-- `ttl_ms` after its last member.
local function berth_unseat(prefix, room, member, instance, ttl_ms, taken)
  local key = prefix .. 'room:' .. room
  local value = redis.call('HGET', key, member)
  local join, holder, flags, id
  if value then
    join, holder, flags, id = berth_seat(value)
    if holder == instance and taken and berth_taken(flags) > taken then return false end
  end
  redis.call('SREM', berth_seats_key(prefix, instance), member .. ' ' .. room)
  if holder ~= instance then return false end
  redis.call('HDEL', key, member)
  local pools = berth_watchers(prefix, room)
  if pools ~= '' then berth_note_departure(key, join, flags, id) end
  -- What is left is the last number, and who has left.
  if redis.call('HLEN', key) <= (redis.call('HGET', key, '~') and 2 or 1) then redis.call('PEXPIRE', key, ttl_ms) end
  berth_touch(prefix, room, pools)
  return true
end

-- The answer of a room's seats: member, join, instance, flags, id, member, ...
local function berth_list(members, except)
  local list = {}
  for _, seat in ipairs(members) do
    if seat.member ~= except then
      list[#list + 1] = seat.member
      list[#list + 1] = berth_integer(seat.join)
      list[#list + 1] = seat.instance
      list[#list + 1] = seat.flags
      list[#list + 1] = seat.id
    end
  end
  return list
end

-- Takes the seats of dead instances out of one room; the members that had them and their instances: member, instance, ...
local function berth_prune(prefix, room, now_ms, ttl_ms)
  local fields, reaped = redis.call('HGETALL', prefix .. 'room:' .. room), {}
  for i = 1, #fields, 2 do
    if berth_is_member(fields[i]) then
      local _, instance = berth_seat(fields[i + 1])
      if not berth_live(prefix, instance, now_ms) then
        berth_unseat(prefix, room, fields[i], instance, ttl_ms)
        reaped[#reaped + 1] = fields[i]
        reaped[#reaped + 1] = instance
      end
    end
  end
  return reaped
end

-- The member whose connection is away and who has to make room for a newcomer, if there is one: one of the same role before
-- others, because it may be the same person, and then who joined first.
local function berth_evictable(members, newcomer, role)
  local best, best_rank = nil, nil
  for _, seat in ipairs(members) do
    if seat.member ~= newcomer and string.match(seat.flags, 'a$') then
      local same = role ~= '' and string.sub(seat.flags, 1, 1) == role
      local rank = (same and 0 or 2 ^ 53) + seat.join
      if not best or rank < best_rank then best, best_rank = seat, rank end
    end
  end
  return best
end
