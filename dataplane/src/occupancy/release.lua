-- KEYS: instances. ARGV: prefix, instance, keep_ms. Ends the lease. Seats that wait for their members are reaped `keep_ms`
-- later by the renewal of another instance: the entry stays until then, so that they are found.
if redis.call('EXISTS', berth_seats_key(ARGV[1], ARGV[2])) == 1 then
  local keep_ms, ends_ms = tonumber(ARGV[3]), 0
  if keep_ms > 0 then ends_ms = math.floor(berth_now_us() / 1000) + keep_ms end
  redis.call('ZADD', KEYS[1], berth_integer(ends_ms), ARGV[2])
else
  redis.call('ZREM', KEYS[1], ARGV[2])
end
return 0
