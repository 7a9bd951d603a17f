package pgstore

import (
	"sync/atomic"
	"time"
)

// wall is a clock on which time passes when a test says so. What a store does after it has answered looks at it, too.
type wall struct{ nano atomic.Int64 }

func stopped(at time.Time) *wall {
	w := &wall{}
	w.nano.Store(at.UnixNano())
	return w
}

func (w *wall) now() time.Time { return time.Unix(0, w.nano.Load()) }

func (w *wall) pass(d time.Duration) { w.nano.Add(int64(d)) }

// ahead is the server's clock, until it is put forward.
type ahead struct{ by atomic.Int64 }

func (a *ahead) now() time.Time {
	by := a.by.Load()
	if by == 0 {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(by))
}
