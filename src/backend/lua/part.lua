-- Counts a part of a chord, and claims the chord for it where it is the last one.
--
-- KEYS: .j parts, .t extra count, .s size, .d counted parts, .c claim, and the group's own key, which holds nested groups.
-- ARGV: the part's name; its member; 'ordered' or not; its score; seconds that all of it is kept for (0: for ever);
--       seconds that a claim holds; what our claims begin with, whoever made them; what those of this process begin with.
-- Returns {'done'}, {'waiting'}, {'held', ms} or {'complete', nested group or false, members}.
local parts, extra, size, counted, claim, group = unpack(KEYS)
local part, member, ordered, score = ARGV[1], ARGV[2], ARGV[3] == 'ordered', ARGV[4]
local keep, hold, ours, mine = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], ARGV[8]

local held = redis.call('GET', claim)
if held == 'done' then
  return { 'done' }
end
local new = redis.call('SISMEMBER', counted, part) == 0
if new then
  -- In this order: an error of the first leaves the part uncounted.
  if ordered then
    redis.call('ZADD', parts, score, member)
  else
    redis.call('RPUSH', parts, member)
  end
  redis.call('SADD', counted, part)
end
if keep > 0 then
  for _, key in ipairs({ parts, extra, size, counted, group }) do
    redis.call('EXPIRE', key, keep)
  end
end

local wanted = redis.call('GET', size)
local count = ordered and redis.call('ZCARD', parts) or redis.call('LLEN', parts)
if not wanted or count ~= tonumber(wanted) + tonumber(redis.call('GET', extra) or 0) then
  return { 'waiting' }
end

local token = mine .. part
if held and held ~= token then
  local is_ours = string.sub(held, 1, #ours) == ours
  -- A claim of ours names its part, whose message stays with the broker until the body is sent: only that part, when it
  -- comes again, has to see to it. A Python worker's claim names nobody: there any part that comes again has to.
  if not new and (not is_ours or string.sub(held, #mine + 1) == part) then
    return { 'held', redis.call('PTTL', claim) }
  end
  return { 'waiting' }
end
redis.call('SET', claim, token, 'EX', hold)
local members = ordered and redis.call('ZRANGE', parts, 0, -1) or redis.call('LRANGE', parts, 0, -1)
return { 'complete', redis.call('GET', group), members }
