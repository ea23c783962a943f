"""What a shared store does with one nonce, as one step.

The clock is the store's own. Of each group of hosts the store keeps ``since``, where memory begins, and ``reset``, when
it was last begun. A host tells which ``reset`` it knows:

* A store without one is new, or was emptied. To a host that knew one it was emptied: memory begins ``skew`` later than
  now, for a message may have been made that far ahead of its time.
* A store with another was begun anew by another host, perhaps one that did not know that it was emptied; as above.

A nonce lives until its message is too old by every clock that is within ``skew`` of the store's; a message that is too
old by the store's own is refused, so none is accepted again once its nonce is gone.
"""

from __future__ import annotations

from typing import Final

from hauberk.shared import Script

_BEGUN: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', KEYS[1], 'since', 'reset', 'run')
local since, reset = tonumber(state[1]), tonumber(state[2])
local known, skew, run = ARGV[1], tonumber(ARGV[2]), ARGV[3]
if not since or (state[3] and run ~= '' and state[3] ~= run) then
  since = (since or known ~= '') and now + skew or now
  reset = now
  redis.call('HSET', KEYS[1], 'since', since, 'reset', reset)
elseif known ~= '' and known ~= state[2] and since < reset + skew then
  since = reset + skew
  redis.call('HSET', KEYS[1], 'since', since)
end
"""

REACHED: Final = Script(
    _BEGUN
    + """
redis.call('HSET', KEYS[1], 'run', run)
return reset
"""
)
"""Keys: the state. Arguments: the known reset, the skew (ms), the store's run id. Returns the reset."""

REMEMBER: Final = Script(
    _BEGUN
    + """
local issued = tonumber(ARGV[4])
local left = math.ceil(issued + ARGV[5] - now)
if redis.call('EXISTS', KEYS[2]) == 1 then return {1, reset, 0} end
if issued < since then return {2, reset, math.ceil(since - issued)} end
if left <= 0 then return {3, reset, -left} end
local most, share = tonumber(ARGV[6]), tonumber(ARGV[7])
local counts = redis.call('HMGET', KEYS[3], '', ARGV[8])
local held, own = tonumber(counts[1]) or 0, tonumber(counts[2]) or 0
if own >= share * (most - held) then return {4, reset, held} end
redis.call('SET', KEYS[2], '', 'NX', 'PX', left)
redis.call('HINCRBY', KEYS[3], ARGV[8], 1)
if redis.call('HINCRBY', KEYS[3], '', 1) == 1 then redis.call('PEXPIRE', KEYS[3], left + ARGV[9]) end
return {0, reset, 0}
"""
)
"""Keys: the state, the nonce, the counts of its span. Arguments: as above, with no run id; when the message was made,
how long it lives after that, how many of a span may be held, a sender's share of what is free, the sender, how long a
span is (all times in ms). Returns what came of it, the reset, and a figure."""
