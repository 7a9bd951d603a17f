package agent_test

import (
	"context"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/router"
	"github.com/gridloop/gridloop/tools"
)

// whim routes as it likes.
type whim struct{}

func (whim) Decide(router.Step, router.Snapshot) router.Decision { return router.Decision{} }

// Explain has a line on everything that bounds a run, and on what its tools may do.
func TestExplainSaysWhatIsInForce(t *testing.T) {
	fn := func(context.Context, empty) (string, error) { return "", nil }
	sub := open(t, nil, agent.Config{Name: "researcher", Market: quiet(t)})
	for name, tc := range map[string]struct {
		cfg        agent.Config
		says, hush []string
	}{
		"traits of tools": {
			cfg: agent.Config{Tools: []tools.Tool{tools.New("look", "Look.", fn, tools.ReadOnly()), tools.New("pay", "Pay.", fn, tools.NeedsApproval()), tools.New("end", "End.", fn, tools.EndsRun()), tools.New("plain", "Do.", fn)}, Agents: []*agent.Agent{sub}},
			says: []string{"look         read only, timeout", "pay          may wait for approval, timeout", "end          ends the run, timeout", "plain        timeout", "researcher   an agent",
				"\nlimits of a run\n", "max tokens   4096 a call; 256 for the answer at a limit", "\nspending\n", "\ncaps\n", "\nroutes\n", "\ninstruments\n", "\ntools\n"},
			hush: []string{"shared", "nothing bounds", "a router of the service's own"},
		},
		"a shared ledger": {
			cfg:  agent.Config{Ledger: ledgerOf(t, eachTenantDay), Router: whim{}},
			says: []string{"shared       this agent spends from a ledger that it shares", "each run     $1.00 per lifetime", "each tenant  $5.00 per day UTC\n", "a router of the service's own (agent_test.whim)"},
			hush: []string{"nothing bounds", "read only", "no such tool"},
		},
		"nothing": {
			cfg:  agent.Config{Limits: agent.Limits{RunNanoUSD: agent.None, RunTokens: agent.None}},
			says: []string{"none         nothing bounds what a run spends"},
			hush: []string{"shared", "each run"},
		},
	} {
		tc.cfg.Name, tc.cfg.Market = "desk", quiet(t)
		text := open(t, nil, tc.cfg).Explain()
		for _, want := range tc.says {
			if !strings.Contains(text, want) {
				t.Errorf("%s: it does not say %q:\n%s", name, want, text)
			}
		}
		for _, not := range tc.hush {
			if strings.Contains(text, not) {
				t.Errorf("%s: it says %q:\n%s", name, not, text)
			}
		}
	}
}

var eachTenantDay = budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: budget.USD(5), Per: budget.Day(nil)}
