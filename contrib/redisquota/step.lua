-- One step of one process: it reports what became of its admissions, says what it
-- wants, and learns what it gets and when to ask again. The whole state of a quota
-- is one value, so it is lost as a whole or not at all. Times are microseconds of
-- the store's clock since 2023-11-14, below 2^53 for centuries.
--
-- KEYS: 1 the state
-- ARGV: 1 process, 2 number of the step, 3 quota, 4 hold, 5 lease, 6 slots
--       reserved for polls, 7 settle (1: the state may have been lost), 8 processes known,
--       9 rest of a known pause, 10 first id of the grants, 11-14 demand by lane
--       (cancel, poll, call, low), 15 the longest time that the process's previous step
--       can lie back (0: any), 16 by how much the clock was set forward since then (0:
--       not known), 17 number of open admissions, each: id, poll; then the number of
--       ended ones, each: id, poll, age, kind, pause number, Retry-After
local clock = redis.call('TIME')
local now = (tonumber(clock[1]) - 1700000000) * 1000000 + tonumber(clock[2])
local DAY, MAX_PAUSE = 86400e6, 600e6
local function read()
  local raw = redis.pcall('GET', KEYS[1])
  if type(raw) ~= 'string' then return nil end
  local ok, S = pcall(cmsgpack.unpack, raw)
  if not ok or type(S) ~= 'table' or S.v ~= 1 then return nil end
  local function number(x, low, high) return type(x) == 'number' and x >= low and x <= high end
  local function every(list, check)
    if type(list) ~= 'table' then return false end
    for _, x in pairs(list) do if not check(x) then return false end end
    return true
  end
  if not number(S.t, 0, 2 ^ 53) then return nil end
  -- Nothing lies further in the future of its writer than two windows.
  local function time(x) return number(x, -2 ^ 53, S.t + 2 * DAY) end
  local function count(x) return number(x, 0, 2 ^ 53) end
  local function optional(x, check) return x == nil or check(x) end
  local fine = type(S.e) == 'string' and time(S.pu) and S.pu <= S.t + MAX_PAUSE and count(S.pn) and time(S.xa) and time(S.se) and
    count(S.sk) and time(S.lr) and optional(S.ln, function(x) return number(x, 1, 1000) end) and optional(S.xb, count) and
    optional(S.cu, time) and (not S.bi or time(S.bu)) and (not S.x or time(S.xu)) and every(S.f, time) and every(S.m or {}, time) and
    every(S.p, function(P)
      return type(P) == 'table' and count(P.s) and number(P.n, 1, 1000) and number(P.h, 1, 1.001 * DAY) and time(P.x) and
        count(P.k) and time(P.g) and time(P.d) and every(P.w, count) and #P.w == 4 and every(P.e, function(E)
          return type(E) == 'table' and count(E[1]) and time(E[2]) and count(E[3]) and count(E[4])
        end)
    end)
  return fine and S or nil
end
-- A state that is missing, or is none that this script writes, is replaced.
local S = read() or {
  v = 1, e = ARGV[1] .. '.' .. ARGV[2], t = now, pu = 0, pn = 0, xa = 0, se = 0, sk = 0, lr = 0, f = {}, p = {},
}
S.m = S.m or {} -- when each process was seen last

local at = 0
local function arg()
  at = at + 1
  return tonumber(ARGV[at])
end
local me, seq = ARGV[1], tonumber(ARGV[2])
at = 2
local n, hold, lease, reserve, settle, known, pause, id = arg(), arg(), arg(), arg(), arg(), arg(), arg(), arg()
local want = {arg(), arg(), arg(), arg()}
local longest, ahead = arg(), arg()

-- Entries are id, until, poll, state: they count until then.
local OPEN, SERVED, REFUSED = 0, 1, 2
-- Kinds of ends, as connic.OutcomeKind has them.
local ANSWERED, NOT_ACCEPTED, FAILED, NOT_SENT = 0, 1, 2, 3

-- Everything moves with a clock that is set, or is another server's.
local function move(by)
  for _, k in ipairs({'pu', 'xa', 'se', 'lr', 'bu', 'xu', 'cu'}) do if S[k] then S[k] = S[k] + by end end
  for _, times in ipairs({S.f, S.m}) do
    for k, t in pairs(times) do times[k] = t + by end
  end
  for _, P in pairs(S.p) do
    P.d, P.x, P.g = P.d + by, P.x + by, P.g + by
    for _, E in ipairs(P.e) do E[2] = E[2] + by end
  end
end
local passed = now - S.t
if passed < 0 then move(passed) end
S.t = now

