-- The operations. Each gets its arguments from ARGV[3] on.

local operations = {}
-- The node that claims in this step.
local asking
-- The arguments of the call, and how many of them were read.
local arguments, argument
local function next_argument()
  argument = argument + 1
  return arguments[argument]
end
local function next_number()
  return tonumber(next_argument())
end

-- Makes the queue, or finds it: version, replication id, session, retention, capacity, step of
-- ageing, bytes of a payload.
function operations.open()
  local replication = next_argument()
  local session, retention, capacity, step = next_number(), next_number(), next_number(), next_number()
  local max_payload = next_number()
  if meta.v == 0 then
    set('v', VERSION)
    set('epoch', 1)
    set('session', session)
    set('retention', retention)
    set('capacity', capacity)
    call('HSET', META, 'step', text(step), 'max_payload', text(max_payload), 'replication', replication)
  elseif call('HGET', META, 'replication') ~= replication then
    -- The latest steps may be lost: claims that were granted, tokens that were taken, numbers that were given.
    call('HSET', META, 'replication', replication)
    call('DEL', key('buckets'))
    set('epoch', meta.epoch + 1)
    set('hold', now + meta.session)
    set('empty', now)
  end
  return {
    text(meta.v), text(meta.epoch), text(meta.session), text(meta.retention), text(meta.capacity), call('HGET', META, 'step'),
    call('HGET', META, 'max_payload'),
  }
end

-- Changes a rate. The bucket lacks as many tokens as it did under the old one, rounded up to a microsecond.
local function change_rate(gate, old, new)
  local full, part = bucket(gate)
  local debt = full - now + part / old[4]
  if debt > 0 then
    local tokens = debt / (old[2] + old[3] / old[4])
    local missing = math.ceil(tokens * (new[2] + new[3] / new[4]))
    call('HSET', key('buckets'), gate, text(now + missing) .. ' 0')
  end
end

-- Declares limits and resources: gate, quota and identities of each. All are taken, or none.
function operations.declare()
  local list = {}
  for at = 1, next_number() do
    local gate, new, identities = next_argument(), next_argument(), next_argument()
    list[at] = { gate, new, identities }
    local old = quota(gate)
    local kind = split(new, ' ')[1]
    if old and (old[1] ~= kind or (sub(gate, 1, 1) == 'u' and call('HGET', key('quota'), gate) ~= new)) then
      return { 'conflict', text(at) }
    end
    if old and identities ~= '' and call('HGET', key('quota'), 'names:' .. gate) ~= identities then
      return { 'conflict', text(at) }
    end
  end
  for _, entry in ipairs(list) do
    local gate, new, identities = unpack(entry)
    local old = quota(gate)
    call('HSET', key('quota'), gate, new)
    quotas[gate] = nil
    if old and old[1] == 'rate' then
      change_rate(gate, old, quota(gate))
    end
    if not old and identities ~= '' then
      call('HSET', key('quota'), 'names:' .. gate, identities)
      for at, identity in ipairs(split(identities, LIST)) do
        call('ZADD', key('ids:' .. gate), at, identity)
      end
    end
    wake_gate(gate)
  end
  return { 'ok' }
end

-- Counts a job that uses a rate key; false if others use it with another rate.
local function use_rate(gate, rate)
  local old = call('HGET', key('quota'), gate)
  if old and old ~= rate then
    if call('HEXISTS', key('users'), gate) == 1 then
      return false
    end
    local before = quota(gate)
    call('HSET', key('quota'), gate, rate)
    quotas[gate] = nil
    change_rate(gate, before, quota(gate))
  elseif not old then
    call('HSET', key('quota'), gate, rate)
    quotas[gate] = nil
  end
  call('HINCRBY', key('users'), gate, 1)
  return true
end

-- Lets a job wait for its needs, or gives it its place if all of them have succeeded. It is skipped if one did not.
local function meet_needs(name)
  local job = job_of(name)
  job.s = 'n'
  touch(name, job)
  local missing, has_failed = 0, false
  for _, need in ipairs(needs_of(job)) do
    local state = state_of(need)
    if state == 'waiting' or state == 'running' then
      local needed = job_of(need)
      needed.dp = true
      touch(need, needed)
      set('dep', meta.dep + 1)
      call('ZADD', key('dep:' .. need), text(meta.dep), name)
      missing = missing + 1
    elseif state ~= 'succeeded' then
      has_failed = true
    end
  end
  job.w = missing
  if has_failed then
    finish_job(name, 'skipped', '')
  elseif missing == 0 then
    enter(name, job)
  end
