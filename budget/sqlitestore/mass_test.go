package sqlitestore_test

import (
	"path/filepath"
	"testing"

	"github.com/gridloop/gridloop/budget/budgettest"
	"github.com/gridloop/gridloop/budget/sqlitestore"
)

func TestTheBillOfVeryManyCallsStaysWithinTheCaps(t *testing.T) {
	s := sqlitestore.At(filepath.Join(t.TempDir(), "spend.db"))
	defer s.Close()
	calls := int64(3000)
	if racing {
		calls = 500
	}
	if m := budgettest.VeryManyCalls(t, s, calls); m.Forgotten > 0 {
		t.Errorf("%d were forgotten", m.Forgotten)
	}
}
