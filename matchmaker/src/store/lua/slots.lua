-- Slot arithmetic, the same as slots.rs, where the rules are explained; a test compares both. Nothing here touches Redis.
--
-- host: {capacity, available, at_us, seat, unclear, taken, reservations}
-- reservation: {id, granted_us, deadline_ms, base, holder}; holder: nil (nobody), a join number (the player), 'somebody'
-- room: {last, members (join numbers, ascending)}, or nil while occupancy is unknown
-- change: function(reservation, what) that is told of 'joined', 'left' and 'expired'

-- Oldest grant first.
local function slots_sort(reservations)
  table.sort(reservations, function(a, b)
    if a.granted_us ~= b.granted_us then return a.granted_us < b.granted_us end
    return a.id < b.id
  end)
end

local function slots_is_player(reservation)
  return reservation.holder ~= nil and reservation.holder ~= 'somebody'
end

local function slots_end(host, what, change, over)
  local kept = {}
  for _, reservation in ipairs(host.reservations) do
    if over(reservation) then change(reservation, what) else kept[#kept + 1] = reservation end
  end
  host.reservations = kept
end

-- The smallest of the ascending `members` above `number`, and its place.
local function slots_above(members, number)
  for i, member in ipairs(members) do
    if member > number then return member, i end
  end
end

local function slots_attribute_by_number(host, room, others, change)
  slots_end(host, 'left', change, function(reservation)
    local next_join = math.max(reservation.base, host.taken, host.seat) + 1
    if reservation.holder or next_join > room.last then return false end
    host.taken = next_join
    change(reservation, 'joined')
    local member, place = slots_above(others, next_join - 1)
    if member ~= next_join then return true end
    table.remove(others, place)
    reservation.holder = next_join
    return false
  end)
end

local function slots_attribute_by_count(host, spare, others, change)
  for _, reservation in ipairs(host.reservations) do
    if not reservation.holder then
      local new = slots_above(others, math.max(reservation.base, host.taken))
      if new and spare > 0 then
        spare = spare - 1
        host.taken = new
        reservation.holder = 'somebody'
        change(reservation, 'joined')
      end
    end
  end
end

local function slots_used(host)
  local used, first = 0, nil
  for i, reservation in ipairs(host.reservations) do
    if reservation.holder == 'somebody' then used, first = used + 1, first or i end
  end
  return used, first
end

local function slots_attribute(host, room, change)
  local expected, there = false, {}
  for _, reservation in ipairs(host.reservations) do expected = expected or not reservation.holder end
  for _, member in ipairs(room.members) do there[member] = true end
  slots_end(host, 'left', change, function(reservation)
    return slots_is_player(reservation) and not there[reservation.holder]
  end)
  for _, reservation in ipairs(host.reservations) do
    if slots_is_player(reservation) then there[reservation.holder] = nil end
  end
  if not there[host.seat] then host.seat = 0 end
  local others = {}
  for _, member in ipairs(room.members) do
    if there[member] then
      others[#others + 1] = member
      there[member] = nil
    end
  end
  if host.seat == 0 then
    if expected then
      host.unclear = room.last
    else
      host.seat = slots_above(others, host.unclear) or 0
    end
  end
  if host.seat > 0 then slots_attribute_by_number(host, room, others, change) end
  local players = math.max(#others - 1, 0)
  local used, first = slots_used(host)
  while used > players do
    change(table.remove(host.reservations, first), 'left')
    used, first = slots_used(host)
  end
  if host.seat == 0 then slots_attribute_by_count(host, players - used, others, change) end
end

-- Brings the reservations up to date with the room and the time.
local function slots_settle(host, room, now_ms, change)
  if room then slots_attribute(host, room, change) end
  slots_end(host, 'expired', change, function(reservation)
    return not reservation.holder and reservation.deadline_ms <= now_ms
  end)
end

local function slots_heir(host, join)
  for _, reservation in ipairs(host.reservations) do
    if not reservation.holder and reservation.base < join then return reservation end
  end
end

-- Gives one reservation up, right after slots_settle; answers it if it is gone.
local function slots_release(host, id)
  for i, reservation in ipairs(host.reservations) do
    if reservation.id == id then
      if slots_is_player(reservation) then
        local heir = slots_heir(host, reservation.holder)
        if not heir then return nil end
        heir.holder = reservation.holder
      end
      return table.remove(host.reservations, i)
    end
  end
end

-- State, free slots, sessions and waiting reservations, right after slots_settle with the same room.
-- demands: {host_in_room, known_room}
local function slots_standing(host, room, demands)
  local players, waiting, news = 0, 0, 0
  for _, reservation in ipairs(host.reservations) do
    if not reservation.holder then waiting = waiting + 1 end
    if slots_is_player(reservation) then
      players = players + 1
      if reservation.granted_us > host.at_us then news = news + 1 end
    end
  end
  local sessions = #host.reservations - waiting
  if room then sessions = math.max(#room.members - 1, players) end
  local unreachable = demands.known_room
  if room then unreachable = demands.host_in_room and #room.members <= players end
  if unreachable then return 'unreachable', 0, sessions, waiting end
  local by_room = math.max(host.capacity - sessions - waiting, 0)
  local by_host = math.max(host.available - waiting - news, 0)
  local free = math.min(by_room, by_host)
  if free > 0 then return 'idle', free, sessions, waiting end
  if waiting > 0 then return 'allocated', 0, sessions, waiting end
  return 'busy', 0, sessions, waiting
end
