package agent

import (
	"sync"
	"sync/atomic"

	"github.com/gridloop/gridloop/grid"
)

// alerts are what a watch of the account saw, for the runs that are under way. It is
// safe for concurrent use.
type alerts struct {
	told atomic.Uint64 // how many in all
	mu   sync.Mutex
	last []grid.Alert
}

// maxAlerts bounds what is kept for a run that is slow to ask.
const maxAlerts = 64

// Alert passes on what a [grid.Watch] saw to all runs of the agent that are under way:
// each reads it as a [BalanceAlert], at its next step or at the next sign of a wait.
//
//	for alert, err := range watch.Alerts(ctx) {
//		if err == nil {
//			desk.Alert(alert)
//		}
//	}
func (a *Agent) Alert(alert grid.Alert) {
	a.alerts.mu.Lock()
	defer a.alerts.mu.Unlock()
	a.alerts.last = append(a.alerts.last, alert)
	if over := len(a.alerts.last) - maxAlerts; over > 0 {
		a.alerts.last = append([]grid.Alert(nil), a.alerts.last[over:]...)
	}
	a.alerts.told.Add(1)
}

// since returns the alerts behind the first seen ones, and how many there are in all.
func (l *alerts) since(seen uint64) ([]grid.Alert, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := l.told.Load()
	n := min(told-seen, uint64(len(l.last)))
	return append([]grid.Alert(nil), l.last[uint64(len(l.last))-n:]...), told
}

// tellNews tells the reader of the run what changed in the market and on the account
// since it was told last.
func (r *run) tellNews(step int) {
	if r.events == nil {
		return
	}
	if now := r.a.look(); now.Changes != r.changes {
		changes := r.client.Catalogue().Changes(r.changes)
		r.changes = now.Changes
		for _, c := range changes {
			emit(r, MarketChanged{Step: step, Change: c})
		}
	}
	if r.a.alerts.told.Load() != r.alerts {
		var all []grid.Alert
		all, r.alerts = r.a.alerts.since(r.alerts)
		for _, alert := range all {
			emit(r, BalanceAlert{Step: step, Alert: alert})
		}
	}
}
