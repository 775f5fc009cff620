-- Lanes: jobs that claim the same and that the same nodes can do. Only the first job of a lane is looked at.

-- The heads of ready:CLASS that are known, which changes forget.
local heads = {}

local lanes = {}
local function lane_of(id)
  local lane = lanes[id]
  if not lane then
    local values = call('HMGET', key('L:' .. id), 'c', 'g', 'z', 'm', 'd', 'f', 'kp')
    lane = {
      id = id,
      c = values[1],
      g = values[2],
      z = values[3] or '',
      m = values[4] or '',
      d = tonumber(values[5] or '0'),
      f = values[6] or '',
      kp = values[7] or '',
    }
    lanes[id] = lane
  end
  return lane
end

-- The claims of a lane: {gate, units}, in the order in which they are looked at.
local function claims_of(lane)
  if not lane.claims then
    lane.claims = {}
    for at, entry in ipairs(split(lane.g, LIST)) do
      local gate, units = unpack(split(entry, PART))
      lane.claims[at] = { gate, tonumber(units) }
    end
  end
  return lane.claims
end

local function save_lane(lane)
  call('HSET', key('L:' .. lane.id), 'z', lane.z, 'm', lane.m, 'd', text(lane.d), 'f', lane.f)
end

local function point_of(gate, units, class)
  return gate .. LIST .. text(units) .. LIST .. class
end

local function gate_of(point)
  return string.sub(point, 1, string.find(point, LIST, 1, true) - 1)
end

local function add_ready(lane)
  call('ZADD', key('ready:' .. lane.c), text(lane.d), lane.m)
  heads[lane.c] = nil
  readied[lane.c] = true
end

-- Takes a lane from where it waits.
local function unplace(lane)
  if lane.z == 'r' then
    call('ZREM', key('ready:' .. lane.c), lane.m)
    heads[lane.c] = nil
  elseif lane.z ~= '' then
    call('ZREM', key('w:' .. lane.z), lane.m)
    if call('EXISTS', key('w:' .. lane.z)) == 0 then
      call('ZREM', key('p:' .. gate_of(lane.z)), lane.z)
    end
  end
end

-- Makes the first lane that waits at a point ready.
local function wake_point(point)
  local first = call('ZRANGE', key('w:' .. point), 0, 0)[1]
  if not first then
    return
  end
  local lane = lane_of(string.sub(first, 13))
  unplace(lane)
  lane.z, lane.f = 'r', point
  save_lane(lane)
  add_ready(lane)
end

-- Makes the first lane of each point of a gate ready that what is free may suffice for.
function wake_gate(gate)
  local letter = string.sub(gate, 1, 1)
  local points
  if letter == 'u' then
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
  call('HDEL', key('L:' .. lane.id), 'kp')
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
  local arrival = string.sub(lane.m, 1, 12)
  for _, claim in ipairs(claims_of(lane)) do
    local gate, units = claim[1], claim[2]
    if gate ~= barred and gate ~= 'a:' and is_free(gate, units, lane) then
      local stored = call('HGET', key('kept'), gate)
      if not stored then
        set('kept', meta.kept + 1)
      end
      call('HSET', key('kept'), gate, table.concat({ text(lane.d), arrival, lane.id, text(units), lane.c }, LIST))
      if not string.find(LIST .. lane.kp .. LIST, LIST .. gate .. LIST, 1, true) then
        lane.kp = lane.kp == '' and gate or (lane.kp .. LIST .. gate)
      end
    end
  end
  if lane.kp ~= '' then
    call('HSET', key('L:' .. lane.id), 'kp', lane.kp)
  end
end

-- Puts a lane where its first job belongs, after that has changed.
local function reposition(lane)
  unkeep(lane)
  local head = call('ZRANGE', key('q:' .. lane.id), 0, 0, 'WITHSCORES')
  local from = lane.f
  if lane.z ~= '' and lane.z ~= 'r' then
    from = lane.z
  end
  unplace(lane)
  lane.f = ''
  if #head == 0 then
    lane.z, lane.m = '', ''
    save_lane(lane)
  else
    lane.z, lane.m, lane.d = 'r', string.sub(head[1], 1, 12) .. lane.id, tonumber(head[2])
    save_lane(lane)
    add_ready(lane)
  end
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
  call('ZADD', key('w:' .. point), text(lane.d), lane.m)
  call('ZADD', key('p:' .. gate), units, point)
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
  if lane.d > now then
    timer(lane.d, 'd' .. lane.id)
  end
  if from ~= '' and from ~= point then
    wake_point(from)
  end
end

-- Puts a lane of which a job has just started where its next one belongs. If that needs a host, this job has it, so the lane waits
-- there at once, without being looked at again.
local function reposition_started(lane)
  local first = claims_of(lane)[1]
  if not first or string.sub(first[1], 1, 2) ~= 'h:' then
    return reposition(lane)
  end
  local head = call('ZRANGE', key('q:' .. lane.id), 0, 0, 'WITHSCORES')
  if #head == 0 then
    return reposition(lane)
  end
  unkeep(lane)
  unplace(lane)
  lane.z, lane.m, lane.d = '', string.sub(head[1], 1, 12) .. lane.id, tonumber(head[2])
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
      local letter = string.sub(gate, 1, 1)
      return gate, units, not (at == 1 and (letter == 'h' or letter == 'k'))
    end
  end
  return nil
end

-- Finds or makes the lane of a class and claims.
local function lane_for(class, claims)
  local name = class .. '\29' .. claims
  local id = call('HGET', key('lanes'), name)
  if not id then
    set('lane', meta.lane + 1)
    id = text(meta.lane)
    call('HSET', key('lanes'), name, id)
    call('HSET', key('L:' .. id), 'c', class, 'g', claims)
  end
  call('HINCRBY', key('L:' .. id), 'n', 1)
  return id
end

-- Counts a job of a lane down. The last one removes the lane.
local function leave_lane(id)
  if call('HINCRBY', key('L:' .. id), 'n', -1) == 0 then
    local lane = lane_of(id)
    call('HDEL', key('lanes'), lane.c .. '\29' .. lane.g)
    call('DEL', key('L:' .. id))
    lanes[id] = nil
  end
end
