-- Which actions the resource offers. Only a Flow can be suspended.
local actions = { ["full-load"] = {}, ["delta-load"] = {} }
if obj.kind == "Flow" then
  local suspended = obj.spec.suspend == true
  actions["suspend"] = { ["disabled"] = suspended }
  actions["resume"] = { ["disabled"] = not suspended }
end
return actions
