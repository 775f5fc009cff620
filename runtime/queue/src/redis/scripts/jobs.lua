-- Jobs: how they enter the queue, leave it, and end.

-- Notes that a job waits for a node, from a moment on. While no living node can do it, it fails after some time.
local function await_node(name, class, patience, moment)
  call('SADD', key('ux:' .. class), name)
  if not is_served(class) then
    local since = tonumber(call('HGET', key('un'), class))
    timer(max(moment, since) + patience, 'v' .. name)
  end
end

local function await_no_node(name, class)
  call('SREM', key('ux:' .. class), name)
  call('ZREM', key('timers'), 'v' .. name)
end

-- Puts a job into its lane, in the turn that it has, at a moment that may have passed.
local function queue(name, job, moment)
  job.s = 'q'
  touch(name, job)
  local lane, member = lane_of(job.l), job.k .. name
  add_turn(lane, job.u, member)
  if lane.z == '' or is_before(job.u, job.k, lane.d, sub(lane.m, 1, 12)) then
    reposition(lane, member, job.u)
  end
  if job.ua then
    await_node(name, lane.c, job.ua, moment)
  end
end

-- Lets a job wait for its turn, or for the moment before which it must not start.
local function wait_until(name, job, moment)
  if moment > now then
    job.s = 'd'
    touch(name, job)
    timer(moment, 'j' .. name)
  else
    queue(name, job, now)
  end
end

-- Gives a job whose needs are met its place in the order of the queue.
local function enter(name, job)
  set('seq', meta.seq + 1)
  job.u, job.k = now + job.sp, format('%012.0f', meta.seq)
  wait_until(name, job, job.nb or 0)
end

-- Frees what a running job holds.
local function release(name, job)
  note_node_job(job.n, name, false)
  set('running', meta.running - 1)
  give_back_identities(job.i)
  for _, claim in ipairs(claims_of(lane_of(job.l))) do
    give_back(claim[1], claim[2])
  end
  if meta.running == 0 then
    wake_gate('a:')
  end
end

-- Takes a queued job out of its lane.
local function unqueue(name, job)
  local lane = lane_of(job.l)
  remove_turn(lane, job.k .. name)
  if job.ua then
    await_no_node(name, lane.c)
  end
  if sub(lane.m, 1, 12) == job.k then
    reposition(lane)
  end
end

-- Returns the jobs that a job needs, in the order in which it names them first.
local function needs_of(job)
  return split(job.nd or '', LIST)
end

local function state_of(name)
  local job = job_of(name)
  if not job then
    return ''
  elseif job.s == 'e' then
    return job.st
  elseif job.s == 'r' then
    return 'running'
  end
  return 'waiting'
end

-- Returns what is kept of a job that has ended.
local function record_of_end(job, status, place)
  local kept = { s = 'e', st = status, ev = place, a = job.a, t = job.t, x = job.x }
  if status ~= 'succeeded' then
    -- It may be asked for again.
    local lane = lane_of(job.l)
    kept.sp, kept.cl, kept.nd, kept.ua, kept.g, kept.C, kept.G = job.sp, job.cl, job.nd, job.ua, job.g, lane.c, lane.g
    if job.g then
      kept.R = call('HGET', key('quota'), job.g)
    end
  end
  return kept
end

-- Ends a job that holds nothing any more, and those that need it as far as that decides.
local function finish_job(name, status, result)
  local ending = { { name, status, result } }
  while #ending > 0 do
    bound_records()
    local name, status, result = unpack(table.remove(ending))
    local job = job_of(name)
    if job and job.s ~= 'e' then
      if job.s == 'q' then
        unqueue(name, job)
      elseif job.s == 'd' then
        call('ZREM', key('timers'), 'j' .. name)
      elseif job.s == 'n' then
        -- Another job may have its name before they end.
        for _, need in ipairs(needs_of(job)) do
          call('ZREM', key('dep:' .. need), name)
        end
      end
      hand_over(name, job, '')
      local place = single_event(result, 'E', name, status, text(job.a or 0))
      touch(name, record_of_end(job, status, place))
      if status == 'succeeded' then
        payloads[name] = ''
      end
      leave_lane(job.l)
      set('open', meta.open - 1)
      new_ends[#new_ends + 1] = text(now + meta.retention) .. PART .. place .. PART .. name
      if job.g and call('HINCRBY', key('users'), job.g, -1) == 0 then
        call('HDEL', key('users'), job.g)
        -- Its tokens still count until the bucket is full.
        expiry(max(bucket_when(job.g, quota(job.g)[5]), now + 1), 'b' .. job.g)
      end
      if job.dp then
        local dependents = call('ZRANGE', key('dep:' .. name), 0, -1)
        call('DEL', key('dep:' .. name))
        for _, dependent in ipairs(dependents) do
          if status ~= 'succeeded' then
            ending[#ending + 1] = { dependent, 'skipped', '' }
          else
            bound_records()
            local waiting = job_of(dependent)
            if waiting and waiting.s == 'n' then
              waiting.w = waiting.w - 1
              touch(dependent, waiting)
              if waiting.w == 0 then
                enter(dependent, waiting)
              end
            end
          end
        end
      end
    end
  end
end

-- Ends the attempt of a running job, which waits for another one in its old turn. A cancelled job ends.
local function try_again(name, job, delay)
  release(name, job)
  if job.c then
    finish_job(name, 'cancelled', '')
  else
    job.f, job.n, job.i = nil, nil, nil
    wait_until(name, job, now + delay)
  end
end

local function not_begun(name)
  local job = job_of(name)
  job.a = job.a - 1
  touch(name, job)
  event('', 'B', name)
  try_again(name, job, 0)
end

-- Takes a job back from a node that was lost.
local function lose_attempt(name, node)
  bound_records()
  local job = job_of(name)
  job.o = (job.o or 0) + 1
  touch(name, job)
  event('', 'L', name, node)
  if job.o >= job.cl and not job.c then
    release(name, job)
    finish_job(name, 'crashed', '')
  else
    try_again(name, job, 0)
  end
end
