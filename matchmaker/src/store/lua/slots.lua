-- Slot arithmetic, the same as the module `slots`, where the rules are explained; a test compares both. Nothing here touches Redis.
--
-- host: {id, capacity, available, at_us, seat, floor, taken, doubt, doubt_ms, absent_ms, reservations}
-- reservation: {id, granted_us, deadline_ms, base, holder, known, clear, joined_us, left_ms}; holder: nil (nobody), 'unclear', 'named', or a
-- join number
-- room: {last, members {join, role, id}, departed {join, role, id, at_ms}}, both by ascending join, role 'h', 'p' or '', id or '';
-- nil while occupancy is unknown
-- terms: {hold_ms, grace_ms, doubt_ms, players, host_in_room, known_room}
-- change: function(reservation, what) that is told of 'joined', 'left' and 'expired'

-- Oldest grant first.
local function slots_sort(reservations)
  table.sort(reservations, function(a, b)
    if a.granted_us ~= b.granted_us then return a.granted_us < b.granted_us end
    return a.id < b.id
  end)
end

local function slots_join(one)
  return type(one.holder) == 'number' and one.holder or nil
end

-- Whether somebody came for it.
local function slots_has_come(one)
  return one.holder ~= nil and one.holder ~= 'unclear'
end

local function slots_is_open(one)
  return one.left_ms > 0 or not slots_has_come(one)
end

local function slots_is_seen(one)
  return one.left_ms == 0 and slots_join(one) ~= nil
end

local function slots_is_host(host, member)
  return member.role == 'h' and (member.id == '' or member.id == host.id)
end

-- When a reservation is over by time, or nil while its player is there.
local function slots_end_ms(one, terms)
  if not slots_has_come(one) then return one.deadline_ms end
  if one.left_ms == 0 then return nil end
  local held = one.left_ms + terms.hold_ms
  if slots_join(one) and not (one.known and one.clear) then return math.max(held, one.deadline_ms) end
  return held
end

local function slots_reopen(one)
  one.holder, one.known, one.clear, one.joined_us, one.left_ms = nil, false, false, 0, 0
end

local function slots_left_ms(at_ms, now_ms)
  return math.max(math.min(at_ms, math.max(now_ms, 1)), 1)
end

local function slots_take(host, one, candidate, clear, now_us, change)
  if one.joined_us == 0 then change(one, 'joined') end
  -- Once its player has shown what it is, whoever comes back need not do so again.
  one.holder, one.known = candidate.join, candidate.known or one.known
  one.clear = clear
  one.joined_us, one.left_ms = now_us, candidate.left_ms
  host.taken = math.max(host.taken, candidate.join)
end

local function slots_by_join(members)
  local found = {}
  for _, member in ipairs(members) do found[member.join] = member end
  return found
end

local function slots_look_after_players(host, there, gone, now_ms)
  for _, one in ipairs(host.reservations) do
    local join = slots_join(one)
    local member = join and there[join]
    if member then
      one.left_ms = 0
      one.known = one.known or member.role == 'p'
      if slots_is_host(host, member) then slots_reopen(one) end
    elseif join then
      local departed = gone[join]
      one.known = one.known or (departed ~= nil and departed.role == 'p')
      if one.left_ms == 0 then one.left_ms = slots_left_ms(departed and departed.at_ms or now_ms, now_ms) end
    end
  end
end

