-- Forgets the parts of a chord whose body was sent, and leaves a mark for parts that come again.
--
-- KEYS: .j, .t, .s, .d, .c.  ARGV: what the claims of this process begin with; seconds that the mark stays.
-- Returns 1, or 0 where another worker has taken the chord over meanwhile: what it counts is left to it.
local held = redis.call('GET', KEYS[5])
if held and held ~= 'done' and string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('SET', KEYS[5], 'done', 'EX', ARGV[2])
return 1
