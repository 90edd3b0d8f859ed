package sqlite

import (
	"math"
	"time"
)

func (d *database) Allow(time time.Duration, memory int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.time, d.most = time, memory
	if d.conn != nil && d.conn.memory < memory && !d.active() {
		d.drop()
	}
	d.settle()
}

// budget returns the limits of a query.
func (d *database) budget() budget {
	if d.time > 0 {
		return budget{math.MaxInt, d.time}
	}
	return budget{d.limits.Steps, d.limits.Time}
}