end

local function submit(name, class, claims, span, delay, crash_limit, patience, needs, gate, rate, payload)
  local known = state_of(name)
  if known ~= '' then
    return { 'known', known }
  end
  if meta.open >= meta.capacity then
    return { 'full' }
  end
  for _, entry in ipairs(split(claims, LIST)) do
    local claimed, units = unpack(split(entry, PART))
    local letter, what = sub(claimed, 1, 1), sub(claimed, 3)
    if letter == 'l' and not quota(claimed) then
      return { 'limit', what }
    elseif letter == 'u' then
      local known = quota(claimed)
      if not known then
        return { 'resource', what }
      elseif units == '0' or tonumber(units) > known[2] then
        return { 'impossible', what, units, text(known[2]) }
      end
    end
  end
  for _, need in ipairs(split(needs, LIST)) do
    if not job_of(need) then
      return { 'need', need }
    end
  end
  if gate ~= '' and not use_rate(gate, rate) then
    return { 'rate', sub(gate, 3) }
  end
  open_class(class)
  records[name] = {
    l = lane_for(class, claims),
    cl = crash_limit,
    sp = span,
    nb = delay > 0 and now + delay or nil,
    g = gate ~= '' and gate or nil,
    ua = patience,
    nd = needs ~= '' and needs or nil,
  }
  if payload ~= '' then
    payloads[name] = payload
  end
  new_names[#new_names + 1] = '0'
  new_names[#new_names + 1] = name
  set('open', meta.open + 1)
  meet_needs(name)
  return { 'ok' }
end

function operations.submit()
  local answers = {}
  for at = 1, next_number() do
    local name, class, claims = next_argument(), next_argument(), next_argument()
    local span, delay, crash_limit, patience = next_number(), next_number(), next_number(), next_number()
    local needs, gate, rate, payload = next_argument(), next_argument(), next_argument(), next_argument()
    answers[at] = submit(name, class, claims, span, delay, crash_limit, patience, needs, gate, rate, payload)
  end
  return answers
end

-- Opens a session: name, slots, tasks, labels.
function operations.join()
  local name, slots, tasks, labels = next_argument(), next_argument(), next_argument(), next_argument()
  set('node', meta.node + 1)
  local node = text(meta.node)
  call('SADD', key('nodes'), node)
  call('HSET', key('n:' .. node), 'name', name, 'slots', slots, 'tasks', tasks, 'labels', labels)
  session(node)
  event('', 'J', node, name)
  for _, class in ipairs(call('SMEMBERS', key('classes'))) do
    if can_do(class, tonumber(slots), tasks, labels) then
      serve(node, class)
    end
  end
  return { node, text(meta.session) }
end

-- Returns when a node has to ask again, and makes it the one that watches the time; nothing if another idle one does.
local function next_time(node)
  local first = tonumber(call('ZRANGE', key('timers'), 0, 0, 'WITHSCORES')[2])
  if not first then
    return ''
  end
  local watcher = text(meta.watcher)
  -- One that has not come a second after its time comes no more.
  if watcher ~= node and meta.watched <= first and now < meta.watched + 1000000 and is_idle(watcher) then
    return ''
  end
  set('watcher', tonumber(node))
  set('watched', first)
  return text(max(first - now, 1))
end

-- Takes attempts for a node: node, free slots, how many at most, after how many bytes of payloads no more.
local function claim_attempts()
  local node, slots, most, bytes = next_argument(), next_number(), next_number(), next_number()
  asking = node
  if not is_alive(node) then
    return { 'lost' }
  end
  local claimed, free = claim(node, slots, most, bytes)
  local has_more = free == 0 or #claimed >= most
  if has_more then
    unset_idle(node)
  else
    set_idle(node)
  end
  if meta.idle > 0 then
    for _, class in ipairs(call('SMEMBERS', key('nc:' .. node))) do
      -- What this node left is for another one, if it took something. What it could not take may be for nobody.
      readied[class] = #claimed > 0
    end
  end
  return { 'ok', next_time(node), claimed }
end

function operations.claim()
  return claim_attempts()
end

-- Renews a session: node, and all attempts that it holds.
function operations.renew()
  local node = next_argument()
  if not is_alive(node) then
    return { 'lost' }
  end
  session(node)
  local listed = {}
  for _ = 1, next_number() do
    local name = next_argument()
    listed[name] = next_argument()
  end
  local cancelled, given = {}, {}
  for _, name in ipairs(sorted_jobs_of(node)) do
    local job = job_of(name)
    if listed[name] ~= job.f then
      given[#given + 1] = name
    elseif job.c then
      cancelled[#cancelled + 1] = name
    end
  end
  for _, name in ipairs(given) do
    not_begun(name)
  end
  return { 'ok', text(meta.session), cancelled }
end

-- Tells how attempts have ended: job, fence, how, status or delay, result or what is handed over.
local function finish_attempts()
  local answers = {}
  for at = 1, next_number() do
    local name, fence, how, detail, result =
      next_argument(), next_argument(), next_argument(), next_argument(), next_argument()
    local job = job_of(name)
    if job and job.f == fence then
      job.t = fence
      touch(name, job)
      if how == 'over' then
        release(name, job)
        finish_job(name, detail, result)
      elseif how == 'again' then
        if not job.c then
          event(result, 'R', name, detail)
        end
        hand_over(name, job, result)
        try_again(name, job, tonumber(detail))
      else
        not_begun(name)
      end
      answers[at] = 'committed'
    else
      answers[at] = job and job.t == fence and 'committed' or 'stale'
    end
  end
  return answers
end

function operations.finish()
  return finish_attempts()
end

-- Tells how attempts have ended, and takes others.
function operations.exchange()
  local answers = finish_attempts()
  -- What the ends have freed and this node does not take is for others, whatever it takes.
  local freed = readied
  readied = {}
  local claims = claim_attempts()
  for class in pairs(freed) do
    readied[class] = true
  end
  return { answers, claims }
end

-- Tells how far attempts are: job, fence, message.
function operations.progress()
  for _ = 1, next_number() do
    local name, fence, message = next_argument(), next_argument(), next_argument()
    local job = job_of(name)
    if job and job.f == fence then
      event(message, 'P', name)
    end
  end
  return {}
end

-- Cancels jobs.
function operations.cancel()
  local answers = {}
  for at = 1, next_number() do
    local name = next_argument()
    local state = state_of(name)
    if state == 'waiting' then
      finish_job(name, 'cancelled', '')
      answers[at] = 'ended'
    elseif state == 'running' then
      local job = job_of(name)
      job.c = true
      touch(name, job)
      answers[at] = 'asked'
    else
      answers[at] = state
    end
  end
  return answers
end

-- Ends the session of a node that runs nothing any more.
function operations.leave()
  local node = next_argument()
  if is_alive(node) then
    local held = remove_node(node)
    event('', 'Q', node)
    for _, name in ipairs(held) do
      not_begun(name)
    end
  end
  return {}
end

-- Returns events after a cursor: milliseconds, number, how many at most, after how many bytes no more.
function operations.events()
  local millis, number, most, bytes = next_argument(), next_argument(), next_number(), next_number()
  if (millis ~= '0' or number ~= '0') and tonumber(millis) < meta.dropped then
    return { 'expired' }
  end
  write_events()
  local after, list, total, seen, count = millis .. '-' .. number, {}, 0, 0, 16
  while total < most and seen < bytes do
    local entries = call('XRANGE', key('events'), '(' .. after, '+', 'COUNT', min(count, most - total))
    for _, entry in ipairs(entries) do
      list[#list + 1] = entry
      total = total + #entry[2] / 2
      seen = seen + #entry[2][2]
    end
    if #entries < count then
      break
    end
    after = list[#list][1]
    -- As long as they are short, more can be looked at in one go.
    count = seen < bytes / 16 and count * 2 or count
  end
  return { 'ok', list }
end

-- Returns the place of the latest event, or that of the last one that was dropped.
function operations.latest()
  write_events()
  local last = call('XREVRANGE', key('events'), '+', '-', 'COUNT', '1')
  return last[1] and last[1][1] or text(meta.dropped) .. '-0'
end

function operations.states()
  local answers = {}
  for at = 1, next_number() do
    answers[at] = state_of(next_argument())
  end
  return answers
end

function operations.status()
  local nodes = text(call('SCARD', key('nodes')))
  return { text(meta.open - meta.running), text(meta.running), nodes, text(meta.paused) }
end

function operations.pause()
  if meta.paused == 0 then
    set('paused', 1)
    event('', 'Z')
  end
  return {}
end

function operations.resume()
  if meta.paused == 1 then
    set('paused', 0)
    is_all_changed = true
    event('', 'U')
  end
  return {}
end

-- Returns the first of these jobs that would wait for itself, or for one that would.
local function circular(jobs)
  local missing, dependents, able = {}, {}, {}
  for _, name in ipairs(jobs) do
    missing[name], dependents[name] = 0, {}
  end
  for _, name in ipairs(jobs) do
    for _, need in ipairs(needs_of(job_of(name))) do
      if missing[need] then
        missing[name] = missing[name] + 1
        table.insert(dependents[need], name)
      end
    end
    if missing[name] == 0 then
      able[#able + 1] = name
    end
  end
  while #able > 0 do
    for _, dependent in ipairs(dependents[table.remove(able)]) do
      missing[dependent] = missing[dependent] - 1
      if missing[dependent] == 0 then
        able[#able + 1] = dependent
      end
    end
  end
  for _, name in ipairs(jobs) do
    if missing[name] > 0 then
      return name
    end
  end
end

-- Lets a job that has ended without success wait again, and with it those that it needs.
local function requeue(name)
  local state = state_of(name)
  if state == '' or state == 'waiting' or state == 'running' or state == 'succeeded' then
    return { state }
  end
  local ended, seen, rates, at = { name }, { [name] = true }, {}, 1
  while ended[at] do
    local job = job_of(ended[at])
    local gate, rate = job.g, job.R
    for _, need in ipairs(needs_of(job)) do
      local state = state_of(need)
      if state == '' then
        return { 'need', need }
      elseif state ~= 'waiting' and state ~= 'running' and state ~= 'succeeded' and not seen[need] then
        seen[need] = true
        ended[#ended + 1] = need
      end
    end
    if gate then
      if not rates[gate] then
        local is_used = call('HEXISTS', key('users'), gate) == 1
        rates[gate] = is_used and call('HGET', key('quota'), gate) or rate
      end
      if rates[gate] ~= rate then
        return { 'rate', sub(gate, 3) }
      end
    end
    at = at + 1
  end
  local need = circular(ended)
  if need then
    return { 'circular', need }
  end
  if meta.open + #ended > meta.capacity then
    return { 'full' }
  end
  for _, name in ipairs(ended) do
    local job = job_of(name)
    if job.g then
      use_rate(job.g, job.R)
    end
    local lane = lane_for(job.C, job.G)
    touch(name, { s = 'n', l = lane, cl = job.cl, sp = job.sp, g = job.g, ua = job.ua, nd = job.nd, t = job.t })
    set('open', meta.open + 1)
    event('', 'A', name)
  end
  for _, name in ipairs(ended) do
    meet_needs(name)
  end
  return { 'ok' }
end

function operations.requeue()
  local answers = {}
  for at = 1, next_number() do
    answers[at] = requeue(next_argument())
  end
  return answers
end

-- Forgets jobs that have ended, with their results.
function operations.purge()
  local answers = {}
  for at = 1, next_number() do
    local name = next_argument()
    local state = state_of(name)
    if state ~= '' and state ~= 'waiting' and state ~= 'running' then
      call('XDEL', key('events'), job_of(name).ev)
      forget_job(name)
      call('ZREM', key('names'), name)
      state = 'forgotten'
    end
    answers[at] = state
  end
  return answers
end

-- Returns the nodes that have a session: number, name, slots, tasks, labels, jobs, microseconds since it was renewed.
local function nodes()
  write_node_jobs()
  local list = {}
  for at, node in ipairs(call('SMEMBERS', key('nodes'))) do
    local name, slots, tasks, labels = unpack(call('HMGET', key('n:' .. node), 'name', 'slots', 'tasks', 'labels'))
    local deadline = tonumber(call('ZSCORE', key('timers'), session_timer(node)))
    local running = text(call('SCARD', key('c:' .. node)))
    list[at] = { node, name, slots, tasks, labels, running, text(meta.session - (deadline - now)) }
  end
  table.sort(list, function(one, other)
    return tonumber(one[1]) < tonumber(other[1])
  end)
  return list
end

function operations.nodes()
  return nodes()
end

-- Returns jobs by name: from where, to where, how many at most.
function operations.list()
  local names = call('ZRANGEBYLEX', key('names'), next_argument(), next_argument(), 'LIMIT', 0, next_argument())
  local list = {}
  for at, name in ipairs(names) do
    list[at] = { name, state_of(name) }
  end
  return list
end

-- Finds the running job that claims a gate.
local function holder_of(gate)
  for _, node in ipairs(call('SMEMBERS', key('nodes'))) do
    for _, name in ipairs(jobs_of(node)) do
      for _, claim in ipairs(claims_of(lane_of(job_of(name).l))) do
        if claim[1] == gate then
          return name
        end
      end
    end
  end
end

-- The reason why a gate bars a job that waits; nil if it does not.
local function bar(gate, units)
  local letter, what = sub(gate, 1, 1), sub(gate, 3)
  if letter == 'a' then
    return meta.running > 0 and { 'quiet', text(meta.running) } or nil
  elseif is_rate(gate) then
    local when = bucket_when(gate, 1)
    return when > now and { letter == 'k' and 'key' or 'rate', what, text(when - now) } or nil
  end
  local free = free_units(gate)
  if free >= units then
    return nil
  elseif letter == 'h' then
    return { 'host', what, holder_of(gate) }
  elseif letter == 'g' then
    return { 'global', holder_of(gate) }
  elseif letter == 'l' then
    return { 'limit', what, text(quota(gate)[2] - free), text(quota(gate)[2]) }
  end
  return { 'resource', what, text(units), text(free) }
end

-- Returns where a job is: attempts, state, and for each state what is known.
function operations.explain()
  local name = next_argument()
  local job = job_of(name)
  if not job then
    return { '' }
  end
  local state, attempts = job.s, text(job.a or 0)
  if state == 'e' then
    local found = call('XRANGE', key('events'), job.ev, job.ev)[1]
    local unservable = job.x and '1' or '0'
    if not found then
      return { attempts, 'ended', job.st, unservable, 'dropped' }
    end
    return { attempts, 'ended', job.st, unservable, 'kept', found[2][2] }
  elseif state == 'r' then
    return { attempts, 'running', job.n, call('HGET', key('n:' .. job.n), 'name'), job.c and '1' or '0' }
  end
  local reasons, ahead = {}, ''
  local function add(reason)
    reasons[#reasons + 1] = reason
  end
  if meta.paused == 1 then
    add({ 'paused' })
  end
  if state == 'n' then
    local open = { 'needs' }
    for _, need in ipairs(needs_of(job)) do
      local end_of_need = state_of(need)
      if end_of_need ~= 'succeeded' and end_of_need ~= '' then
        open[#open + 1] = need
      end
    end
    add(open)
  elseif state == 'd' then
    add({ 'delay', text(tonumber(call('ZSCORE', key('timers'), 'j' .. name)) - now) })
  end
  local lane = lane_of(job.l)
  if not is_served(lane.c) then
    add({ 'nodes', lane.c, nodes() })
  end
  if state == 'q' then
    ahead = text(call('ZRANK', key('q:' .. job.l), job.k .. name))
    local claims = claims_of(lane)
    if now < meta.hold and #claims > 0 then
      add({ 'failover', text(meta.hold - now) })
    end
    for _, claim in ipairs(claims) do
      local reason = bar(claim[1], claim[2])
      if reason then
        add(reason)
      end
    end
    if meta.alone == 1 then
      add({ 'alone', holder_of('a:') })
    end
  end
  return { attempts, 'waiting', ahead, reasons }
end

-- Wakes those for whom this step has something.
local function wake_nodes()
  if meta.idle == 0 then
    return
  end
  if is_all_changed then
    wake_all()
    return
  end
  if meta.paused == 0 and meta.alone == 0 then
    for class, is_ready in pairs(readied) do
      if is_ready and head_of(class) then
        wake_class(class, asking)
      end
    end
  end
  local first = tonumber(call('ZRANGE', key('timers'), 0, 0, 'WITHSCORES')[2])
  local watcher = text(meta.watcher)
  if not first or watcher == asking then
    return
  elseif not is_idle(watcher) then
    -- The one that is woken watches the time. Until it has asked, no other one is.
    if now >= meta.called + 100000 then
      set('called', now)
      wake_any()
    end
  elseif first < meta.watched then
    wake(watcher)
  end
end

-- Does one step. The server calls it by two names, of which one is refused while it has no memory.
local function step(keys, values)
  if not call then
    find_functions()
  end
  base, arguments, argument, asking = keys[1], values, 2, nil
  local operation = values[1]
  read_meta(values[2])
  if meta.v == 0 and operation ~= 'open' then
    return { 'gone' }
  elseif meta.v ~= 0 and meta.v ~= VERSION then
    return { 'version', text(meta.v) }
  end
  for _, begin in ipairs(begins) do
    begin()
  end
  is_due_timer_set = false
  advance()
  local answer = operations[operation]()
  wake_nodes()
  for _, finish in ipairs(ends) do
    finish()
  end
  save_meta()
  return { 'answer', answer }
end
