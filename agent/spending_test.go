package agent_test

import (
	"strings"
	"testing"

	"github.com/gridloop/gridloop/agent"
)

func TestSpendingIsSetInTheFileOrInCode(t *testing.T) {
	const all = "version: 1\nspending:\n  estimate: calibrated\n  overrun: halt_scope\n  held: wait\n  price: reroute\n"
	a := open(t, nil, agent.Config{Name: "a", Market: quiet(t), File: "f", FS: files(all)})
	for _, line := range []string{"calibrated bound", "halts what the passed caps are for", "is waited for", "another instrument serves"} {
		if !strings.Contains(a.Explain(), line) {
			t.Errorf("Explain does not say %q:\n%s", line, a.Explain())
		}
	}
	refused(t, agent.Config{Name: "a", Market: quiet(t), File: "f", FS: files(all), Spending: agent.Spending{Estimate: "strict", Held: "wait"}},
		"Spending.Estimate and spending.estimate of the file differ")
}
