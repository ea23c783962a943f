"""What runs in the store: buckets and quotas of many hosts, each charge one step by the store's own clock.

The rules are those of `_buckets` and `_quotas`. Times are in microseconds since 1970, which a double holds exactly; an
interval is rounded up to one. A bucket that is full is not kept. A clock of the store that goes back gives nobody more,
and nobody waits longer than an empty bucket takes to fill, nor a quota beyond the month that was seen last.

Of each bucket the arguments are its interval (µs; 0 for a quota, -1 for credits) and its burst, the quota, or how many
credits are given for a month. Of a quota its month and what was used of it are kept; of credits what was bought, too:
what is given is spent first, and goes with its month; what was bought stays, without end.
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
-- The month that counts, what was used of it, and what was bought.
local function used_in(value)
  local month = month_of(time[1])
  local stored, used, bought = string.match(value or '', '^(%d+):(%d+):?(%d*)$')
  stored, used, bought = tonumber(stored), tonumber(used), tonumber(bought) or 0
  if stored and stored > month + 1 then return month, used, bought end
  if stored and stored >= month then return stored, used, bought end
  return month, 0, bought
end
local function keep(key, tat)
  redis.call('SET', key, string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000) + 1)
end
local function count(key, month, used, bought)
  local value = string.format(bought and '%.0f:%.0f:%.0f' or '%.0f:%.0f', month, used, bought)
  if bought and bought > 0 then
    redis.call('SET', key, value)
  else
    redis.call('SET', key, value, 'PX', (start_of(month + 1) - time[1]) * 1000 + 86400000)
  end
end
"""
TAKE_RATES: Final = Script("""
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local need, grant, count = tonumber(ARGV[1]), tonumber(ARGV[2]), #KEYS
local worst, place, left, again = -1, 0, 0, 0
local answer = {0}
for i = 1, count do
  local interval = tonumber(ARGV[2 * i + 1])
  local full = interval * ARGV[2 * i + 2]
  local tat = tonumber(call('GET', KEYS[i]) or now)
  if tat < now then tat = now elseif tat > now + full then tat = now + full end
  local room = now + full - tat
  if room < need * interval then
    local wait = need * interval - room
    if wait > worst then worst, place, left, again = wait, i, math.floor(room / interval), tat - now end
  elseif room < grant * interval then
    grant = math.floor(room / interval)
  end
  answer[i + 1] = tat
end
if place > 0 then return {0, worst, place, left, again} end
answer[1] = grant
for i = 1, count do
  local tat = answer[i + 1] + grant * ARGV[2 * i + 1]
  call('SET', KEYS[i], string.format('%.0f', tat), 'PX', math.ceil((tat - now) / 1000) + 1)
  answer[i + 1] = tat
end
return answer
""")
"""As `TAKE`, of rates alone, and without how they stand: that is most calls, and takes the store half the time."""
TAKE: Final = Script(
    MONTHS
    + _CLOCK
    + """
local need, grant, price = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[#ARGV])
local worst, place, left, again = -1, 0, 0, 0
local tats, free, months, used, bought = {}, {}, {}, {}, {}
local values = redis.call('MGET', unpack(KEYS))
for i = 1, #KEYS do
  local interval, most = tonumber(ARGV[1 + 2 * i]), tonumber(ARGV[2 + 2 * i])
  local wants, wait, full = need, 0, 0
  if interval > 0 then
    local tat = values[i] and tonumber(values[i]) or now
    tat = math.min(math.max(tat, now), now + interval * most)
    tats[i] = tat
    free[i] = math.floor((now + interval * most - tat) / interval)
    wait, full = tat + (need - most) * interval - now, tat - now
  else
    months[i], used[i], bought[i] = used_in(values[i])
    free[i] = most - used[i]
    full = start_of(months[i] + 1) * 1000000 - now
    wait = full
    if interval < 0 then
      -- What lacks credits is told only of what nothing else refuses.
      wants, wait = price, -0.5
      free[i] = math.max(0, free[i]) + bought[i]
    end
  end
  if free[i] < wants then
    if wait > worst then worst, place, left, again = wait, i, free[i], full end
  elseif interval >= 0 and free[i] < grant then
    grant = free[i]
  end
end
if place > 0 then return {0, worst, place, left, again} end
local count_of, answer = #KEYS, {grant}
answer[count_of + 2] = now
for i = 1, count_of do
  local interval, most = tonumber(ARGV[1 + 2 * i]), tonumber(ARGV[2 + 2 * i])
  local takes = grant
  if interval > 0 then
    tats[i] = tats[i] + grant * interval
    keep(KEYS[i], tats[i])
    answer[i + 1] = tats[i]
  elseif interval == 0 then
    count(KEYS[i], months[i], used[i] + grant)
    answer[i + 1] = months[i]
  else
    local given = math.min(price, math.max(0, most - used[i]))
    count(KEYS[i], months[i], used[i] + given, bought[i] - (price - given))
    takes = price
    answer[i + 1] = months[i] * 4294967296 + price - given
  end
  answer[count_of + 2 + i] = free[i] - takes
end
return answer
"""
)
"""Take from all or from none: at least ``ARGV[1]`` and at most ``ARGV[2]`` permits of each bucket, and as many credits
of each balance as the last argument says.

Answers how many permits; the mark of each charge: the time at which it has filled again (µs), its month, or of credits
its month times 2^32 and how many were paid of those that were bought; what time it is (µs); and how much each has left.
Or 0, the longest wait (µs), whose it is, how many it has, and when it will have all (µs).
"""
GIVE: Final = Script(
    MONTHS
    + _CLOCK
    + """
local answer = {}
for i = 1, #KEYS do
  local interval, mark, permits = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local value = redis.call('GET', KEYS[i])
  answer[2 * i - 1], answer[2 * i] = value and interval > 0 and tonumber(value) or now, 0
  if interval < 0 then
    local month, used, bought = used_in(value)
    local paid = mark % 4294967296
    if value and mark - paid == month * 4294967296 then used = math.max(0, used - (permits - paid)) end
    if value or paid > 0 then count(KEYS[i], month, used, bought + paid) end
  elseif value and interval > 0 then
    answer[2 * i] = math.max(0, math.min(permits * interval, mark - now))
    local tat = tonumber(value) - answer[2 * i]
    if tat > now then keep(KEYS[i], tat) else redis.call('DEL', KEYS[i]) end
  elseif value then
    local month, used = used_in(value)
    if used > 0 and mark == month then count(KEYS[i], month, math.max(0, used - permits)) end
  end
end
return answer
"""
)
"""Give back to each bucket, as far as it has not filled again: by its interval, its mark, and how much.

Answers of each when it would have been full, and how much of that was given back (µs; of a rate).
"""
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
  local interval, most = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local value = redis.call('GET', KEYS[i])
  if interval > 0 then
    found[i] = math.max(0, (value and tonumber(value) or now) - now)
  else
    local _, used, bought = used_in(value)
    found[i] = interval < 0 and math.max(0, most - used) + bought or used
  end
end
return found
"""
)
"""Answer how each bucket stands: a rate or a quota as `TELL` does, of credits how many there are."""
BUY: Final = Script(
    MONTHS
    + _CLOCK
    + """
local month, used, bought = used_in(redis.call('GET', KEYS[1]))
bought = bought + tonumber(ARGV[1])
if bought > tonumber(ARGV[2]) then return -1 end
count(KEYS[1], month, used, bought)
return bought
"""
)
"""Add ``ARGV[1]`` credits to a balance; answer how many that were bought it holds.

-1 where these would be more than ``ARGV[2]``, and none is added.
"""
RENEW: Final = Script(
    MONTHS
    + _CLOCK
    + """
local found = 0
for i = 1, #KEYS do
  local value = redis.call('GET', KEYS[i])
  if value then
    local month, _, bought = used_in(value)
    if bought > 0 then count(KEYS[i], month, 0, bought) else redis.call('DEL', KEYS[i]) end
    found = found + 1
  end
end
return found
"""
)
"""Let nothing be used of balances in this month, and what was bought stay; answer how many there were."""