local function slots_named_by(members, id)
  local found = {}
  for _, member in ipairs(members) do
    if member.role == 'p' and member.id == id then found[#found + 1] = member end
  end
  return found
end

local function slots_attribute_by_id(host, room, there, now_us, change)
  for _, one in ipairs(host.reservations) do
    local holder = slots_join(one)
    local members = slots_named_by(room.members, one.id)
    local held = false
    for _, member in ipairs(members) do held = held or member.join == holder end
    if not held and members[1] then
      local join = members[1].join
      for _, other in ipairs(host.reservations) do
        if slots_join(other) == join then slots_reopen(other) end
      end
      slots_take(host, one, {join = join, known = true, left_ms = 0}, true, now_us, change)
    elseif not held then
      local departed = slots_named_by(room.departed, one.id)
      local left = departed[#departed]
      if left and (holder or 0) < left.join then
        local left_ms = slots_left_ms(left.at_ms, math.floor(now_us / 1000))
        slots_take(host, one, {join = left.join, known = true, left_ms = left_ms}, true, now_us, change)
      end
    end
  end
end

local function slots_attributed(host)
  local attributed = {}
  for _, one in ipairs(host.reservations) do
    if slots_join(one) then attributed[one.holder] = true end
  end
  return attributed
end

-- Whether an unknown member may be somebody's player.
local function slots_is_in_doubt(host, join)
  if join <= host.floor then return true end
  for _, one in ipairs(host.reservations) do
    if one.base < join and (slots_is_open(one) or one.holder == 'named') then return true end
  end
  return false
end

-- Whether the host is in its room; notes its seat.
local function slots_find_host(host, room, terms, now_ms)
  local attributed = slots_attributed(host)
  local by_role, first, sits = false, nil, false
  for _, member in ipairs(room.members) do
    if slots_is_host(host, member) then by_role = true end
    if member.role == '' and not attributed[member.join] then
      first = first or member.join
      sits = sits or member.join == host.seat
    end
  end
  if by_role or not sits then host.seat = 0 end
  local doubt = 0
  if not by_role and host.seat == 0 and first then
    local since = host.doubt == first and host.doubt_ms or now_ms
    if slots_is_in_doubt(host, first) and now_ms < since + terms.doubt_ms then
      doubt, host.doubt_ms = first, since
    else
      host.seat = first
    end
  end
  host.doubt = doubt
  if doubt == 0 then host.doubt_ms = 0 end
  local is_there = by_role or host.seat > 0
  if is_there then
    host.floor, host.absent_ms = room.last, 0
  elseif host.absent_ms == 0 then
    host.absent_ms = now_ms
  end
  return is_there
end

-- Who may have come for a reservation without a token that says so, in the order of their coming: known players, or those that
-- have not said what they are.
local function slots_candidates(host, room, now_ms, known)
  local attributed, candidates = slots_attributed(host), {}
  local function fits(member)
    if attributed[member.join] then return false end
    if known then return member.role == 'p' and member.id == '' end
    return member.role == '' and member.join ~= host.seat
  end
  for _, member in ipairs(room.members) do
    if fits(member) then candidates[#candidates + 1] = {join = member.join, known = known, left_ms = 0} end
  end
  for _, departed in ipairs(room.departed) do
    if departed.join > host.taken and fits(departed) then
      local left_ms = slots_left_ms(departed.at_ms, now_ms)
      candidates[#candidates + 1] = {join = departed.join, known = known, left_ms = left_ms}
    end
  end
  table.sort(candidates, function(a, b) return a.join < b.join end)
  return candidates
end

-- Whether the player with this number may have come for a reservation.
local function slots_may_be_of(one, join)
  local open = slots_is_open(one) or one.holder == 'named'
  return open and math.max(one.base, slots_join(one) or 0) < join
end

-- Gives a candidate the reservation that ends first of those that it may have come for.
local function slots_attribute_next(host, candidate, terms, now_us, change)
  local best, best_end, fitting, latest_ms = nil, nil, 0, 0
  for _, one in ipairs(host.reservations) do
    if slots_may_be_of(one, candidate.join) then
      fitting = fitting + 1
      latest_ms = math.max(latest_ms, one.deadline_ms)
      local ends = slots_end_ms(one, terms) or math.huge
      if not best or ends < best_end then best, best_end = one, ends end
    end
  end
  if not best then return end
  local clear = fitting == 1 and best.holder ~= 'unclear' and (not slots_join(best) or best.clear)
  slots_take(host, best, candidate, clear, now_us, change)
  -- The player of another one may be there in its place: then this is the one that is waited for, and as long.
  if not clear then best.deadline_ms = latest_ms end
  for _, other in ipairs(host.reservations) do
    if not other.holder and other.base < candidate.join then other.holder = 'unclear' end
  end
end

-- While the host is away, who came and went without a word may be a player who comes again in time.
local function slots_wait_for_visitors(host, room, terms, now_ms)
  local attributed = slots_attributed(host)
  for _, visitor in ipairs(room.departed) do
    if visitor.role == '' and not attributed[visitor.join] then
      local at_ms = slots_left_ms(visitor.at_ms, now_ms)
      for _, one in ipairs(host.reservations) do
        if slots_is_open(one) and at_ms < slots_end_ms(one, terms) and slots_may_be_of(one, visitor.join) then
          if slots_has_come(one) then
            one.left_ms = math.max(one.left_ms, at_ms)
          else
            one.deadline_ms = math.max(one.deadline_ms, at_ms + terms.hold_ms)
          end
        end
      end
    end
  end
end

local function slots_attribute(host, room, terms, now_us, change)
  local now_ms = math.floor(now_us / 1000)
  local there = slots_by_join(room.members)
  slots_look_after_players(host, there, slots_by_join(room.departed), now_ms)
  slots_attribute_by_id(host, room, there, now_us, change)
  for _, candidate in ipairs(slots_candidates(host, room, now_ms, true)) do
    slots_attribute_next(host, candidate, terms, now_us, change)
  end
  if not slots_find_host(host, room, terms, now_ms) then return slots_wait_for_visitors(host, room, terms, now_ms) end
  for _, candidate in ipairs(slots_candidates(host, room, now_ms, false)) do
    slots_attribute_next(host, candidate, terms, now_us, change)
  end
end

-- Takes over what a heartbeat says of the matches that the host serves: a set of their ids, or nil.
local function slots_name(host, names, now_us, change)
  local now_ms = math.floor(now_us / 1000)
  for _, one in ipairs(host.reservations) do
    local named = names and names[one.id]
    if named and not slots_has_come(one) then
      one.holder, one.joined_us = 'named', now_us
      change(one, 'joined')
    elseif one.holder == 'named' then
      if named then
        one.left_ms = 0
      elseif one.left_ms == 0 and (names or one.deadline_ms <= now_ms) then
        one.left_ms = math.max(now_ms, 1)
      end
    end
  end
end

-- Brings the reservations up to date with the room and the time.
local function slots_settle(host, room, terms, now_us, change)
  local now_ms = math.floor(now_us / 1000)
  if room then
    slots_attribute(host, room, terms, now_us, change)
  elseif not terms.known_room then
    for _, one in ipairs(host.reservations) do
      if slots_is_seen(one) then one.left_ms = math.max(now_ms, 1) end
    end
  end
  local kept = {}
  for _, one in ipairs(host.reservations) do
    local ends = slots_end_ms(one, terms)
    if ends and ends <= now_ms then
      change(one, slots_has_come(one) and 'left' or 'expired')
      -- Its player may have come late and said nothing yet.
      if one.base < host.doubt then host.floor = math.max(host.floor, host.doubt) end
    else
      kept[#kept + 1] = one
    end
  end
  host.reservations = kept
end

-- When something changes by time alone, or nil; right after slots_settle with the same room.
local function slots_due_ms(host, room, terms, now_us)
  local first
  local function at(ms)
    if ms and not (first and first <= ms) then first = ms end
  end
  for _, one in ipairs(host.reservations) do at(slots_end_ms(one, terms)) end
  if not room then return first end
  if host.doubt > 0 then at(host.doubt_ms + terms.doubt_ms) end
  if host.absent_ms > 0 and terms.host_in_room then
    local ends = host.absent_ms + terms.grace_ms
    if ends > math.floor(now_us / 1000) then at(ends) end
  end
  return first
end

-- Gives one reservation up, right after slots_settle; answers it if it is gone.
local function slots_release(host, id)
  for i, one in ipairs(host.reservations) do
    if one.id == id then
      if one.holder == 'unclear' or slots_join(one) and not one.clear then return nil end
      return table.remove(host.reservations, i)
    end
  end
end

-- How many members are the host: more than one only if each proves it.
local function slots_hosts(host, room)
  local hosts, proven = 0, 0
  for _, member in ipairs(room.members) do
    if slots_is_host(host, member) then
      hosts = 1
      if member.id ~= '' then proven = proven + 1 end
    end
  end
  return math.max(hosts, proven, host.seat > 0 and 1 or 0)
end

-- State, free slots, sessions and waiting reservations, right after slots_settle with the same room.
local function slots_standing(host, room, terms, now_us)
  local named, waiting, news, seen = 0, 0, 0, 0
  for _, one in ipairs(host.reservations) do
    if slots_is_open(one) then
      waiting = waiting + 1
    else
      if one.holder == 'named' then named = named + 1 else seen = seen + 1 end
      if one.joined_us > host.at_us then news = news + 1 end
    end
  end
  local unreachable, capacity = false, host.capacity
  if room then
    capacity = math.min(capacity, terms.players)
    local hosts = slots_hosts(host, room)
    seen = math.max(#room.members - hosts, 0)
    unreachable = hosts == 0 and terms.host_in_room and math.floor(now_us / 1000) >= host.absent_ms + terms.grace_ms
  end
  local sessions = seen + named
  if unreachable then return 'unreachable', 0, sessions, waiting end
  local by_room = math.max(capacity - sessions - waiting, 0)
  local by_host = math.max(host.available - waiting - news, 0)
  local free = math.min(by_room, by_host)
  if free > 0 then return 'idle', free, sessions, waiting end
  if waiting > 0 then return 'allocated', 0, sessions, waiting end
  return 'busy', 0, sessions, waiting
end
