package dog

import "time"

// SetWallClock gives a runtime that has not started another time of day.
func SetWallClock(rt *Runtime, now func() time.Time) { rt.wallClock = now }
