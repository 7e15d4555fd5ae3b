-- Which host a find is given, the same as the module `picking`, where the rules are explained. Needs index.lua before it.
--
-- wanted: {region, order, labels, weight, stray, place, luck, dice, packed, size}
--   region   the asked one, or nil; order: that one and the nearest ones after it; labels: as in index.lua
--   weight   that of the asked region; stray, place, dice: random whole numbers; luck: one of 0 to 1, without 1
--   packed   whether the fewest free slots are best; size: that of a sample, or nil

-- What begins with `shelf`, whose last byte is a colon, as a range; a semicolon follows the colon.
local function shelf_range(shelf)
  return '[' .. shelf, '(' .. string.sub(shelf, 1, -2) .. ';'
end

-- How many stand before what begins with `shelf`.
local function shelf_rank(key, shelf)
  return redis.call('ZLEXCOUNT', key, '-', '(' .. shelf)
end

-- A choice, which a find may make several times. `regions` has the shelves of classes by region if labels are wanted: only then do classes cost anything.
local function pick_open(at, wanted)
  local pick = {key = at .. 'index', wanted = wanted, all = {ALL}, counts = {}, heads = {}}
  if #wanted.labels == 0 then return pick end
  pick.all, pick.regions = {}, {}
  local classes = redis.call('HGETALL', at .. 'classes')
  for i = 1, #classes, 2 do
    local text = classes[i + 1]
    if class_has(text, wanted.labels) then
      local region, shelf = class_region(text), shelf_of_class(classes[i])
      pick.regions[region] = pick.regions[region] or {}
      table.insert(pick.regions[region], shelf)
      table.insert(pick.all, shelf)
    end
  end
  return pick
end

-- The shelves of a region, or of all.
local function pick_shelves(pick, region)
  if not region then return pick.all end
  if pick.regions then return pick.regions[region] or {} end
  return {shelf_of_region(region)}
end

local function pick_count(pick, shelves)
  local total = 0
  for _, shelf in ipairs(shelves) do
    pick.counts[shelf] = pick.counts[shelf] or redis.call('ZLEXCOUNT', pick.key, shelf_range(shelf))
    total = total + pick.counts[shelf]
  end
  return total
end

-- A region that is none of `passed`, by the number of its hosts.
local function pick_outside(pick, passed)
  if pick.regions then
    local names, total = {}, 0
    for name, shelves in pairs(pick.regions) do
      if not passed[name] then
        names[#names + 1] = name
        total = total + pick_count(pick, shelves)
      end
    end
    table.sort(names)
    local place = total > 0 and pick.wanted.place % total
    for _, name in ipairs(names) do
      place = place - pick_count(pick, pick.regions[name])
      if place < 0 then return name end
    end
    return nil
  end
  -- Any host on the shelves of regions, with what is passed cut out.
  local first = shelf_rank(pick.key, 'r')
  local total, cuts = redis.call('ZCARD', pick.key) - first, {}
  for name in pairs(passed) do
    local cut = {rank = shelf_rank(pick.key, shelf_of_region(name)), hosts = pick_count(pick, pick_shelves(pick, name))}
    cuts[#cuts + 1] = cut
    total = total - cut.hosts
  end
  if total <= 0 then return nil end
  table.sort(cuts, function(a, b) return a.rank < b.rank end)
  local rank = first + pick.wanted.place % total
  for _, cut in ipairs(cuts) do
    if cut.rank <= rank then rank = rank + cut.hosts end
  end
  local length, rest = string.match(redis.call('ZRANGE', pick.key, rank, rank)[1], '^r(%d+):(.*)$')
  return string.sub(rest, 1, tonumber(length))
end

-- How likely none of `some` hosts is among `drawn` that are drawn out of `all`.
local function pick_chance_to_miss(some, all, drawn)
  local few, others = math.min(some, drawn), all - math.max(some, drawn)
  if others < few then return 0 end
  local chance = 1
  for taken = 0, few - 1 do chance = chance * (others - taken) / (all - taken) end
  return chance
end

-- The region to draw from; nil for all.
local function pick_region(pick)
  local wanted, passed, missed, rest = pick.wanted, {}, 1, 0
  local strays = wanted.region and wanted.weight < 100 and wanted.stray % (wanted.weight + 1) == 0
  if strays or wanted.size then rest = pick_count(pick, pick.all) end
  if strays then
    local there = pick_count(pick, pick_shelves(pick, wanted.region))
    if there > 0 and there < rest then
      passed[wanted.region], rest = true, rest - there
    end
  end
  for _, region in ipairs(wanted.order) do
    local there = passed[region] and 0 or pick_count(pick, pick_shelves(pick, region))
    if there > 0 then
      if not wanted.size then return region end
      missed = missed * pick_chance_to_miss(there, rest, wanted.size)
      if wanted.luck >= missed then return region end
      passed[region], rest = true, rest - there
    end
  end
  return next(passed) and pick_outside(pick, passed)
end

-- What begins with the best number of free slots on these shelves.
local function pick_best(pick, shelves)
  local best, those = nil, {}
  for _, shelf in ipairs(shelves) do
    if pick.heads[shelf] == nil then
      local from, to = shelf_range(shelf)
      local command = 'ZRANGEBYLEX'
      if not pick.wanted.packed then command, from, to = 'ZREVRANGEBYLEX', to, from end
      local head = redis.call(command, pick.key, from, to, 'LIMIT', 0, 1)[1]
      pick.heads[shelf] = head and string.sub(head, #shelf + 1, #shelf + #shelf_free(0)) or false
    end
    local head = pick.heads[shelf]
    if head then
      if not best or pick.wanted.packed and head < best or not pick.wanted.packed and head > best then
        best, those = head, {}
      end
      if head == best then those[#those + 1] = shelf .. head end
    end
  end
  return those
end

-- Draws a host that fits; answers its id and its text in the index, or nil.
local function pick_draw(pick)
  local shelves, skipped = pick_shelves(pick, pick_region(pick) or nil), #shelf_free(0)
  if not pick.wanted.size then shelves, skipped = pick_best(pick, shelves), 0 end
  local total = pick_count(pick, shelves)
  local place = total > 0 and pick.wanted.dice % total
  for _, shelf in ipairs(shelves) do
    if place and place < pick.counts[shelf] then
      local rank = shelf_rank(pick.key, shelf) + place
      local entry = redis.call('ZRANGE', pick.key, rank, rank)[1]
      return string.sub(entry, #shelf + skipped + 1), entry
    end
    place = place and place - pick.counts[shelf]
  end
end

-- Takes notice that the host with this text has left the index.
local function pick_forget(pick, entry)
  local class = string.match(entry, '^c%x+:')
  if not class then
    pick.counts, pick.heads = {}, {}
    return
  end
  pick.counts[class], pick.heads[class] = nil, nil
  pick.counts[string.sub(entry, 1, #class + #shelf_free(0))] = nil
end
