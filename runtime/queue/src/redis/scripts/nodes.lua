-- Nodes: their sessions, and what they claim.

local function sorted_jobs_of(node)
  local list = jobs_of(node)
  -- The order decides the order of events, which must not be that of a hash table.
  table.sort(list)
  return list
end

local function session_timer(node)
  return 's' .. format('%012.0f', tonumber(node))
end

local function session(node)
  timer(now + meta.session, session_timer(node))
end

local function is_alive(node)
  return call('SISMEMBER', key('nodes'), node) == 1
end

-- A class is a task, labels and a number of slots. This tells whether a node can do its jobs.
local function can_do(class, slots, tasks, labels)
  local task, wanted, needed = unpack(split(class, PART))
  if tonumber(needed) > slots or not (tasks == '*' or find(tasks, LIST .. task .. LIST, 1, true)) then
    return false
  end
  for _, label in ipairs(split(wanted, '\28')) do
    if not find(labels, LIST .. label .. LIST, 1, true) then
      return false
    end
  end
  return true
end

local function serve(node, class)
  call('SADD', key('nc:' .. node), class)
  if is_idle(node) then
    call('SADD', key('idle:' .. class), node)
  end
  if call('HINCRBY', key('cn'), class, 1) == 1 then
    call('HDEL', key('un'), class)
    for _, name in ipairs(call('SMEMBERS', key('ux:' .. class))) do
      call('ZREM', key('timers'), 'v' .. name)
    end
  end
end

-- Notes that no living node can do the jobs of a class from now on.
local function unserve(class)
  call('HSET', key('un'), class, text(now))
  for _, name in ipairs(call('SMEMBERS', key('ux:' .. class))) do
    timer(now + job_of(name).ua, 'v' .. name)
  end
end

-- The classes that this step knows to be open.
local opened

