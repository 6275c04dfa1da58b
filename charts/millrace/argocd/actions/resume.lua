-- Takes up what waited.
obj.spec.suspend = false
return obj
