package sqlitestore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/budgettest"
	"github.com/gridloop/gridloop/budget/sqlitestore"
)

func TestFileAnswersAsMemoryDoes(t *testing.T) {
	histories, steps := 6, 300
	if os.Getenv("GRIDLOOP_LONG") != "" {
		histories, steps = 200, 1500
	}
	budgettest.AnswersAsMemoryDoes(t, histories, steps, func(t *testing.T) func() budget.Store {
		path := filepath.Join(t.TempDir(), "spend.db")
		return func() budget.Store { return sqlitestore.At(path) }
	})
}
