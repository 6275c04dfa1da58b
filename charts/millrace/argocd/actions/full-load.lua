-- Asks for a full load: a new token in the annotation that triggers one.
local os = require("os")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["millrace.dev/full_load"] = os.date("!%Y-%m-%dT%XZ")
return obj
