-- Stores a result and tells those who wait for it, unless what is stored already must stay.
--
-- KEYS: the result's key, which is the name of its channel too.
-- ARGV: the envelope; seconds it is kept for (0: for ever); 'any' or 'unstarted'.
-- Returns 1 where it was stored, else 0.
local stored = redis.call('GET', KEYS[1])
if stored then
  -- Python writes the state first. A result can be large, so it is parsed only where that is not so.
  local state = string.match(stored, '^%s*{%s*"status":%s*"([%w_]*)"')
  if not state then
    local read, envelope = pcall(cjson.decode, stored)
    state = read and type(envelope) == 'table' and envelope.status or 'UNREADABLE'
  end
  if state == 'SUCCESS' then
    return 0
  end
  local unstarted = { PENDING = true, RECEIVED = true, RETRY = true, REJECTED = true }
  if ARGV[3] == 'unstarted' and not unstarted[state] then
    return 0
  end
end
if ARGV[2] == '0' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SETEX', KEYS[1], ARGV[2], ARGV[1])
end
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
