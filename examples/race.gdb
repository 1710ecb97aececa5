# Status 1 if an update was lost in examples/race.c.
set remotetimeout 30
break lost_update
break all_there
continue
backtrace
print counter
info threads
quit $_caller_is("lost_update", 0)
