package dog

import "github.com/godurable/dog/internal/store"

// Start lets alarms run: until then nothing of the program does that it has not
// asked for itself, so that all types can be registered and wired before. The
// first call or request from outside of objects starts the runtime as well.
// Types that are registered later run their alarms from then on. Further calls
// do nothing.
func (rt *Runtime) Start() {
	if rt == nil || rt.ctx == nil || rt.started.Load() || rt.started.Swap(true) {
		return
	}
	for _, ns := range rt.registered() {
		ns.startAlarms()
	}
}

// add makes a namespace one of the runtime's.
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

// startAlarms begins to run the alarms of a namespace, once.
func (ns *namespace) startAlarms() {
	if ns.rt.enterQuietly() != nil { // Shutdown waits for what has entered before it waits for services
		return
	}
	defer ns.rt.leave()
	ns.starting.Do(func() {
		if ns.alarms {
			ns.rt.services.Go(func() { ns.schedule.run(ns.rt.ctx) })
		} else {
			ns.rt.services.Go(ns.warnOfAlarms)
		}
	})
}

// warnOfAlarms logs that there are alarms which cannot run, if there are.
func (ns *namespace) warnOfAlarms() {
	for _, err := range store.AlarmsAfter(ns.rt.engine, ns.schedule.beginning()) {
		if err == nil {
			ns.rt.opts.Logger.Warn("objects have alarms that cannot run: their type has no OnAlarm", "namespace", ns.name)
		}
		return
	}
}