local P = S.p[me]
if P and seq == P.s then return P.r end -- sent twice by the driver
if P and seq < P.s then return redis.error_reply('CONNIC a step of the past') end
if P and longest > 0 and now - P.x > longest then
  -- The clock was set forward, or the step was under way for long. Nothing is done
  -- before the process knows.
  if ahead == 0 then return {S.e, S.pn, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, now - P.x, 0} end
  move(math.max(0, math.min(ahead, passed))) -- since the last step of any process
end
if not P then
  P = {g = 0, d = 0, w = {0, 0, 0, 0}, e = {}}
  S.p[me] = P
end
local since = P.x and math.max(1, now - P.x) or 0
P.s, P.n, P.h, P.x, P.k = seq, n, hold, now, reserve
-- Processes that do not agree hold to the strictest of them.
for _, Q in pairs(S.p) do n, hold = math.min(n, Q.n), math.max(hold, Q.h) end

-- What the process reports. What it does not name as open was never used.
local mine, named = {}, {}
for _, E in ipairs(P.e) do mine[E[1]] = E end
local function entry(number, poll)
  local E = mine[number]
  if not E then
    E = {number, 0, poll, OPEN}
    mine[number] = E
    P.e[#P.e + 1] = E
  end
  named[number] = true
  return E
end
for _ = 1, arg() do
  local number, poll = arg(), arg()
  entry(number, poll)[2] = now + lease + hold
end
local tag = me .. '.'
local fresh, pauses = false, S.pn
for _ = 1, arg() do
  local number, poll, age, kind, during, retry = arg(), arg(), arg(), arg(), arg(), arg()
  if kind == NOT_SENT then
    if mine[number] then mine[number][2] = 0 end
  elseif age < hold then
    local E = entry(number, poll)
    E[2] = now - age + hold
    E[4] = kind == NOT_ACCEPTED and REFUSED or SERVED
  end
  if kind == NOT_ACCEPTED then
    local rest = math.max(0, retry - age)
    S.pu = math.max(S.pu, now + rest)
    if during == pauses and rest > 0 then fresh = true end
  elseif kind == ANSWERED or kind == FAILED then
    if during == S.pn then S.b = nil end
    if S.x == tag .. number and kind == ANSWERED and S.ln then
      S.ln = math.min(n, S.ln + math.ceil(n / 20))
      S.x = nil
    end
  end
  S.f[tag .. number] = nil
  if S.bi == tag .. number then S.bi = nil end
  if S.x == tag .. number then S.x = nil end
end
if pause > 0 then S.pu = math.max(S.pu, now + pause) end

-- What counts.
local used, polls, served, open, size, waiting = 0, 0, 0, 0, 0, 0
local held, total, own, all, first, firstPoll = {}, 0, {}, {}, nil, nil
for name, Q in pairs(S.p) do
  local kept, count = {}, 0
  for _, E in ipairs(Q.e) do
    local until_ = E[2]
    if Q == P and E[4] == OPEN and not named[E[1]] then until_ = 0 end
    if until_ > now then
      kept[#kept + 1] = E
      used = used + 1
      if E[3] == 1 then polls = polls + 1 else count = count + 1 end
      if E[4] ~= REFUSED then served = served + 1 end
      if E[4] == OPEN then
        -- In flight it cannot end before now.
        open = open + 1
        until_ = math.min(until_, now + hold)
      elseif not first or until_ < first then
        first = until_
      end
      if E[3] == 1 and (not firstPoll or until_ < firstPoll) then firstPoll = until_ end
      all[#all + 1] = until_
      if Q == P then own[#own + 1] = until_ end
    end
  end
  Q.e = kept
  held[name] = count
  total = total + count
  local live = Q == P or Q.d > now
  if #kept > 0 or live then size = size + 1 end
  if #kept == 0 and not live and Q.x + hold < now then S.p[name] = nil end
end
table.sort(all)
table.sort(own)

-- A process that is quiet may come back: it is remembered for ten windows.
local remembered = 0
for name, t in pairs(S.m) do
  if t + 10 * hold > now and name ~= me then remembered = remembered + 1 else S.m[name] = nil end
end
if remembered < 1000 then S.m[me] = now end
remembered = math.max(size, math.min(1000, remembered + 1))
if settle == 1 then
  S.se, S.sk = now + hold, math.max(S.se > now and S.sk or 0, known, remembered)
end

if fresh then
  S.pn, S.b, S.bi = S.pn + 1, true, nil
  S.ln = math.max(math.ceil(n / 10), math.min(served - open, (S.ln or n) - 1))
  S.xb = math.min(2 * (S.xb or hold / 16), hold)
  S.xa = now + S.xb
  S.lr, S.f = now, {}
end
-- Other programs are gone when the fleet has had the quota for two windows without a 429.
if S.ln and S.ln >= n and now >= S.lr + 2 * hold then S.ln, S.xb = nil, nil end

-- What a process waits for holds others back only around the instant that it was
-- told to come: before that, nothing of its own has become free.
local function near(Q) return Q ~= P and Q.d > now and Q.d - hold / 40 - hold / 60 <= now end

-- What there is to give.
local cap = S.ln and math.min(n - used, S.ln - served) or n - used
local free, exploring = math.max(0, cap), false
if S.bi and now > S.bu then S.bi = nil end
if S.x and now > S.xu then S.x = nil end
if S.pu > now or (S.b and S.bi) then
  free = 0
elseif S.b then
  free = math.min(1, math.max(free, n - used)) -- one goes first
elseif free == 0 and n > used and not S.x and now >= S.xa then
  free, exploring = 1, true -- beyond the learnt share one at a time
end
-- Beside other programs few are in flight at once, and one at a time near the end of
-- what they leave: a 429 stops the others before they are sent. A window without a
-- 429 may mean that they are gone.
local bounded = false
if S.ln and free > 0 and not S.b then
  local bound, flying = (served < 0.8 * S.ln or now > S.lr + hold) and 3 or 1, 0
  for k, t in pairs(S.f) do
    if t > now then flying = flying + 1 else S.f[k] = nil end
  end
  local most = math.max(0, bound - flying)
  bounded, free = most < free, math.min(most, free)
  exploring = exploring and free > 0
end
local asked = {want[1], want[2], want[3], want[4]}
local clipped = false
if S.se > now then
  -- What others hold is not known for sure: nobody takes more than an equal part.
  local room = math.max(1, math.floor(n / math.max(S.sk, size))) - #P.e
  for lane = 1, 4 do
    local got = math.max(0, math.min(asked[lane], room))
    clipped = clipped or got < asked[lane]
    asked[lane] = got
    room = room - got
  end
end

local give = {0, 0, 0, 0}
give[1] = math.min(asked[1], free)
local room = free - give[1]
-- Polls go first, up to half of the quota; and what waits have reserved of that is
-- kept for them. They go beyond it like calls, unless calls need the rest.
local kept, beyond = 0, want[3] == 0 and now >= (S.cu or 0)
for _, Q in pairs(S.p) do
  if near(Q) then room = room - Q.w[1] end
  if Q ~= P and Q.d > now and Q.w[3] > 0 then beyond = false end
  if Q.x + hold + lease > now then kept = kept + Q.k end
end
local half = math.max(1, math.floor(n / 2))
local part = math.max(0, half - polls)
give[2] = math.max(0, math.min(asked[2], part, room))
room = room - give[2]
room = math.max(0, room - math.max(0, math.min(kept, part - give[2], math.floor(n / 2))))

-- Calls: the slots are divided so that all processes reach one level.
local function excess(count) return beyond and math.max(0, count - part) or 0 end
local function calls(Q) return Q.w[3] + excess(Q.w[2]) end
P.w = {want[1], want[2], want[3], want[4]}
local demand, lows = {}, 1
for name, Q in pairs(S.p) do
  if Q == P then
    demand[name] = asked[3] + excess(asked[2])
  elseif near(Q) then
    demand[name] = calls(Q)
    if Q.w[4] > 0 then lows = lows + 1 end
  end
end
local capacity = total + room
local function filled(level)
  local sum = 0
  for name, count in pairs(held) do
    sum = sum + math.max(count, math.min(count + (demand[name] or 0), level))
  end
  return sum
end
local low, high = 0, n
while low < high do
  local middle = math.ceil((low + high) / 2)
  if filled(middle) <= capacity then low = middle else high = middle - 1 end
end
local level = low
local rest = capacity - filled(level)
local here = held[me] or 0
local before, unclaimed, lapse = 0, 0, nil
for name, Q in pairs(S.p) do
  if near(Q) then
    local lacks = math.min((demand[name] or 0), level - held[name])
    if lacks > 0 then unclaimed = unclaimed + lacks end
    if held[name] <= level and held[name] + (demand[name] or 0) > level and (Q.g < P.g or (Q.g == P.g and name < me)) then
      before = before + 1
    end
    if Q.w[1] + Q.w[3] + Q.w[2] > 0 and (not lapse or Q.d < lapse) then lapse = Q.d end
  end
end
local due = math.max(0, math.min(demand[me], level - here))
if due < demand[me] and here + due <= level and before < rest then due = due + 1 end
due = math.min(due, room)
room = room - due
give[3] = math.min(due, asked[3])
give[2] = give[2] + due - give[3]
-- Low goes where no call waits anywhere.
local spare = room - unclaimed - (rest > 0 and before or 0)
if asked[4] > 0 and asked[3] == give[3] and spare > 0 then
  give[4] = math.min(asked[4], math.ceil(spare / lows), spare)
end

local granted = 0
for lane = 1, 4 do
  for _ = 1, give[lane] do
    P.e[#P.e + 1] = {id + granted, now + lease + hold, lane == 2 and 1 or 0, OPEN}
    if S.ln then S.f[tag .. (id + granted)] = now + lease end
    granted = granted + 1
  end
end
if granted > 0 then
  P.g = now
  if S.b then S.bi, S.bu = tag .. id, now + lease end
  if exploring then S.x, S.xu = tag .. id, now + lease end
end

-- When to ask again: a lower bound where something depends on others, and exact
-- where it is the process's own admissions that stop to count.
local left = {want[1] - give[1], want[2] - give[2], want[3] - give[3], want[4] - give[4]}
local more = left[1] + left[2] + left[3] + left[4]
if left[3] > 0 and polls + give[2] >= half then S.cu = now + hold end
local gather = hold / 100 -- so long for several at once
local wait = 0
if more > 0 then
  local need = 1
  if cap < 0 then need = 1 - cap end
  local function nth(list, index, count)
    local from = list[math.min(index, #list)]
    if not from then return now end
    local last = from
    for i = index, math.min(index + count - 1, #list) do
      if list[i] - from <= gather then last = list[i] end
    end
    return last
  end
  local when = now + hold
  -- Where others have to land first, a large fleet asks less often, and whoever has
  -- had more than others asks later.
  local turn, others = now + hold / 60, 0
  for _, Q in pairs(S.p) do if Q ~= P and Q.d > now then others = others + 1 end end
  if S.ln then turn = now + hold / 60 * math.max(1, others / (here * size > total and 4 or 8)) end
  local function sooner(t) if t and t < when then when = t end end
  if S.pu > now then
    local D = S.pd and S.p[S.pd]
    if not (D and D ~= P and D.d >= S.pu) then S.pd = me end
    when = S.pu + (S.pd == me and 0 or hold / 60)
  elseif S.b or bounded then
    when = turn
  elseif clipped then
    sooner(own[1])
    sooner(S.se)
  else
    local queued = left[3] + left[2]
    if left[2] > 0 and not beyond and part <= give[2] then
      -- Polls have their half.
      queued = left[3]
      sooner(firstPoll)
    end
    if left[1] > 0 or (left[2] > 0 and part > give[2]) then sooner(nth(all, need, 1)) end
    if queued > 0 then
      -- What is free when others' stop to count is theirs more likely than not, if
      -- it is about the time when the process's own do.
      local any, mine_ = nth(all, need + before, queued), nil
      if own[1] then mine_ = math.max(nth(own, 1, queued), nth(all, need, 1)) end
      if mine_ and (own[1] - any < hold / 50 or (here + due >= level and before >= rest)) then
        sooner(mine_)
      else
        sooner(any)
      end
      -- Whoever has waited longest sees to what others do not come for.
      if room > 0 and before == 0 then sooner(lapse and lapse + 1000) end
      if S.ln and n > used then sooner((S.x or S.xa <= now) and turn or S.xa) end
    end
    if left[4] > 0 then sooner(math.max(nth(all, need, left[4]), now + hold / 20)) end
  end
  wait = math.max(1000, math.min(when - now, math.max(hold, S.pu - now + hold / 60)))
end
P.w = left
P.d = more > 0 and now + wait + hold / 40 or 0
for _, Q in pairs(S.p) do
  if Q.d > now then waiting = waiting + Q.w[1] + Q.w[2] + Q.w[3] + Q.w[4] end
end
P.r = {
  S.e, S.pn, math.max(0, S.pu - now), give[1], give[2], give[3], give[4], math.ceil(wait),
  used + granted, open + granted, size, first and math.max(0, first - now) or 0, S.ln or n, waiting, since,
  remembered,
}
local keep = math.max(10 * hold, S.pu - now + hold)
redis.call('SET', KEYS[1], cmsgpack.pack(S), 'PX', math.ceil(keep / 1000))
return P.r
