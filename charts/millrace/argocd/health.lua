-- The health of a Connector, Source, Flow or Job of Millrace, from its conditions. One rule for all four kinds.
-- In: obj, the resource as it is in the cluster. Out: status (Healthy, Progressing, Degraded, Suspended) and message.
local function condition(kind)
  local status = obj.status or {}
  for _, one in ipairs(status.conditions or {}) do
    if one.type == kind then
      return one
    end
  end
  return {}
end

local function health(status, message)
  return { status = status, message = message or "" }
end

local ready = condition("Ready")
local observed = obj.status ~= nil and obj.status.observedGeneration or 0

if ready.status == nil then
  return health("Progressing", "Waiting for Millrace to look at it")
end
if obj.metadata.generation ~= nil and observed < obj.metadata.generation then
  return health("Progressing", "Waiting for Millrace to look at the latest change")
end
-- What waits for a person stays as it is until somebody does something.
local stalled = condition("Stalled")
if stalled.status == "True" then
  return health("Degraded", stalled.message)
end
-- Only a Job has this one. A Job that has ended is not looked at further.
local succeeded = condition("Succeeded")
if succeeded.status == "True" then
  return health("Healthy", succeeded.message)
end
if succeeded.status == "False" then
  return health("Degraded", succeeded.message)
end
if ready.status == "True" and ready.reason == "Suspended" then
  return health("Suspended", ready.message)
end
local reconciling = condition("Reconciling")
if reconciling.status == "True" then
  return health("Progressing", reconciling.message)
end
if ready.status == "False" then
  return health("Degraded", ready.message)
end
if ready.status ~= "True" then
  return health("Progressing", ready.message)
end
if succeeded.status ~= nil then
  return health("Progressing", succeeded.message)
end
-- A scheduled Flow is Ready whatever became of its last run; here somebody should see it.
local last = condition("LastRunSucceeded")
if last.status == "False" then
  return health("Degraded", "The last run failed: " .. (last.message or ""))
end
return health("Healthy", ready.message)
