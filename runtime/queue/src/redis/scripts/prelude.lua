-- The state of a queue, and the numbers that every step needs.
--
-- KEYS[1] is the prefix of all keys, ratchet:{NAME}:, whose hash tag keeps a queue in one slot of a cluster. The other keys
-- are made from it. ARGV[1] is the operation, and ARGV[2] the time in microseconds, or empty for the clock of the server.
--
-- meta               hash: counters and settings
-- j:JOB              hash: a job, from its submission until its end is forgotten
--   s state (n needs, d delay, q queued, r running, e ended)   l lane   p payload   sp span   nb not before
--   cl crash limit   w missing needs   g gate of its rate key   u due   k arrival   a attempts   o lost nodes
--   n node   f fence   t fence of the latest end told   c cancelled   i identities   st status   ev event of its end
--   nd needs   ua how long it may wait for a node that can do it   x failed because none could
--   After an end without success, what another start takes is kept: p sp cl nd ua g and
--   C class   G claims   R rate
-- names              sorted set: all jobs, by name
-- dep:JOB            sorted set: the jobs that need it, in the order in which they came
-- lanes              hash: class and claims -> lane.  A lane holds the jobs that claim the same and that the same nodes can do.
-- L:LANE             hash: c class, g claims, n jobs that have not ended, z where it waits (r ready, a point, or nothing),
--                    m its member there, d the due time of its first job, f the point it came from, kp the gates it keeps
-- q:LANE             sorted set: its queued jobs, by due time and arrival
-- ready:CLASS        sorted set: the lanes of which the first job may lack nothing
-- w:POINT            sorted set: the lanes that wait at a point, which is a gate, a number of units and a class
-- p:GATE             sorted set: the points of a gate at which lanes wait, by units
-- held, quota, users, buckets, kept      hashes by gate: units held, what there is, jobs that use a rate key, when a bucket is
--                    full, and for which due lane something is kept
-- ids:GATE           sorted set: the free identities of a resource
-- timers             sorted set: what happens at a moment
-- classes, cn        set of classes, and hash: how many living nodes serve each
-- un                 hash: class -> the moment since which no living node serves it.  ux:CLASS set: its queued jobs with ua
-- nodes              set of nodes.  n:NODE hash, nc:NODE set of classes, c:NODE set of jobs
-- resv               hash: class -> the node that is kept free for a job of many slots
-- idle               set: the nodes with slots for which there is nothing.  idle:CLASS set: those that serve a class
-- expiries           sorted set: ends of jobs and rates that are forgotten at a moment
-- events             stream
--
-- A gate is a letter and a name: h: a host, g: the global lock, k: a rate key, l: a limit, u: a resource, a: quiet for a job
-- that must be alone, x: the time after a failover. As long as a gate lets somebody pass, the first lane of each of its
-- points is ready. So a claim looks only at first jobs, however many lanes and busy hosts there are.

local base = KEYS[1]
local operation = ARGV[1]
local call = redis.call
local floor, max, min = math.floor, math.max, math.min

-- Separators: of lists, and of the parts of an entry. No name contains them.
local LIST, PART = '\30', '\31'

-- The version of all this. Another one cannot read the keys.
local VERSION = 1

local function key(name)
  return base .. name
end

-- Whole numbers up to 2^53, which tostring would round.
local function text(number)
  return string.format('%.0f', number)
end

local function split(joined, separator)
  local parts = {}
  if joined == '' then
    return parts
  end
  for part in string.gmatch(joined .. separator, '([^' .. separator .. ']*)' .. separator) do
    parts[#parts + 1] = part
  end
  return parts
end

local META = key('meta')
local FIELDS = {
  'v', 'now', 'epoch', 'fence', 'seq', 'node', 'lane', 'open', 'running', 'alone', 'kept', 'session', 'retention',
  'capacity', 'hold', 'empty', 'dropped', 'qd', 'qs', 'ql', 'dep', 'paused', 'idle', 'watcher', 'watched', 'called',
}
local meta, changed = {}, {}
do
  local values = call('HMGET', META, unpack(FIELDS))
  for at, field in ipairs(FIELDS) do
    meta[field] = tonumber(values[at] or '0')
  end
end

local function set(field, value)
  if meta[field] ~= value then
    meta[field] = value
    changed[field] = true
  end
end

local function save()
  local arguments = {}
  for field in pairs(changed) do
    arguments[#arguments + 1] = field
    arguments[#arguments + 1] = text(meta[field])
  end
  if #arguments > 0 then
    call('HSET', META, unpack(arguments))
  end
end

-- A clock that was set back must not let a token or a session come twice.
local now
if ARGV[2] ~= '' then
  now = max(tonumber(ARGV[2]), meta.now)
else
  local time = call('TIME')
  now = max(tonumber(time[1]) * 1000000 + tonumber(time[2]), meta.now)
end

local NAMES = key('names')
local TIMERS = key('timers')
-- Whether a timer was set that is due already, and comes before others that are.
local is_due_timer_set = false
local function timer(moment, what)
  call('ZADD', TIMERS, text(moment), what)
  if moment <= now then
    is_due_timer_set = true
  end
end

-- What is forgotten at a moment. Nobody waits for it, so it is no timer.
local EXPIRIES = key('expiries')
local function expiry(moment, what)
  call('ZADD', EXPIRIES, text(moment), what)
end

local function event(...)
  return call('XADD', key('events'), text(floor(now / 1000)) .. '-*', ...)
end
