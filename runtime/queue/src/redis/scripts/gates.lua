-- Gates: how much is free of what jobs claim, and who waits for it.

local wake_gate

-- Quotas that are known, what is held of gates and who waits there, and the gates of which that has changed.
local quotas, held, waiters, changed_held

begins[#begins + 1] = function()
  quotas, held, waiters, changed_held = {}, {}, {}, {}
end

ends[#ends + 1] = function()
  local stored, removed = {}, {}
  for gate in pairs(changed_held) do
    if held[gate] == 0 and waiters[gate] == '' then
      removed[#removed + 1] = gate
    else
      stored[#stored + 1] = gate
      stored[#stored + 1] = waiters[gate] == '' and text(held[gate]) or (text(held[gate]) .. ' ' .. waiters[gate])
    end
  end
  call_with_all('HSET', key('held'), stored)
  call_with_all('HDEL', key('held'), removed)
end

local function held_of(gate)
  local units = held[gate]
  if not units then
    local stored = call('HGET', key('held'), gate)
    local parts = stored and split(stored, ' ')
    units = parts and tonumber(parts[1]) or 0
    held[gate], waiters[gate] = units, parts and parts[2] or ''
  end
  return units
end

local function hold(gate, units)
  held[gate] = held_of(gate) + units
  changed_held[gate] = true
end

-- The only lane that waits at a host; * if several do, or one that is among those of its point; '' if none does.
local function waiter_of(gate)
  held_of(gate)
  return waiters[gate]
end

local function set_waiter(gate, waiter)
  held_of(gate)
  waiters[gate] = waiter
  changed_held[gate] = true
end

-- The quota of a limit, a resource or a rate key: {kind, ..}.
local function quota(gate)
  local known = quotas[gate]
  if known == nil then
    local stored = call('HGET', key('quota'), gate)
    known = stored and split(stored, ' ') or false
    if known then
      for at = 2, #known do
        known[at] = tonumber(known[at])
      end
    end
    quotas[gate] = known
  end
  return known
end

-- A bucket is the moment at which it is full again: whole microseconds, and a rest in units of 1 / den. See src/rates.rs.
local function bucket(gate)
  local stored = call('HGET', key('buckets'), gate)
  if stored then
    local parts = split(stored, ' ')
    return tonumber(parts[1]), tonumber(parts[2])
  end
  if meta.empty > 0 then
    -- After a failover nobody knows which tokens were taken, so all of them were.
    local q = quota(gate)
    local rest = q[5] * q[3]
    return meta.empty + q[5] * q[2] + floor(rest / q[4]), rest % q[4]
  end
  return 0, 0
end

-- The moment from which a bucket has this many tokens; nil if it never has.
local function bucket_when(gate, tokens)
  local q = quota(gate)
  local whole, rest, den, burst = q[2], q[3], q[4], q[5]
  if tokens > burst then
    return nil
  end
  local full, part = bucket(gate)
  local slack = (burst - tokens) * rest
  full = full - (burst - tokens) * whole - floor(slack / den)
  part = part - slack % den
  if part < 0 then
    full, part = full - 1, part + den
  end
  return part > 0 and full + 1 or full
end

local function take_token(gate)
  local q = quota(gate)
  local full, part = bucket(gate)
  if full < now then
    full, part = now, 0
  end
  full, part = full + q[2], part + q[3]
  if part >= q[4] then
    full, part = full + 1, part - q[4]
  end
  call('HSET', key('buckets'), gate, text(full) .. ' ' .. text(part))
end

local function is_rate(gate)
  local letter = sub(gate, 1, 1)
  return letter == 'k' or (letter == 'l' and quota(gate)[1] == 'rate')
end

-- The units of a gate that nobody holds.
local function free_units(gate)
  local letter = sub(gate, 1, 1)
  if letter == 'h' or letter == 'g' then
    return 1 - held_of(gate)
  end
  return quota(gate)[2] - held_of(gate)
end

local function is_served(class)
  return tonumber(call('HGET', key('cn'), class) or '0') > 0
end

local function is_before(due, arrival, other_due, other_arrival)
  return due < other_due or (due == other_due and arrival < other_arrival)
end

-- What is kept of a gate for a due lane that is ahead of this one.
local function kept_units(gate, lane)
  if meta.kept == 0 then
    return 0
  end
  local stored = call('HGET', key('kept'), gate)
  if not stored then
    return 0
  end
  local due, arrival, holder, units, class = unpack(split(stored, LIST))
  if holder == lane.id or not is_before(tonumber(due), arrival, lane.d, sub(lane.m, 1, 12)) then
    return 0
  end
  -- Nobody can start the job for which it is kept.
  if not is_served(class) then
    return 0
  end
  return tonumber(units)
end

local function is_free(gate, units, lane)
  local letter = sub(gate, 1, 1)
  if letter == 'a' then
    return meta.running == 0
  end
  units = units + kept_units(gate, lane)
  if is_rate(gate) then
    local when = bucket_when(gate, units)
    return when ~= nil and when <= now
  end
  return free_units(gate) >= units
end

-- Takes units of a gate, and returns the identities among them.
local function take(gate, units)
  local letter = sub(gate, 1, 1)
  if letter == 'a' then
    set('alone', 1)
    return nil
  end
  if is_rate(gate) then
    take_token(gate)
    return nil
  end
  hold(gate, units)
  if letter ~= 'u' or quota(gate)[1] ~= 'named' then
    return nil
  end
  local taken = call('ZPOPMIN', key('ids:' .. gate), units)
  local parts = { gate }
  for at = 1, #taken do
    parts[#parts + 1] = taken[at]
  end
  return table.concat(parts, PART)
end

-- Gives units of a gate back, and wakes who waits for them.
local function give_back(gate, units)
  local letter = sub(gate, 1, 1)
  if letter == 'a' then
    set('alone', 0)
    is_all_changed = true
    return
  end
  if is_rate(gate) then
    return
  end
  hold(gate, -units)
  wake_gate(gate)
end

local function give_back_identities(joined)
  for _, entry in ipairs(split(joined or '', LIST)) do
    local parts = split(entry, PART)
    for at = 2, #parts, 2 do
      call('ZADD', key('ids:' .. parts[1]), parts[at + 1], parts[at])
    end
  end
end
