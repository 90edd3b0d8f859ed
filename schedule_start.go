package dog

import "github.com/godurable/dog/internal/store"

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
		other.schedule.adopt()
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
			ns.rt.services.Go(func() { ns.schedule.run(ns.rt.ctx) })
		} else {
			ns.rt.services.Go(ns.warnOfAlarms)
		}
	})
}

// warnOfAlarms logs a warning if there are alarms that cannot run.
func (ns *namespace) warnOfAlarms() {
	for _, err := range store.AlarmsAfter(ns.rt.engine, ns.schedule.beginning()) {
		if err == nil {
			ns.rt.opts.Logger.Warn("objects have alarms that cannot run: their type has no OnAlarm", "namespace", ns.name)
		}
		return
	}
}
