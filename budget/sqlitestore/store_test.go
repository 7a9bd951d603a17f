package sqlitestore_test

import (
	"path/filepath"
	"testing"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/budgettest"
	"github.com/gridloop/gridloop/budget/sqlitestore"
)

func open(t testing.TB, path string, opts ...sqlitestore.Option) *sqlitestore.Store {
	t.Helper()
	s, err := sqlitestore.Open(t.Context(), path, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFileIsAStore(t *testing.T) {
	budgettest.Exercise(t, func(t *testing.T) budget.Store { return sqlitestore.At(filepath.Join(t.TempDir(), "spend.db")) })
}

func TestFileIsAStoreInVirtualTime(t *testing.T) {
	if racing {
		t.Skip("the histories are long, and the suite in real time races, too")
	}
	budgettest.Exercise(t, func(t *testing.T) budget.Store { return open(t, filepath.Join(t.TempDir(), "spend.db")) }, budgettest.Virtual())
}
