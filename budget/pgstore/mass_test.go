package pgstore

import (
	"testing"

	"github.com/gridloop/gridloop/budget/budgettest"
)

func TestTheBillOfVeryManyCallsStaysWithinTheCaps(t *testing.T) {
	s := fresh(t)
	defer s.Close()
	if m := budgettest.VeryManyCalls(t, s, 3000); m.Forgotten > 0 {
		t.Errorf("%d were forgotten", m.Forgotten)
	}
}
