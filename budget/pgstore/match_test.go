package pgstore

import (
	"os"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/budgettest"
)

func TestDatabaseAnswersAsMemoryDoes(t *testing.T) {
	dsn := startServer(t).dsn()
	histories, steps := 2, 200
	if os.Getenv("GRIDLOOP_LONG") != "" {
		histories, steps = 60, 1500
	}
	budgettest.AnswersAsMemoryDoes(t, histories, steps, func(*testing.T) func() budget.Store {
		schema := schemaName()
		return func() budget.Store {
			s := At(dsn, Schema(schema), Timeout(patience))
			s.clock = time.Now
			return s
		}
	})
}
