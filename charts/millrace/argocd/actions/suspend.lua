-- Starts nothing further; a run at work goes on to its end.
obj.spec.suspend = true
return obj
