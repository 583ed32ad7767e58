-- Begins a chord, unless it was completed a moment ago: then whoever sends its parts again repeats itself.
--
-- KEYS: .s size, .c claim, and the group's own key.  ARGV: the size; the structure of nested groups or ''; seconds that all of
-- it is kept for (0: for ever).  Returns 1 where it is begun, else 0.
if redis.call('GET', KEYS[2]) == 'done' then
  return 0
end
local function set(key, value)
  if ARGV[3] == '0' then
    redis.call('SET', key, value)
  else
    redis.call('SET', key, value, 'EX', ARGV[3])
  end
end
redis.call('DEL', KEYS[2])
set(KEYS[1], ARGV[1])
if ARGV[2] ~= '' then
  set(KEYS[3], ARGV[2])
end
return 1
