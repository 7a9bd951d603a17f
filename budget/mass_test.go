package budget_test

import (
	"testing"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/budgettest"
)

// What ended long ago is forgotten by this store, so it may be that a caller that had no turn comes too late.
func TestTheBillOfVeryManyCallsStaysWithinTheCaps(t *testing.T) {
	budgettest.VeryManyCalls(t, budget.NewMemory(budget.Volatile()), 30_000)
}
