-- Events, and the records of jobs that a step reads and changes.

-- The events of this step that are not in the stream yet: a head and a body of each.
local events

-- Writes them as one entry, whose place is that of the last of them. The others have the places before it.
local function write_events()
  if #events > 0 then
    call('XADD', key('events'), text(meta.em) .. '-' .. text(meta.en), unpack(events))
    events = {}
  end
end

-- Adds an event: its body, its letter, and its parts. Returns its place.
local function event(body, ...)
  local millis = floor(now / 1000)
  if millis > meta.em then
    write_events()
    set('em', millis)
    set('en', 0)
  else
    if #events >= MOST_VALUES then
      write_events()
    end
    set('en', meta.en + 1)
  end
  events[#events + 1] = table.concat({ ... }, PART)
  events[#events + 1] = body
  return text(meta.em) .. '-' .. text(meta.en)
end

-- Adds an event that can be taken away, and so is an entry of its own.
local function single_event(body, ...)
  write_events()
  local place = event(body, ...)
  write_events()
  return place
end

-- How many records are kept at once. A step that ends many jobs writes them in between.
local MOST_RECORDS = 5000

-- The records that are known, by name; false for a job that is not there. Those that have changed, and payloads to write.
local records, record_count, changed_records, payloads

local function job_key(name)
  return key('j:' .. name)
end

-- Returns the record of a job; nil if there is none. Whoever changes it says so with touch.
local function job_of(name)
  local job = records[name]
  if job == nil then
    local packed = call('HGET', job_key(name), 'd')
    job = packed and parse(packed) or false
    records[name] = job
    record_count = record_count + 1
  end
  return job or nil
end

-- Returns the payload of a job, and reads its record along with it.
local function payload_of(name)
  if payloads[name] then
    return payloads[name]
  end
  local packed, payload = unpack(call('HMGET', job_key(name), 'd', 'p'))
  if records[name] == nil then
    records[name] = parse(packed)
    record_count = record_count + 1
  end
  return payload or ''
end

-- Keeps what an attempt hands over to the next one.
local function hand_over(name, job, handover)
  if handover ~= '' then
    call('HSET', job_key(name), 'h', handover)
  elseif job.h then
    call('HDEL', job_key(name), 'h')
  end
  job.h = handover ~= '' or nil
end

local function handover_of(name, job)
  return job.h and call('HGET', job_key(name), 'h') or ''
end

local function touch(name, job)
  records[name] = job
  changed_records[name] = true
end

local function forget_job(name)
  records[name] = false
  changed_records[name] = nil
  payloads[name] = nil
  call('DEL', job_key(name))
end

local function save_jobs()
  for name in pairs(changed_records) do
    local payload = payloads[name]
    if payload then
      call('HSET', job_key(name), 'd', pack(records[name]), 'p', payload)
    else
      call('HSET', job_key(name), 'd', pack(records[name]))
    end
  end
  records, record_count, changed_records, payloads = {}, 0, {}, {}
end

-- Writes and forgets what is known of jobs if that is much. Nobody may hold a record meanwhile.
local function bound_records()
  if record_count > MOST_RECORDS then
    save_jobs()
  end
end

-- The jobs of nodes that this step adds (true) and takes away (false).
local node_jobs

local function note_node_job(node, name, is_there)
  local jobs = node_jobs[node]
  if not jobs then
    jobs = {}
    node_jobs[node] = jobs
  end
  jobs[name] = is_there
end

local function write_node_jobs()
  for node, jobs in pairs(node_jobs) do
    local added, removed = {}, {}
    for name, is_there in pairs(jobs) do
      local list = is_there and added or removed
      list[#list + 1] = name
    end
    call_with_all('SADD', key('c:' .. node), added)
    call_with_all('SREM', key('c:' .. node), removed)
  end
  node_jobs = {}
end

-- Returns the jobs that a node holds.
local function jobs_of(node)
  write_node_jobs()
  return call('SMEMBERS', key('c:' .. node))
end

-- Names of new jobs, and ends, that are written after a step.
local new_names, new_ends

begins[#begins + 1] = function()
  events, node_jobs, new_names, new_ends = {}, {}, {}, {}
  records, record_count, changed_records, payloads = {}, 0, {}, {}
end

ends[#ends + 1] = function()
  save_jobs()
  write_events()
  write_node_jobs()
  call_with_all('ZADD', key('names'), new_names)
  call_with_all('RPUSH', key('ended'), new_ends)
end
