-- The index of hosts with a free slot, and the classes of hosts. Needs nothing before it.
--
-- The index is one sorted set in which all score 0, so that its texts stand in the order of their bytes. A host with a free slot
-- has two or three of them, one on each *shelf*: that of all hosts, of its region, and of its class if it has one.
--   a:FREE:ID     rLENGTH:REGION:FREE:ID     cCLASS:FREE:ID
-- LENGTH is that of REGION in bytes, FREE the number of free slots with ten digits. So the hosts of a shelf stand together, the fewest free
-- slots first, and shelves of regions together at the end. How many begin alike, and which one stands at any place among them, takes
-- logarithmic time; and one key is all that must expire.
--
-- A class is a region with labels. Its text is REGION, \255, and for each label by ascending keys KEY \254 VALUE \255: bytes
-- that are in no UTF-8. A digest of it names the class.

local ALL = 'a:'

local function shelf_of_region(region)
  return 'r' .. #region .. ':' .. region .. ':'
end

local function shelf_of_class(class)
  return 'c' .. class .. ':'
end

-- The number of free slots as it follows the name of a shelf.
local function shelf_free(free)
  return string.format('%010.0f:', free)
end

local function index_entries(id, host)
  if host.free == 0 then return {} end
  local rest = shelf_free(host.free) .. id
  local entries = {ALL .. rest, shelf_of_region(host.region) .. rest}
  if host.class then entries[3] = shelf_of_class(host.class) .. rest end
  return entries
end

-- Moves a host from its places in the index to others. `was` and `is`: {region, class, free}.
local function index_move(key, id, was, is)
  if was.free == is.free and was.region == is.region and was.class == is.class then return end
  local from, to = index_entries(id, was), {}
  if #from > 0 then redis.call('ZREM', key, unpack(from)) end
  for _, entry in ipairs(index_entries(id, is)) do
    to[#to + 1] = 0
    to[#to + 1] = entry
  end
  if #to > 0 then redis.call('ZADD', key, unpack(to)) end
end

-- Labels are {key, value, key, value, ...} by ascending keys.
local function class_text(region, labels)
  local text = {region, '\255'}
  for i = 1, #labels, 2 do text[#text + 1] = labels[i] .. '\254' .. labels[i + 1] .. '\255' end
  return table.concat(text)
end

local function class_region(text)
  return string.match(text, '^[^\255]*')
end

-- Whether the hosts of a class have all these labels.
local function class_has(text, labels)
  for i = 1, #labels, 2 do
    if not string.find(text, '\255' .. labels[i] .. '\254' .. labels[i + 1] .. '\255', 1, true) then return false end
  end
  return true
end

-- A place for one host in the class with this text; nil when there are `most` others.
local function class_join(at, text, most)
  local class = string.sub(redis.sha1hex(text), 1, 16)
  local known = redis.call('HGET', at .. 'classes', class)
  if known and known ~= text then return nil end
  if not known then
    if redis.call('HLEN', at .. 'classes') >= most then return nil end
    redis.call('HSET', at .. 'classes', class, text)
  end
  redis.call('HINCRBY', at .. 'class:hosts', class, 1)
  return class
end

-- Gives the place of one host up.
local function class_leave(at, class)
  if redis.call('HINCRBY', at .. 'class:hosts', class, -1) <= 0 then
    redis.call('HDEL', at .. 'class:hosts', class)
    redis.call('HDEL', at .. 'classes', class)
  end
end
