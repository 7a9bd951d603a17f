package redisstore

import (
	"testing"

	"github.com/gridloop/gridloop/budget/budgettest"
)

func TestTheBillOfVeryManyCallsStaysWithinTheCaps(t *testing.T) {
	store := New(startServer(t).closing(t))
	defer store.Close()
	if m := budgettest.VeryManyCalls(t, store, 3000); m.Forgotten > 0 {
		t.Errorf("%d were forgotten", m.Forgotten)
	}
}
