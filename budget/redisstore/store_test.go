package redisstore

import (
	"testing"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/budgettest"
)

func TestStoreDoesWhatAStoreMust(t *testing.T) {
	srv := startServer(t)
	budgettest.Exercise(t, func(t *testing.T) budget.Store { return New(srv.closing(t), prefix()) })
}
