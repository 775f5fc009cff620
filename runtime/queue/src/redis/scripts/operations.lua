-- The operations. Each gets its arguments from ARGV[3] on.

local operations = {}
local argument = 2
local function next_argument()
  argument = argument + 1
  return ARGV[argument]
end
local function next_number()
  return tonumber(next_argument())
end

-- Makes the queue, or finds it: version, replication id, session, retention, capacity.
function operations.open()
  local replication = next_argument()
  local session, retention, capacity, step = next_number(), next_number(), next_number(), next_number()
  if meta.v == 0 then
    set('v', VERSION)
    set('epoch', 1)
    set('session', session)
    set('retention', retention)
    set('capacity', capacity)
    call('HSET', META, 'step', text(step), 'replication', replication)
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
    if old and (old[1] ~= kind or (string.sub(gate, 1, 1) == 'u' and call('HGET', key('quota'), gate) ~= new)) then
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

local function submit(name, class, claims, span, delay, crash_limit, needs, gate, rate, payload)
  local known = state_of(name)
  if known ~= '' then
    return { 'known', known }
  end
  if meta.open >= meta.capacity then
    return { 'full' }
  end
  for _, entry in ipairs(split(claims, LIST)) do
    local claimed, units = unpack(split(entry, PART))
    local letter, what = string.sub(claimed, 1, 1), string.sub(claimed, 3)
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
  local list = split(needs, LIST)
  for _, need in ipairs(list) do
    if call('EXISTS', job_of(need)) == 0 then
      return { 'need', need }
    end
  end
  if gate ~= '' then
    local old = call('HGET', key('quota'), gate)
    if old and old ~= rate then
      if call('HEXISTS', key('users'), gate) == 1 then
        return { 'rate', string.sub(gate, 3) }
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
  end
  open_class(class)
  local fields = { 's', 'n', 'l', lane_for(class, claims), 'cl', crash_limit }
  local function add(field, value)
    fields[#fields + 1] = field
    fields[#fields + 1] = value
  end
  local not_before = 0
  if delay > 0 then
    not_before = now + delay
    add('nb', text(not_before))
  end
  if gate ~= '' then
    add('g', gate)
  end
  if payload ~= '' then
    add('p', payload)
  end
  local missing, has_failed, seen = 0, false, {}
  for _, need in ipairs(list) do
    if not seen[need] then
      seen[need] = true
      local state = state_of(need)
      if state == 'waiting' or state == 'running' then
        call('RPUSH', key('dep:' .. need), name)
        missing = missing + 1
      elseif state ~= 'succeeded' then
        has_failed = true
      end
    end
  end
  if missing > 0 then
    add('w', text(missing))
    add('sp', text(span))
  end
  call('HSET', job_of(name), unpack(fields))
  set('open', meta.open + 1)
  if has_failed then
    finish_job(name, 'skipped', '')
  elseif missing == 0 then
    enter(name, span, not_before)
  end
  return { 'ok' }
end

function operations.submit()
  local answers = {}
  for at = 1, next_number() do
    local name, class, claims = next_argument(), next_argument(), next_argument()
    local span, delay, crash_limit = next_number(), next_number(), next_argument()
    local needs, gate, rate, payload = next_argument(), next_argument(), next_argument(), next_argument()
    answers[at] = submit(name, class, claims, span, delay, crash_limit, needs, gate, rate, payload)
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
  event('t', 'J', 'n', node, 'm', name)
  for _, class in ipairs(call('SMEMBERS', key('classes'))) do
    if can_do(class, tonumber(slots), tasks, labels) then
      serve(node, class)
    end
  end
  return { node, text(meta.session) }
end

-- Takes attempts for a node: node, free slots, how many at most.
function operations.claim()
  local node, slots, most = next_argument(), next_number(), next_number()
  if not is_alive(node) then
    return { 'lost' }
  end
  local claimed = claim(node, slots, most)
  local first = call('ZRANGE', TIMERS, 0, 0, 'WITHSCORES')[2]
  return { 'ok', first and text(max(tonumber(first) - now, 1)) or '', claimed }
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
  for _, name in ipairs(members(key('c:' .. node))) do
    local fence, is_cancelled = fields(name, 'f', 'c')
    if listed[name] ~= fence then
      given[#given + 1] = name
    elseif is_cancelled then
      cancelled[#cancelled + 1] = name
    end
  end
  for _, name in ipairs(given) do
    not_begun(name)
  end
  return { 'ok', text(meta.session), cancelled }
end

-- Tells how attempts have ended: job, fence, how, status or delay, result.
function operations.finish()
  local answers = {}
  for at = 1, next_number() do
    local name, fence, how, detail, result =
      next_argument(), next_argument(), next_argument(), next_argument(), next_argument()
    local current, told, cancelled = fields(name, 'f', 't', 'c')
    if current == fence then
      call('HSET', job_of(name), 't', fence)
      if how == 'over' then
        release(name)
        finish_job(name, detail, result)
      elseif how == 'again' then
        if not cancelled then
          event('t', 'R', 'j', name, 'd', detail)
        end
        try_again(name, tonumber(detail))
      else
        not_begun(name)
      end
      answers[at] = 'committed'
    else
      answers[at] = told == fence and 'committed' or 'stale'
    end
  end
  return answers
end

-- Tells how far attempts are: job, fence, message.
function operations.progress()
  for _ = 1, next_number() do
    local name, fence, message = next_argument(), next_argument(), next_argument()
    if fields(name, 'f') == fence then
      event('t', 'P', 'j', name, 'm', message)
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
      call('HSET', job_of(name), 'c', '1')
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
    event('t', 'Q', 'n', node)
    for _, name in ipairs(held) do
      not_begun(name)
    end
  end
  return {}
end

-- Returns events after a cursor: milliseconds, number, how many at most.
function operations.events()
  local millis, number, most = next_argument(), next_argument(), next_argument()
  if (millis ~= '0' or number ~= '0') and tonumber(millis) < meta.dropped then
    return { 'expired' }
  end
  return { 'ok', call('XRANGE', key('events'), '(' .. millis .. '-' .. number, '+', 'COUNT', most) }
end

-- Returns the place of the latest event, or that of the last one that was dropped.
function operations.latest()
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
  return { text(meta.open - meta.running), text(meta.running), text(call('SCARD', key('nodes'))) }
end

if operation ~= 'open' then
  if meta.v == 0 then
    return { 'gone' }
  end
end
if meta.v ~= 0 and meta.v ~= VERSION then
  return { 'version', text(meta.v) }
end
advance()
local answer = operations[operation]()
save()
return { 'answer', answer }
