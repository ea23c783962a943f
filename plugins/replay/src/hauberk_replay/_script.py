"""What a shared store does with one nonce, as one step.

The clock is the store's own, which may be wrong. Of each group of hosts the store keeps a state: ``since``, where
memory begins; ``reset``, when it was last begun anew; ``run``, the server that holds it; ``life``, how long after its
message a nonce is kept; ``latest``, when the latest message was made, rounded up; ``looked``, when it was last looked
whether the store forgets; what was seen then, ``evicted`` and ``policy``. The rules:

1. A state that is not there, that another server held, or during which keys were thrown out has lost what nobody can
   name. Memory begins anew, ``skew`` later than now: a message may have been made that far ahead of its time.
2. Each script says which server it was sent to, so a state never stands without its server, whoever made it.
3. By the store's clock a nonce is gone ``life`` after its message. So memory begins at now - life at least, and never
   goes back: a clock that was ahead, and is set right, brings nothing back. Nothing that was made after ``latest`` can
   be gone, so new messages pass at once.
4. Of hosts that ask for another ``life`` the longest stands. While it grows, what may have gone by the shorter one is
   refused.
5. Once a second it is looked whether the store throws out keys. While it may, it remembers nothing.

What is written once a second is late by a second at most: a nonce is kept for a second more.
"""

from __future__ import annotations

from typing import Final

from hauberk.shared import Script

STEP: Final = 1000
"""How late the state may be (ms)."""
_BEGUN: Final = (
    f"local STEP = {STEP}"
    """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local skew, run, life = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local state = redis.call('HMGET', KEYS[1],
  'since', 'reset', 'run', 'life', 'latest', 'looked', 'evicted', 'policy')
local since, reset, kept = tonumber(state[1]), tonumber(state[2]), tonumber(state[4])
local latest, looked, evicted, policy = tonumber(state[5]) or 0, tonumber(state[6]), state[7], state[8]
local known = since and reset and kept and state[3] == run
local look = reached or not known or life > kept or not looked or math.abs(now - looked) >= STEP
if look then
  evicted = string.match(redis.call('INFO', 'stats'), 'evicted_keys:(%d+)') or ''
  policy = string.match(redis.call('INFO', 'memory'), 'maxmemory_policy:([%w-]+)') or ''
end
if not known or evicted ~= state[7] then
  since, reset = math.max(since or 0, now + skew), now
end
since = math.max(since, reset + skew, math.min(now - (kept or life), latest))
life = math.max(life, kept or 0)
if look then
  redis.call('HSET', KEYS[1], 'since', since, 'reset', reset, 'run', run, 'life', life,
    'latest', latest, 'looked', now, 'evicted', evicted, 'policy', policy)
end
"""
)

REACHED: Final = Script(f"local reached = true\n{_BEGUN}return policy\n")
"""Keys: the state. Arguments: the skew (ms), the store's run id, how long a nonce lives after its message (ms)."""

REMEMBER: Final = Script(
    f"local reached = false\n{_BEGUN}"
    """
local issued = tonumber(ARGV[4])
local left = math.ceil(issued + life - now)
if policy ~= 'noeviction' then return {5, policy} end
if redis.call('EXISTS', KEYS[2]) == 1 then return {1, 0} end
if left <= 0 then return {3, -left} end
if issued < since then return {2, math.ceil(since - issued)} end
local most, share = tonumber(ARGV[5]), tonumber(ARGV[6])
local counts = redis.call('HMGET', KEYS[3], '', ARGV[7])
local held, own = tonumber(counts[1]) or 0, tonumber(counts[2]) or 0
if own >= share * (most - held) then return {4, held} end
if issued >= latest then redis.call('HSET', KEYS[1], 'latest', math.floor(issued) + STEP) end
left = left + STEP
redis.call('SET', KEYS[2], '', 'NX', 'PX', left)
redis.call('HINCRBY', KEYS[3], ARGV[7], 1)
if redis.call('HINCRBY', KEYS[3], '', 1) == 1 then redis.call('PEXPIRE', KEYS[3], left + ARGV[8]) end
return {0, 0}
"""
)
"""Keys: the state, the nonce, the counts of its span. Arguments: as above; when the message was made, how many of a
span may be held, a sender's share of what is free, the sender, how long a span is (all times in ms). Returns what came
of it, and what is said of it."""
