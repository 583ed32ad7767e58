-- Prolongs a part's claim, or makes it again where it ran out and nobody took the chord over.
--
-- KEYS: .s size, .c claim.  ARGV: the claim; seconds.  Returns 1 where the part has the claim, else 0.
local held = redis.call('GET', KEYS[2])
if held == ARGV[1] or (not held and redis.call('EXISTS', KEYS[1]) == 1) then
  redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
  return 1
end
return 0