begins[#begins + 1] = function()
  opened = {}
end

-- Finds the nodes that can do the jobs of a new class.
local function open_class(class)
  if opened[class] then
    return
  end
  opened[class] = true
  if call('SADD', key('classes'), class) == 1 then
    for _, node in ipairs(call('SMEMBERS', key('nodes'))) do
      local slots, tasks, labels = unpack(call('HMGET', key('n:' .. node), 'slots', 'tasks', 'labels'))
      if can_do(class, tonumber(slots), tasks, labels) then
        serve(node, class)
      end
    end
    if not is_served(class) then
      unserve(class)
    end
  end
end

-- Forgets a node, and returns what it holds.
local function remove_node(node)
  unset_idle(node)
  call('SREM', key('nodes'), node)
  call('ZREM', key('timers'), session_timer(node))
  for _, class in ipairs(call('SMEMBERS', key('nc:' .. node))) do
    if call('HINCRBY', key('cn'), class, -1) == 0 then
      unserve(class)
    end
    if call('HGET', key('resv'), class) == node then
      call('HDEL', key('resv'), class)
    end
  end
  local held = sorted_jobs_of(node)
  call('DEL', key('n:' .. node), key('nc:' .. node), key('c:' .. node))
  return held
end

local function lose_node(node)
  if not is_alive(node) then
    return
  end
  local held = remove_node(node)
  event('', 'X', node)
  for _, name in ipairs(held) do
    lose_attempt(name, node)
  end
end

-- Does what is due at a moment.
local function act(what, moment)
  local letter, rest = sub(what, 1, 1), sub(what, 2)
  if letter == 'g' then
    wake_gate(rest)
  elseif letter == 'd' then
    if call('EXISTS', key('L:' .. rest)) == 1 then
      local lane = lane_of(rest)
      if lane.d <= now then
        fall_due(lane)
      end
    end
  elseif letter == 'j' then
    queue(rest, job_of(rest), moment)
  elseif letter == 's' then
    lose_node(text(tonumber(rest)))
  elseif letter == 'v' then
    local job = job_of(rest)
    job.x = true
    touch(rest, job)
    event('', 'V', rest)
    finish_job(rest, 'failed', '')
  end
end

-- Forgets the rate of a key that no job uses, once its bucket is full.
local function forget_rate(gate, what)
  if call('HEXISTS', key('users'), gate) == 0 then
    local when = bucket_when(gate, quota(gate)[5])
    if when <= now then
      call('HDEL', key('buckets'), gate)
      call('HDEL', key('quota'), gate)
      quotas[gate] = nil
    else
      expiry(when, what)
    end
  end
end

-- Forgets jobs whose ends are old, in the order in which they ended. One that waits again or has ended again stays.
local function forget_ends()
  local ended, count = key('ended'), 1
  while true do
    local entries, forgotten = call('LRANGE', ended, 0, count - 1), 0
    for _, entry in ipairs(entries) do
      local moment, place, name = unpack(split(entry, PART))
      if tonumber(moment) > now then
        break
      end
      forgotten = forgotten + 1
      local job = job_of(name)
      if job and job.ev == place then
        forget_job(name)
        call('ZREM', key('names'), name)
      end
    end
    if forgotten > 0 then
      call('LPOP', ended, forgotten)
      local bound = floor((now - meta.retention) / 1000)
      if bound > 0 and call('XTRIM', key('events'), 'MINID', text(bound)) > 0 then
        set('dropped', bound)
      end
    end
    if forgotten < count then
      return
    end
    bound_records()
    count = 100
  end
end

-- Does what is due by now, in the order of the moments.
local function advance()
  set('now', now)
  while true do
    local due = call('ZRANGEBYSCORE', key('timers'), '-inf', text(now), 'WITHSCORES', 'LIMIT', 0, 100)
    if #due == 0 then
      break
    end
    for at = 1, #due, 2 do
      call('ZREM', key('timers'), due[at])
      is_due_timer_set = false
      act(due[at], tonumber(due[at + 1]))
      if is_due_timer_set then
        break -- It may come before the rest of these.
      end
    end
  end
  for _, what in ipairs(call('ZRANGEBYSCORE', key('expiries'), '-inf', text(now))) do
    call('ZREM', key('expiries'), what)
    forget_rate(sub(what, 2), what)
  end
  forget_ends()
end

-- Starts the first job of a lane, which lacks nothing.
local function start(lane, node)
  local name = sub(take_turn(lane), 13)
  local payload = payload_of(name)
  local job = job_of(name)
  local identities = {}
  for _, claim in ipairs(claims_of(lane)) do
    local taken = take(claim[1], claim[2])
    if taken then
      identities[#identities + 1] = taken
    end
  end
  local joined = table.concat(identities, LIST)
  set('fence', meta.fence + 1)
  set('running', meta.running + 1)
  local attempt = (job.a or 0) + 1
  job.s, job.n, job.a = 'r', node, attempt
  job.f = text(meta.epoch) .. '-' .. text(meta.fence)
  job.i = joined ~= '' and joined or nil
  touch(name, job)
  note_node_job(node, name, true)
  event('', 'S', name, node, attempt)
  reposition_started(lane)
  if job.ua then
    await_no_node(name, lane.c)
  end
  return { name, job.f, text(attempt), lane.c, lane.g, joined, handover_of(name, job), payload }
end

local function claim(node, slots, most, bytes)
  local total = tonumber(call('HGET', key('n:' .. node), 'slots'))
  local free = min(slots, total)
  local claimed = {}
  -- One more than can start, since the next one is looked at as well.
  read_ahead = max(min(most, free), 1) + 1
  if meta.alone == 1 or meta.paused == 1 then
    return claimed, free
  end
  local classes = {}
  for at, class in ipairs(call('SMEMBERS', key('nc:' .. node))) do
    classes[at] = { class, tonumber(split(class, PART)[3]) }
  end
  local passed = {}
  while #claimed < most and free > 0 and bytes > 0 do
    local best, first
    for _, class in ipairs(classes) do
      local head = not passed[class[1]] and head_of(class[1])
      -- A job that fills more slots than are free is looked at once it is due, since it may then reserve the node.
      if head and (class[2] <= free or head[1] <= now)
        and (not first or is_before(head[1], head[2], first[1], first[2])) then
        best, first = class, head
      end
    end
    if not best then
      break
    end
    local lane = lane_of(first[3])
    if meta.qd > 0 and meta.ql ~= tonumber(lane.id) then
      local holder = lane_of(text(meta.ql))
      if not is_served(holder.c) then
        set('qd', 0)
      elseif is_before(meta.qd, format('%012.0f', meta.qs), first[1], first[2]) then
        break -- A due job that must be alone waits until all is quiet.
      end
    end
    local gate, units, has_place = obstacle(lane)
    local is_due = lane.d <= now
    if gate == 'a:' and is_due then
      set('qd', lane.d)
      set('qs', tonumber(sub(lane.m, 1, 12)))
      set('ql', tonumber(lane.id))
      break
    elseif gate then
      if is_due and has_place then
        keep(lane, gate)
      end
      park(lane, gate, units)
    elseif best[2] > free then
      local holder = call('HGET', key('resv'), best[1])
      if not holder or holder == node or not is_alive(holder) then
        call('HSET', key('resv'), best[1], node)
        break
      end
      passed[best[1]] = true
    else
      if best[2] > 1 then
        call('HDEL', key('resv'), best[1])
      end
      local attempt = start(lane, node)
      claimed[#claimed + 1] = attempt
      free = free - best[2]
      bytes = bytes - #attempt[#attempt]
      if meta.alone == 1 then
        break
      end
    end
  end
  return claimed, free
end
