package redisstore

import (
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/budgettest"
)

func TestStoreDoesWhatAStoreMust(t *testing.T) {
	srv := startServer(t)
	budgettest.Exercise(t, func(t *testing.T) budget.Store { return New(srv.closing(t), prefix()) },
		budgettest.Advance(func(s budget.Store, d time.Duration) { s.(*Store).ahead.Add(d.Microseconds()) }))
}
