-- Wakes: idle nodes are told when there may be something for them, instead of asking all the time.
--
-- A node is idle after a claim that left it slots. A lane that becomes ready wakes one idle node of its class, and a claim that
-- leaves something ready wakes the next one, so one job does not wake a thousand nodes. One idle node watches the time: it asks
-- again at the next timer, and the others need not. A wake can be lost on its way, and so each node asks from time to time.

-- The classes of which a lane became ready in this step, and whether something changed for all lanes.
local readied, is_all_changed

begins[#begins + 1] = function()
  readied, is_all_changed = {}, false
end

local function is_idle(node)
  return meta.idle > 0 and call('SISMEMBER', key('idle'), node) == 1
end

-- Notes that a node has slots for which there is nothing.
local function set_idle(node)
  if call('SADD', key('idle'), node) == 1 then
    set('idle', meta.idle + 1)
    for _, class in ipairs(call('SMEMBERS', key('nc:' .. node))) do
      call('SADD', key('idle:' .. class), node)
    end
  end
end

local function unset_idle(node)
  if meta.idle > 0 and call('SREM', key('idle'), node) == 1 then
    set('idle', meta.idle - 1)
    for _, class in ipairs(call('SMEMBERS', key('nc:' .. node))) do
      call('SREM', key('idle:' .. class), node)
    end
  end
end

-- Has a node ask for jobs.
local function wake(node)
  unset_idle(node)
  call('PUBLISH', key('wake:' .. node), '')
end

local function wake_any()
  local node = call('SRANDMEMBER', key('idle'))
  if node then
    wake(node)
  end
end

local function wake_all()
  for _, node in ipairs(call('SMEMBERS', key('idle'))) do
    wake(node)
  end
end

-- Has a node that can do jobs of a class ask for them, but for the node that is asking now. Where jobs fill several slots, one node
-- may have too few, so all are woken.
local function wake_class(class, asking)
  local idle = key('idle:' .. class)
  if split(class, PART)[3] ~= '1' then
    for _, node in ipairs(call('SMEMBERS', idle)) do
      if node ~= asking then
        wake(node)
      end
    end
    return
  end
  for _, node in ipairs(call('SRANDMEMBER', idle, 2)) do
    if node ~= asking then
      wake(node)
      return
    end
  end
end
