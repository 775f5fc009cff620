-- Lanes: jobs that claim the same and that the same nodes can do. Only the first job of a lane is looked at.

-- How many jobs of a lane without claims, and how many lanes of a class, are read at once. A claim sets it to what it may take.
local read_ahead

-- Lanes that are known, and those that have changed.
local lanes, changed_lanes
-- Lanes by class and claims, as far as they are known.
local lane_ids
-- Lanes that are ready, by class: those that are known, from the front, and what changes.
local readies, ready_changes

local function lane_of(id)
  local lane = lanes[id]
  if not lane then
    lane = parse(call('GET', key('L:' .. id)))
    lane.id = id
    lanes[id] = lane
  end
  return lane
end

local function save_lane(lane)
  changed_lanes[lane.id] = lane
end

-- The claims of a lane: {gate, units}, in the order in which they are looked at.
local claims_by_text = {}
local function claims_of(lane)
  local claims = claims_by_text[lane.g]
  if not claims then
    claims = {}
    for at, entry in ipairs(split(lane.g, LIST)) do
      local gate, units = unpack(split(entry, PART))
      claims[at] = { gate, tonumber(units) }
    end
    claims_by_text[lane.g] = claims
  end
  return claims
end

-- The turns of a lane, which are its queued jobs by due time and arrival. This is what a step knows of them, beside the record of the
-- lane: jobs to add, how many it has taken from the front, and what it has read there.
local turns

local function turns_of(lane)
  local own = turns[lane.id]
  if not own then
    own = { added = {}, taken = 0, read = {}, at = 1, is_read = false, is_all_read = false }
    turns[lane.id] = own
  end
  return own
end

-- Writes what has changed of the turns of a lane, and forgets what was read.
local function settle_turns(lane)
  local own = turns[lane.id]
  if own then
    if own.taken > 0 then
      call('ZREMRANGEBYRANK', key('q:' .. lane.id), 0, own.taken - 1)
    end
    call_with_all('ZADD', key('q:' .. lane.id), own.added)
    turns[lane.id] = nil
  end
end

