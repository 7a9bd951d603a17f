package pgstore

import (
	"os"
	"testing"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/budgettest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		shared.server.stop()
	}
	if err := goleak.Find(); code == 0 && err != nil {
		println(err.Error())
		code = 1
	}
	os.Exit(code)
}

func TestDatabaseIsAStore(t *testing.T) {
	budgettest.Exercise(t, func(t *testing.T) budget.Store { return fresh(t) })
}
