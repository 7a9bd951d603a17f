package budget_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/budget"
)

func TestWhoChangesOrCorrectsIsNamedShortly(t *testing.T) {
	l, err := budget.Open(t.Context(), budget.Config{Store: budget.NewMemory(budget.Volatile())})
	if err != nil {
		t.Fatal(err)
	}
	cap := budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1, Per: budget.Lifetime()}
	long := strings.Repeat("a", 600)
	for name, try := range map[string]struct {
		err          error
		field, wants string
	}{
		"a change by nobody":        {l.Define(t.Context(), "", cap), "By", "must say who"},
		"a change by a long name":   {l.Define(t.Context(), long, cap), "By", "600 bytes"},
		"a correction by nobody":    {trueUp(t, l, ""), "Source", "must say who"},
		"a correction by long name": {trueUp(t, l, long), "Source", "600 bytes"},
	} {
		f, ok := errors.AsType[*budget.FieldError](try.err)
		if !ok || f.Field != try.field || !strings.Contains(f.Problem, try.wants) || f.Fix == "" {
			t.Errorf("%s: %v", name, try.err)
		}
	}
}

func trueUp(t *testing.T, l *budget.Ledger, source string) error {
	_, err := l.TrueUp(t.Context(), "r", budget.Amounts{}, source)
	return err
}
