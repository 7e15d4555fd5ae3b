-- KEYS: instances. ARGV: prefix, instance. Ends the lease; the next renewal of another instance reaps what is left.
-- The entry stays, as one that has ended, so that its seats are found.
if redis.call('EXISTS', berth_seats_key(ARGV[1], ARGV[2])) == 1 then
  redis.call('ZADD', KEYS[1], 0, ARGV[2])
else
  redis.call('ZREM', KEYS[1], ARGV[2])
end
return 0
