package dog

import "github.com/godurable/dog/internal/schedule"

// Start lets alarms run. Until then the runtime does nothing on its own, so all
// types can be registered and wired before. The first call or request from
// outside of objects also starts the runtime. Types that are registered later
// run their alarms from then on. Further calls do nothing.
func (rt *Runtime) Start() {
	if rt == nil || rt.ctx == nil || rt.started.Load() || rt.started.Swap(true) {
		return
	}
	for _, ns := range rt.registered() {
		ns.startAlarms()
	}
}

// add adds a namespace to the runtime.
func (rt *Runtime) add(ns *namespace) {
	rt.mu.Lock()
	rt.namespaces[ns.name] = ns
	rt.mu.Unlock()
	if rt.started.Load() {
		ns.startAlarms()
	}
	for _, other := range rt.registered() {
		other.schedule.Adopt()
	}
}

// startAlarms begins to run the alarms of a namespace. Further calls do
// nothing.
func (ns *namespace) startAlarms() {
	// Shutdown waits for entered goroutines before it waits for services.
	if ns.rt.enterQuietly() != nil {
		return
	}
	defer ns.rt.work.Leave()
	ns.starting.Do(func() {
		if ns.alarms {
			ns.rt.services.Go(func() { ns.schedule.Run(ns.rt.ctx) })
		} else {
			ns.rt.services.Go(ns.warnOfAlarms)
		}
	})
}

// warnOfAlarms logs a warning if there are alarms that cannot run.
func (ns *namespace) warnOfAlarms() {
	if any, err := ns.schedule.Any(); any && err == nil {
		ns.rt.opts.Logger.Warn("objects have alarms that cannot run: their type has no OnAlarm", "namespace", ns.name)
	}
}

// newSchedule returns the schedule of the namespace's alarms.
func (ns *namespace) newSchedule() *schedule.Schedule {
	return schedule.New(schedule.Config{
		Engine: ns.rt.engine, Namespace: ns.number, Now: ns.rt.wallClock, Work: ns.rt.work, Log: ns.rt.opts.Logger,
		Start: func(r *schedule.Run) { (&alarmRun{Run: r, ns: ns}).run() },
	})
}
