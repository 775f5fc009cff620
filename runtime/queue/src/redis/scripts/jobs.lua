-- Jobs: how they enter the queue, leave it, and end.

local function job_of(name)
  return key('j:' .. name)
end

local function fields(name, ...)
  return unpack(call('HMGET', job_of(name), ...))
end

-- Notes that a job waits for a node, from a moment on. While no living node can do it, it fails after some time.
local function await_node(name, class, patience, moment)
  call('SADD', key('ux:' .. class), name)
  if not is_served(class) then
    local since = tonumber(call('HGET', key('un'), class))
    timer(max(moment, since) + tonumber(patience), 'v' .. name)
  end
end

local function await_no_node(name, class)
  call('SREM', key('ux:' .. class), name)
  call('ZREM', TIMERS, 'v' .. name)
end

-- Puts a job into its lane, in the turn that it has, at a moment that may have passed.
local function queue(name, moment)
  local id, due, arrival, patience = fields(name, 'l', 'u', 'k', 'ua')
  call('HSET', job_of(name), 's', 'q')
  call('ZADD', key('q:' .. id), due, arrival .. name)
  local lane = lane_of(id)
  if lane.z == '' or is_before(tonumber(due), arrival, lane.d, string.sub(lane.m, 1, 12)) then
    reposition(lane)
  end
  if patience then
    await_node(name, lane.c, patience, moment)
  end
end

-- Lets a job wait for its turn, or for the moment before which it must not start.
local function wait_until(name, moment)
  if moment > now then
    call('HSET', job_of(name), 's', 'd')
    timer(moment, 'j' .. name)
  else
    queue(name, now)
  end
end

-- Gives a job whose needs are met its place in the order of the queue.
local function enter(name, span, not_before)
  set('seq', meta.seq + 1)
  call('HSET', job_of(name), 'u', text(now + span), 'k', string.format('%012.0f', meta.seq))
  wait_until(name, not_before)
end

-- Frees what a running job holds.
local function release(name)
  local id, node, identities = fields(name, 'l', 'n', 'i')
  call('SREM', key('c:' .. node), name)
  set('running', meta.running - 1)
  give_back_identities(identities)
  for _, claim in ipairs(claims_of(lane_of(id))) do
    give_back(claim[1], claim[2])
  end
  if meta.running == 0 then
    wake_gate('a:')
  end
end

-- Takes a queued job out of its lane.
local function unqueue(name)
  local id, arrival, patience = fields(name, 'l', 'k', 'ua')
  call('ZREM', key('q:' .. id), arrival .. name)
  local lane = lane_of(id)
  if patience then
    await_no_node(name, lane.c)
  end
  if string.sub(lane.m, 1, 12) == arrival then
    reposition(lane)
  end
end

-- Returns the jobs that a job needs, in the order in which it names them first.
local function needs_of(name)
  return split(fields(name, 'nd') or '', LIST)
end

local function state_of(name)
  local state, status = fields(name, 's', 'st')
  if not state then
    return ''
  elseif state == 'e' then
    return status
  elseif state == 'r' then
    return 'running'
  end
  return 'waiting'
end

-- Ends a job that holds nothing any more, and those that need it as far as that decides.
local function finish_job(name, status, result)
  local ending = { { name, status, result } }
  while #ending > 0 do
    local name, status, result = unpack(table.remove(ending))
    local state, id, attempts, gate = fields(name, 's', 'l', 'a', 'g')
    if state and state ~= 'e' then
      if state == 'q' then
        unqueue(name)
      elseif state == 'd' then
        call('ZREM', TIMERS, 'j' .. name)
      elseif state == 'n' then
        -- Another job may have its name before they end.
        for _, need in ipairs(needs_of(name)) do
          call('ZREM', key('dep:' .. need), name)
        end
      end
      local lane = lane_of(id)
      leave_lane(id)
      set('open', meta.open - 1)
      local at = event('t', 'E', 'j', name, 's', status, 'a', attempts or '0', 'r', result)
      call('HDEL', job_of(name), 'nb', 'w', 'u', 'k', 'n', 'f', 'i', 'c', 'l')
      call('HSET', job_of(name), 's', 'e', 'st', status, 'ev', at)
      if status == 'succeeded' then
        call('HDEL', job_of(name), 'p', 'sp', 'cl', 'nd', 'ua', 'g')
      else
        -- It may be asked for again.
        call('HSET', job_of(name), 'C', lane.c, 'G', lane.g)
        if gate then
          call('HSET', job_of(name), 'R', call('HGET', key('quota'), gate))
        end
      end
      expiry(now + meta.retention, 'e' .. name)
      if gate and call('HINCRBY', key('users'), gate, -1) == 0 then
        call('HDEL', key('users'), gate)
        -- Its tokens still count until the bucket is full.
        expiry(max(bucket_when(gate, quota(gate)[5]), now + 1), 'b' .. gate)
      end
      local dependents = call('ZRANGE', key('dep:' .. name), 0, -1)
      if #dependents > 0 then
        call('DEL', key('dep:' .. name))
      end
      for _, dependent in ipairs(dependents) do
        if status ~= 'succeeded' then
          ending[#ending + 1] = { dependent, 'skipped', '' }
        else
          local state, span, not_before = fields(dependent, 's', 'sp', 'nb')
          if state == 'n' and call('HINCRBY', job_of(dependent), 'w', -1) == 0 then
            enter(dependent, tonumber(span), tonumber(not_before or '0'))
          end
        end
      end
    end
  end
end

-- Ends the attempt of a running job, which waits for another one in its old turn. A cancelled job ends.
local function try_again(name, delay)
  release(name)
  local cancelled = fields(name, 'c')
  if cancelled then
    finish_job(name, 'cancelled', '')
  else
    call('HDEL', job_of(name), 'f', 'n', 'i')
    wait_until(name, now + delay)
  end
end

local function not_begun(name)
  call('HINCRBY', job_of(name), 'a', -1)
  event('t', 'B', 'j', name)
  try_again(name, 0)
end

-- Takes a job back from a node that was lost.
local function lose_attempt(name, node)
  local losses = call('HINCRBY', job_of(name), 'o', 1)
  local limit, cancelled = fields(name, 'cl', 'c')
  event('t', 'L', 'j', name, 'n', node)
  if losses >= tonumber(limit) and not cancelled then
    release(name)
    finish_job(name, 'crashed', '')
  else
    try_again(name, 0)
  end
end