local function add_turn(lane, due, member)
  local own = turns_of(lane)
  if own.is_read then
    settle_turns(lane)
    own = turns_of(lane)
  end
  own.added[#own.added + 1] = text(due)
  own.added[#own.added + 1] = member
end

local function remove_turn(lane, member)
  settle_turns(lane)
  call('ZREM', key('q:' .. lane.id), member)
end

-- Returns the first turn of a lane: its member and its due time; nil if there is none.
local function first_turn(lane)
  local own = turns_of(lane)
  if own.added[1] then
    settle_turns(lane)
    own = turns_of(lane)
  end
  if not own.read[own.at] and not own.is_all_read then
    local count = lane.g == '' and read_ahead or 2
    own.read = call('ZRANGE', key('q:' .. lane.id), own.taken, own.taken + count - 1, 'WITHSCORES')
    own.at, own.is_read, own.is_all_read = 1, true, #own.read < 2 * count
  end
  return own.read[own.at], tonumber(own.read[own.at + 1])
end

-- Takes the first turn of a lane, and returns its member.
local function take_turn(lane)
  local member = first_turn(lane)
  local own = turns[lane.id]
  own.at, own.taken = own.at + 2, own.taken + 1
  return member
end

-- Notes that a lane is ready with a member and a due time, or is not any more without one. What came and goes in one step is never
-- written.
local function note_ready(class, member, due)
  local changes = ready_changes[class]
  if not changes then
    changes = { dues = {}, is_new = {} }
    ready_changes[class] = changes
  end
  local dues, is_new = changes.dues, changes.is_new
  if due then
    is_new[member] = dues[member] == nil or is_new[member]
    dues[member] = due
  elseif is_new[member] then
    dues[member], is_new[member] = nil, nil
  else
    dues[member] = false
  end
end

local function write_ready(class)
  local changes, added, removed = ready_changes[class], {}, {}
  for member, due in pairs(changes and changes.dues or {}) do
    if due then
      added[#added + 1] = text(due)
      added[#added + 1] = member
    else
      removed[#removed + 1] = member
    end
  end
  call_with_all('ZREM', key('ready:' .. class), removed)
  call_with_all('ZADD', key('ready:' .. class), added)
  ready_changes[class] = nil
end

-- The first ready lane of a class: due time, arrival and lane; false if there is none.
local function head_of(class)
  local ready = readies[class]
  if not ready or (not ready[ready.at] and not ready.is_all) then
    write_ready(class)
    local read = call('ZRANGE', key('ready:' .. class), 0, read_ahead - 1, 'WITHSCORES')
    ready = { at = 1, is_all = #read < 2 * read_ahead }
    for at = 1, #read, 2 do
      local member = read[at]
      ready[#ready + 1] = { tonumber(read[at + 1]), sub(member, 1, 12), sub(member, 13) }
    end
    readies[class] = ready
  end
  return ready[ready.at] or false
end

begins[#begins + 1] = function()
  lanes, changed_lanes, turns, readies, ready_changes, claims_by_text = {}, {}, {}, {}, {}, {}
  lane_ids, read_ahead = {}, 2
end

ends[#ends + 1] = function()
  for id in pairs(turns) do
    settle_turns(lane_of(id))
  end
  for class in pairs(ready_changes) do
    write_ready(class)
  end
  for id, lane in pairs(changed_lanes) do
    lane.id = nil
    call('SET', key('L:' .. id), pack(lane))
  end
end

local function point_of(gate, units, class)
  return gate .. LIST .. text(units) .. LIST .. class
end

local function is_host(gate)
  return sub(gate, 1, 1) == 'h'
end

local function gate_of(point)
  return sub(point, 1, find(point, LIST, 1, true) - 1)
end

local function add_ready(lane)
  note_ready(lane.c, lane.m, lane.d)
  readied[lane.c] = true
  local ready = readies[lane.c]
  if not ready then
    return
  end
  local arrival, at = sub(lane.m, 1, 12), ready.at
  while ready[at] and is_before(ready[at][1], ready[at][2], lane.d, arrival) do
    at = at + 1
  end
  local entry = { lane.d, arrival, lane.id }
  if at == ready.at then
    if ready[at] or ready.is_all then
      ready.at = at - 1
      ready[at - 1] = entry
    end
  elseif ready[at] or ready.is_all then
    table.insert(ready, at, entry)
  end
  -- What comes after all that was read of a longer list is read later.
end

local function remove_ready(lane)
  note_ready(lane.c, lane.m)
  local ready = readies[lane.c]
  local at = ready and ready.at
  while ready and ready[at] do
    if ready[at][3] == lane.id then
      if at == ready.at then
        ready.at = at + 1
      else
        table.remove(ready, at)
      end
      return
    end
    at = at + 1
  end
end

-- Takes a lane from where it waits.
local function unplace(lane)
  if lane.z == 'r' then
    remove_ready(lane)
  elseif lane.z ~= '' then
    local gate = gate_of(lane.z)
    if is_host(gate) and waiter_of(gate) == lane.id then
      set_waiter(gate, '')
      return
    end
    call('ZREM', key('w:' .. lane.z), lane.m)
    if call('EXISTS', key('w:' .. lane.z)) == 0 then
      call('ZREM', key('p:' .. gate), lane.z)
      if is_host(gate) and call('EXISTS', key('p:' .. gate)) == 0 then
        set_waiter(gate, '')
      end
    end
  end
end

local function add_waiting(lane, gate, units)
  call('ZADD', key('w:' .. lane.z), text(lane.d), lane.m)
  call('ZADD', key('p:' .. gate), units, lane.z)
end

-- Lets a lane wait at its point, which is one of a gate. At most hosts only one lane waits, which is kept beside what is held.
local function place_waiting(lane, gate, units)
  if not is_host(gate) then
    return add_waiting(lane, gate, units)
  end
  local waiter = waiter_of(gate)
  if waiter == '' then
    return set_waiter(gate, lane.id)
  elseif waiter ~= '*' then
    add_waiting(lane_of(waiter), gate, units)
    set_waiter(gate, '*')
  end
  add_waiting(lane, gate, units)
end

-- Makes the first lane that waits at a point ready.
local function wake_point(point)
  local gate, lane = gate_of(point), nil
  local waiter = is_host(gate) and waiter_of(gate) or '*'
  if waiter == '' then
    return
  elseif waiter ~= '*' then
    lane = lane_of(waiter)
    if lane.z ~= point then
      return
    end
  else
    local first = call('ZRANGE', key('w:' .. point), 0, 0)[1]
    if not first then
      return
    end
    lane = lane_of(sub(first, 13))
  end
  unplace(lane)
  lane.z, lane.f = 'r', point
  save_lane(lane)
  add_ready(lane)
end

-- Makes the first lane of each point of a gate ready that what is free may suffice for.
function wake_gate(gate)
  local letter = sub(gate, 1, 1)
  local points
  local waiter = letter == 'h' and waiter_of(gate) or '*'
  if waiter == '' then
    return
  elseif waiter ~= '*' then
    return wake_point(lane_of(waiter).z)
  elseif letter == 'u' then
    points = call('ZRANGEBYSCORE', key('p:' .. gate), '-inf', text(free_units(gate)))
  else
    points = call('ZRANGE', key('p:' .. gate), 0, -1)
  end
  for _, point in ipairs(points) do
    wake_point(point)
  end
end

-- Lets go of all that is kept for a lane.
local function unkeep(lane)
  if meta.ql == tonumber(lane.id) and meta.qd > 0 then
    set('qd', 0)
    is_all_changed = true
  end
  if lane.kp == '' then
    return
  end
  local gates = split(lane.kp, LIST)
  lane.kp = ''
  save_lane(lane)
  for _, gate in ipairs(gates) do
    local stored = call('HGET', key('kept'), gate)
    if stored and split(stored, LIST)[3] == lane.id then
      call('HDEL', key('kept'), gate)
      set('kept', meta.kept - 1)
      wake_gate(gate)
    end
  end
end

-- Keeps what is free of a due lane's other claims. Where a lane that is ahead has it, it stays there.
local function keep(lane, barred)
  local arrival = sub(lane.m, 1, 12)
  for _, claim in ipairs(claims_of(lane)) do
    local gate, units = claim[1], claim[2]
    if gate ~= barred and gate ~= 'a:' and is_free(gate, units, lane) then
      local stored = call('HGET', key('kept'), gate)
      if not stored then
        set('kept', meta.kept + 1)
      end
      call('HSET', key('kept'), gate, table.concat({ text(lane.d), arrival, lane.id, text(units), lane.c }, LIST))
      if not find(LIST .. lane.kp .. LIST, LIST .. gate .. LIST, 1, true) then
        lane.kp = lane.kp == '' and gate or (lane.kp .. LIST .. gate)
      end
    end
  end
  save_lane(lane)
end

-- Puts a lane where its first job belongs, after that has changed. The turn of that job is read unless the caller knows it.
local function reposition(lane, member, due)
  unkeep(lane)
  if not member then
    member, due = first_turn(lane)
  end
  local from = lane.f
  if lane.z ~= '' and lane.z ~= 'r' then
    from = lane.z
  end
  unplace(lane)
  lane.f = ''
  if member then
    lane.z, lane.m, lane.d = 'r', sub(member, 1, 12) .. lane.id, due
    add_ready(lane)
  else
    lane.z, lane.m = '', ''
  end
  save_lane(lane)
  -- Another lane may be first there now.
  if from ~= '' then
    wake_point(from)
  end
end

-- Lets a lane wait at a gate that bars it.
local function park(lane, gate, units)
  local point = point_of(gate, units, lane.c)
  local from = lane.f
  unplace(lane)
  lane.z, lane.f = point, ''
  save_lane(lane)
  place_waiting(lane, gate, units)
  if gate == 'x:' then
    timer(meta.hold, 'g' .. gate)
  elseif gate ~= 'a:' and is_rate(gate) then
    local when = bucket_when(gate, units)
    if when and when <= now then
      when = bucket_when(gate, units + kept_units(gate, lane))
    end
    if when then
      timer(max(when, now + 1), 'g' .. gate)
    end
  end
  -- A lane that falls due keeps what is free of its other claims. One that has none needs no timer for that.
  if lane.d > now and claims_of(lane)[2] then
    timer(lane.d, 'd' .. lane.id)
  end
  if from ~= '' and from ~= point then
    wake_point(from)
  end
end

-- Leaves a lane without claims where it is, with its next job, if that is still the first of all that are ready.
local function stay_ready(lane)
  local ready, member, due = readies[lane.c], first_turn(lane)
  local first, second = ready and ready[ready.at], ready and ready[ready.at + 1]
  if not member or not first or first[3] ~= lane.id or lane.f ~= '' or lane.kp ~= '' then
    return false
  end
  local arrival = sub(member, 1, 12)
  if second and not is_before(due, arrival, second[1], second[2]) or not second and not ready.is_all then
    return false
  end
  note_ready(lane.c, lane.m)
  first[1], first[2] = due, arrival
  lane.m, lane.d = arrival .. lane.id, due
  note_ready(lane.c, lane.m, due)
  save_lane(lane)
  return true
end

-- Puts a lane of which a job has just started where its next one belongs. If that needs a host, this job has it, so the lane waits
-- there at once, without being looked at again.
local function reposition_started(lane)
  local first = claims_of(lane)[1]
  if not first and stay_ready(lane) then
    return
  elseif not first or sub(first[1], 1, 2) ~= 'h:' then
    return reposition(lane)
  end
  local member, due = first_turn(lane)
  if not member then
    return reposition(lane)
  end
  unkeep(lane)
  unplace(lane)
  lane.z, lane.m, lane.d = '', sub(member, 1, 12) .. lane.id, due
  park(lane, first[1], first[2])
end

-- Makes a lane ready because its first job has fallen due: it may keep something from now on.
local function fall_due(lane)
  if lane.z ~= '' and lane.z ~= 'r' then
    local point = lane.z
    unplace(lane)
    lane.z, lane.f = 'r', point
    save_lane(lane)
    add_ready(lane)
  end
end

-- The first claim of a lane that is not free, with its units and whether what comes before it is.
local function obstacle(lane)
  local claims = claims_of(lane)
  if now < meta.hold and #claims > 0 then
    return 'x:', 1, false
  end
  for at, claim in ipairs(claims) do
    local gate, units = claim[1], claim[2]
    if not is_free(gate, units, lane) then
      local letter = sub(gate, 1, 1)
      return gate, units, not (at == 1 and (letter == 'h' or letter == 'k'))
    end
  end
  return nil
end

-- Finds or makes the lane of a class and claims, and counts a job of it.
local function lane_for(class, claims)
  local name = class .. '\29' .. claims
  local id = lane_ids[name] or call('HGET', key('lanes'), name)
  if not id then
    set('lane', meta.lane + 1)
    id = text(meta.lane)
    call('HSET', key('lanes'), name, id)
    lanes[id] = { id = id, c = class, g = claims, n = 0, z = '', m = '', d = 0, f = '', kp = '' }
  end
  lane_ids[name] = id
  local lane = lane_of(id)
  lane.n = lane.n + 1
  save_lane(lane)
  return id
end

-- Counts a job of a lane down. The last one removes the lane.
local function leave_lane(id)
  local lane = lane_of(id)
  lane.n = lane.n - 1
  save_lane(lane)
  if lane.n == 0 then
    settle_turns(lane)
    call('HDEL', key('lanes'), lane.c .. '\29' .. lane.g)
    call('DEL', key('L:' .. id))
    lanes[id], changed_lanes[id], lane_ids[lane.c .. '\29' .. lane.g] = nil, nil, nil
  end
end
