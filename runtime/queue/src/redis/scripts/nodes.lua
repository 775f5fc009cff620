-- Nodes: their sessions, and what they claim.

local function members(name)
  local list = call('SMEMBERS', name)
  -- The order decides the order of events, which must not be that of a hash table.
  table.sort(list)
  return list
end

local function session_timer(node)
  return 's' .. string.format('%012.0f', tonumber(node))
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
  if tonumber(needed) > slots or not (tasks == '*' or string.find(tasks, LIST .. task .. LIST, 1, true)) then
    return false
  end
  for _, label in ipairs(split(wanted, '\28')) do
    if not string.find(labels, LIST .. label .. LIST, 1, true) then
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
      call('ZREM', TIMERS, 'v' .. name)
    end
  end
end

-- Notes that no living node can do the jobs of a class from now on.
local function unserve(class)
  call('HSET', key('un'), class, text(now))
  for _, name in ipairs(call('SMEMBERS', key('ux:' .. class))) do
    timer(now + tonumber(fields(name, 'ua')), 'v' .. name)
  end
end

-- Finds the nodes that can do the jobs of a new class.
local function open_class(class)
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
  call('ZREM', TIMERS, session_timer(node))
  for _, class in ipairs(call('SMEMBERS', key('nc:' .. node))) do
    if call('HINCRBY', key('cn'), class, -1) == 0 then
      unserve(class)
    end
    if call('HGET', key('resv'), class) == node then
      call('HDEL', key('resv'), class)
    end
  end
  local held = members(key('c:' .. node))
  call('DEL', key('n:' .. node), key('nc:' .. node), key('c:' .. node))
  return held
end

local function lose_node(node)
  if not is_alive(node) then
    return
  end
  local held = remove_node(node)
  event('t', 'X', 'n', node)
  for _, name in ipairs(held) do
    lose_attempt(name, node)
  end
end

-- Does what is due at a moment.
local function act(what, moment)
  local letter, rest = string.sub(what, 1, 1), string.sub(what, 2)
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
    queue(rest, moment)
  elseif letter == 's' then
    lose_node(text(tonumber(rest)))
  elseif letter == 'v' then
    call('HSET', job_of(rest), 'x', '1')
    event('t', 'V', 'j', rest)
    finish_job(rest, 'failed', '')
  end
end

-- Forgets what nobody asks for any more.
local function forget(what)
  local letter, rest = string.sub(what, 1, 1), string.sub(what, 2)
  if letter == 'e' then
    call('DEL', job_of(rest))
    call('ZREM', NAMES, rest)
    local bound = floor((now - meta.retention) / 1000)
    if bound > 0 and call('XTRIM', key('events'), 'MINID', text(bound)) > 0 then
      set('dropped', bound)
    end
  elseif call('HEXISTS', key('users'), rest) == 0 then
    local when = bucket_when(rest, quota(rest)[5])
    if when <= now then
      call('HDEL', key('buckets'), rest)
      call('HDEL', key('quota'), rest)
      quotas[rest] = nil
    else
      expiry(when, what)
    end
  end
end

-- Does what is due by now, in the order of the moments.
local function advance()
  set('now', now)
  while true do
    local due = call('ZRANGEBYSCORE', TIMERS, '-inf', text(now), 'WITHSCORES', 'LIMIT', 0, 100)
    if #due == 0 then
      break
    end
    for at = 1, #due, 2 do
      call('ZREM', TIMERS, due[at])
      is_due_timer_set = false
      act(due[at], tonumber(due[at + 1]))
      if is_due_timer_set then
        break -- It may come before the rest of these.
      end
    end
  end
  while true do
    local due = call('ZRANGEBYSCORE', EXPIRIES, '-inf', text(now), 'LIMIT', 0, 100)
    if #due == 0 then
      return
    end
    call('ZREM', EXPIRIES, unpack(due))
    for _, what in ipairs(due) do
      forget(what)
    end
  end
end

-- The first ready lane of a class: due time, arrival and lane; false if there is none.
local function head_of(class)
  local head = heads[class]
  if head == nil then
    local first = call('ZRANGE', key('ready:' .. class), 0, 0, 'WITHSCORES')
    head = #first > 0 and { tonumber(first[2]), string.sub(first[1], 1, 12), string.sub(first[1], 13) } or false
    heads[class] = head
  end
  return head
end

-- Starts the first job of a lane, which lacks nothing.
local function start(lane, node)
  local member = call('ZPOPMIN', key('q:' .. lane.id))[1]
  local name = string.sub(member, 13)
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
  local fence = text(meta.epoch) .. '-' .. text(meta.fence)
  local attempt = call('HINCRBY', job_of(name), 'a', 1)
  call('HSET', job_of(name), 's', 'r', 'n', node, 'f', fence)
  if joined ~= '' then
    call('HSET', job_of(name), 'i', joined)
  end
  call('SADD', key('c:' .. node), name)
  event('t', 'S', 'j', name, 'n', node, 'a', text(attempt))
  reposition_started(lane)
  local payload, patience = fields(name, 'p', 'ua')
  if patience then
    await_no_node(name, lane.c)
  end
  return { name, fence, text(attempt), lane.c, lane.g, joined, payload or '' }
end

local function claim(node, slots, most, bytes)
  local total = tonumber(call('HGET', key('n:' .. node), 'slots'))
  local free = min(slots, total)
  local claimed = {}
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
      elseif is_before(meta.qd, string.format('%012.0f', meta.qs), first[1], first[2]) then
        break -- A due job that must be alone waits until all is quiet.
      end
    end
    local gate, units, has_place = obstacle(lane)
    local is_due = lane.d <= now
    if gate == 'a:' and is_due then
      set('qd', lane.d)
      set('qs', tonumber(string.sub(lane.m, 1, 12)))
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
