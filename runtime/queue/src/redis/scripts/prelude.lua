-- The state of a queue, and the numbers that every step needs.
--
-- All this is one library of functions, which the server loads once. A call is one step: it reads what it needs into tables,
-- changes them, and writes what has changed at its end, many at a time. So a step costs few commands, however often it looks at
-- the same job. Each file says in `begins` what it forgets before a step, and in `ends` what it writes after it.
--
-- KEYS[1] is the prefix of all keys, ratchet:{NAME}:, whose hash tag keeps a queue in one slot of a cluster. The other keys
-- are made from it. ARGV[1] is the operation, and ARGV[2] the time in microseconds, or empty for the clock of the server.
--
-- Records (d below) are packed maps. Fields that are not there stand for nothing, 0 or ''.
--
-- meta               hash: d counters and settings; step, max_payload, replication
-- j:JOB              hash: a job, from its submission until its end is forgotten: d record, p payload, h what an attempt has handed over to
--                    the next one. Its record:
--   s state (n needs, d delay, q queued, r running, e ended)   l lane   sp span   nb not before
--   cl crash limit   w missing needs   g gate of its rate key   u due   k arrival   a attempts   o lost nodes
--   n node   f fence   t fence of the latest end told   c cancelled   i identities   st status   ev event of its end
--   h whether something is handed over   nd needs   dp others may need it   ua how long it may wait for a node that can do it   x failed because none could
--   After an end without success, what another start takes is kept: the payload, sp cl nd ua g and
--   C class   G claims   R rate
-- names              sorted set: all jobs, by name
-- dep:JOB            sorted set: the jobs that need it, in the order in which they came
-- lanes              hash: class and claims -> lane.  A lane holds the jobs that claim the same and that the same nodes can do.
-- L:LANE             record: c class, g claims, n jobs that have not ended, z where it waits (r ready, a point, or nothing),
--                    m its member there, d the due time of its first job, f the point it came from, kp the gates it keeps
-- q:LANE             sorted set: its queued jobs, by due time and arrival
-- ready:CLASS        sorted set: the lanes of which the first job may lack nothing
-- w:POINT            sorted set: the lanes that wait at a point, which is a gate, a number of units and a class
-- p:GATE             sorted set: the points of a gate at which lanes wait, by units
-- held, quota, users, buckets, kept      hashes by gate: units held (and the lane that waits at a host, if it is the only one; *
--                    if there are more), what there is, jobs that use a rate key, when a bucket is full, and for which due lane
--                    something is kept
-- ids:GATE           sorted set: the free identities of a resource
-- timers             sorted set: what happens at a moment
-- classes, cn        set of classes, and hash: how many living nodes serve each
-- un                 hash: class -> the moment since which no living node serves it.  ux:CLASS set: its queued jobs with ua
-- nodes              set of nodes.  n:NODE hash, nc:NODE set of classes, c:NODE set of jobs
-- resv               hash: class -> the node that is kept free for a job of many slots
-- idle               set: the nodes with slots for which there is nothing.  idle:CLASS set: those that serve a class
-- ended              list: ends of jobs in their order, each with the moment when it is forgotten and its event
-- expiries           sorted set: rates that are forgotten at a moment
-- events             stream
--
-- A gate is a letter and a name: h: a host, g: the global lock, k: a rate key, l: a limit, u: a resource, a: quiet for a job
-- that must be alone, x: the time after a failover. As long as a gate lets somebody pass, the first lane of each of its
-- points is ready. So a claim looks only at first jobs, however many lanes and busy hosts there are.

-- Functions of the server, which are not there before the first step.
local call, pack, parse
local floor, max, min
local find, sub, format

local function find_functions()
  call, pack, parse = redis.call, cmsgpack.pack, cmsgpack.unpack
  floor, max, min = math.floor, math.max, math.min
  find, sub, format = string.find, string.sub, string.format
end

-- Separators: of lists, and of the parts of an entry. No name contains them.
local LIST, PART = '\30', '\31'

-- The version of all this. Another one cannot read the keys.
local VERSION = 2

-- How many values one command gets at most.
local MOST_VALUES = 2000

-- What is done before and after each step.
local begins, ends = {}, {}

-- The prefix of all keys, and the time of this step.
local base, now

local function key(name)
  return base .. name
end

-- Whole numbers up to 2^53, which tostring would round.
local function text(number)
  return format('%.0f', number)
end

local function split(joined, separator)
  local parts, count, from = {}, 0, 1
  if joined == '' then
    return parts
  end
  while true do
    local at = find(joined, separator, from, true)
    count = count + 1
    if not at then
      parts[count] = sub(joined, from)
      return parts
    end
    parts[count] = sub(joined, from, at - 1)
    from = at + 1
  end
end

-- Calls a command with a list of values, in parts if it is long.
local function call_with_all(command, name, values)
  for from = 1, #values, MOST_VALUES do
    call(command, name, unpack(values, from, min(from + MOST_VALUES - 1, #values)))
  end
end

local META
local meta, is_meta_changed
local COUNTERS = {
  'v', 'now', 'epoch', 'fence', 'seq', 'node', 'lane', 'open', 'running', 'alone', 'kept', 'session', 'retention',
  'capacity', 'hold', 'empty', 'dropped', 'qd', 'qs', 'ql', 'dep', 'paused', 'idle', 'watcher', 'watched', 'called',
  'em', 'en',
}

local function set(field, value)
  if meta[field] ~= value then
    meta[field] = value
    is_meta_changed = true
  end
end

-- Reads the counters of the queue, and the time. A clock that was set back must not let a token or a session come twice.
local function read_meta(moment)
  META, is_meta_changed = key('meta'), false
  local packed = call('HGET', META, 'd')
  if packed then
    meta = parse(packed)
  else
    meta = {}
    for _, field in ipairs(COUNTERS) do
      meta[field] = 0
    end
    -- Where the first version kept its number.
    meta.v = tonumber(call('HGET', META, 'v') or '0')
  end
  if moment ~= '' then
    now = max(tonumber(moment), meta.now)
  else
    local time = call('TIME')
    now = max(tonumber(time[1]) * 1000000 + tonumber(time[2]), meta.now)
  end
end

local function save_meta()
  if is_meta_changed then
    call('HSET', META, 'd', pack(meta))
  end
end

-- Whether a timer was set that is due already, and comes before others that are.
local is_due_timer_set = false
local function timer(moment, what)
  call('ZADD', key('timers'), text(moment), what)
  if moment <= now then
    is_due_timer_set = true
  end
end

-- Rates that are forgotten at a moment. Nobody waits for it, so it is no timer.
local function expiry(moment, what)
  call('ZADD', key('expiries'), text(moment), what)
end
