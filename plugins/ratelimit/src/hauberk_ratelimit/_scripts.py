"""What runs in the store: buckets and quotas of many hosts, each charge one step by the store's own clock.

The rules are those of `_buckets` and `_quotas`. Times are in microseconds since 1970, which a double holds exactly; an
interval is rounded up to one. A bucket that is full is not kept. A clock of the store that goes back gives nobody more,
and nobody waits longer than an empty bucket takes to fill, nor a quota beyond the month that was seen last.

Of each bucket the arguments are its interval (µs; 0 for a quota) and its burst, or the quota.
"""

from __future__ import annotations

from typing import Final

from hauberk.shared import Script

MONTHS: Final = """
-- The month that a second since 1970 is in (12 * year + month from 0), and the first second of a month.
local function month_of(seconds)
  local z = math.floor(seconds / 86400) + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local mp = math.floor((5 * (doe - 365 * yoe - math.floor(yoe / 4) + math.floor(yoe / 100)) + 2) / 153)
  return (yoe + era * 400) * 12 + mp + 2
end
local function start_of(month)
  local march = month - 2
  local year = math.floor(march / 12)
  local era = math.floor(year / 400)
  local yoe = year - era * 400
  local doy = math.floor((153 * (march - year * 12) + 2) / 5)
  return (era * 146097 + yoe * 365 + math.floor(yoe / 4) - math.floor(yoe / 100) + doy - 719468) * 86400
end
"""
_CLOCK: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function used_in(value)
  local month = month_of(time[1])
  local stored, used = string.match(value or '', '^(%d+):(%d+)$')
  if stored and tonumber(stored) > month + 1 then return month, tonumber(used) end
  if stored and tonumber(stored) >= month then return tonumber(stored), tonumber(used) end
  return month, 0
end
local function keep(key, tat)
  redis.call('SET', key, string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000) + 1)
end
local function count(key, month, used)
  local over = (start_of(month + 1) - time[1]) * 1000
  redis.call('SET', key, string.format('%.0f:%.0f', month, used), 'PX', over + 86400000)
end
"""
TAKE_RATES: Final = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local need, grant, count = tonumber(ARGV[1]), tonumber(ARGV[2]), #KEYS
local worst, place, left, again = -1, 0, 0, 0
local tats = {}
for i = 1, count do
  local interval = tonumber(ARGV[2 * i + 1])
  local full = interval * ARGV[2 * i + 2]
  local tat = tonumber(redis.call('GET', KEYS[i]) or now)
  if tat < now then tat = now elseif tat > now + full then tat = now + full end
  local free = math.floor((now + full - tat) / interval)
  if free < need then
    local wait = tat + need * interval - full - now
    if wait > worst then worst, place, left, again = wait, i, free, tat - now end
  elseif free < grant then
    grant = free
  end
  tats[i] = tat
end
if place > 0 then return {0, worst, place, left, again} end
local answer = {grant}
for i = 1, count do
  local tat = tats[i] + grant * ARGV[2 * i + 1]
  redis.call('SET', KEYS[i], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000) + 1)
  answer[i + 1] = tat
end
return answer
""")
"""As `TAKE`, of rates alone: that is most calls, and takes the store half the time."""
TAKE: Final = Script(
    MONTHS
    + _CLOCK
    + """
local need, grant = tonumber(ARGV[1]), tonumber(ARGV[2])
local worst, place, left, again = -1, 0, 0, 0
local state, months = {}, {}
local values = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do
  local interval, most = tonumber(ARGV[1 + 2 * i]), tonumber(ARGV[2 + 2 * i])
  local free, wait, full
  if interval > 0 then
    local tat = values[i] and tonumber(values[i]) or now
    tat = math.min(math.max(tat, now), now + interval * most)
    state[i] = tat
    free = math.floor((now + interval * most - tat) / interval)
    wait, full = tat + (need - most) * interval - now, tat - now
  else
    months[i], state[i] = used_in(values[i])
    free = most - state[i]
    wait = start_of(months[i] + 1) * 1000000 - now
    full = wait
  end
  if free < need then
    if wait > worst then worst, place, left, again = wait, i, free, full end
  elseif free < grant then
    grant = free
  end
end
if place > 0 then return {0, worst, place, left, again} end
local answer = {grant}
for i = 1, #KEYS do
  if months[i] then
    count(KEYS[i], months[i], state[i] + grant)
    answer[i + 1] = months[i]
  else
    local tat = state[i] + grant * tonumber(ARGV[1 + 2 * i])
    keep(KEYS[i], tat)
    answer[i + 1] = tat
  end
end
return answer
"""
)
"""Take from all or from none: at least ``ARGV[1]`` and at most ``ARGV[2]`` permits of each bucket.

Answers how many, and the mark of each charge: the time at which it has filled again (µs), or its month; or 0, the
longest wait (µs), whose it is, how many it has, and when it will have all (µs).
"""
GIVE: Final = Script(
    MONTHS
    + _CLOCK
    + """
local permits = tonumber(ARGV[1])
for i = 1, #KEYS do
  local interval, mark = tonumber(ARGV[2 * i]), tonumber(ARGV[1 + 2 * i])
  local value = redis.call('GET', KEYS[i])
  if value and interval > 0 then
    local tat = tonumber(value) - math.max(0, math.min(permits * interval, mark - now))
    if tat > now then keep(KEYS[i], tat) else redis.call('DEL', KEYS[i]) end
  elseif value then
    local month, used = used_in(value)
    if used > 0 and mark == month then count(KEYS[i], month, math.max(0, used - permits)) end
  end
end
return 1
"""
)
"""Give ``ARGV[1]`` permits back to each bucket, as far as they have not filled again: by its interval and mark."""
TELL: Final = Script(
    MONTHS
    + _CLOCK
    + """
local debts = {}
for i = 1, #KEYS do
  local interval, deepest, used = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local value = redis.pcall('GET', KEYS[i])
  if type(value) == 'table' then
    debts[i] = -1
  elseif interval > 0 then
    local tat = math.max(value and tonumber(value) or now, now) + used * interval
    tat = math.min(tat, now + deepest)
    if used > 0 then keep(KEYS[i], tat) end
    debts[i] = tat - now
  else
    local month, before = used_in(value)
    if used > 0 then count(KEYS[i], month, before + used) end
    debts[i] = before + used
  end
end
return debts
"""
)
"""Add what a host has used (the third argument of each bucket; the second is how far in debt it may be, µs).

Answers when each will be full (µs), or what all have used of the quota; -1 where the key is of another type.
"""
LOOK: Final = Script(
    MONTHS
    + _CLOCK
    + """
local found = {}
for i = 1, #KEYS do
  local value = redis.call('GET', KEYS[i])
  if tonumber(ARGV[i]) > 0 then
    found[i] = math.max(0, (value and tonumber(value) or now) - now)
  else
    local month, used = used_in(value)
    found[i] = used
  end
end
return found
"""
)
"""Answer how each bucket stands, as `TELL` does; the arguments are their intervals."""
