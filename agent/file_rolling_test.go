package agent_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid/gridtest"
)

// A cap of the file may look back over the last hours instead of beginning anew at midnight, and a run that it stops says when
// there is room again.
func TestAFileMayHoldRollingCaps(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	store := budget.NewMemory(budget.Volatile())
	a := open(t, m, agent.Config{File: "f", FS: files("version: 1\ncaps:\n  - {for: each tenant, requests: 1, per: rolling 24h}\n"), Store: store})
	if text := a.Explain(); !strings.Contains(text, "1 requests in any 24h") {
		t.Errorf("explained as\n%s", text)
	}
	_, err := agent.Run[string](t.Context(), a, "go", agent.Tenant("acme"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := agent.Run[string](t.Context(), a, "go", agent.Tenant("acme"))
	if n := chats(m, 1); n != 1 {
		t.Errorf("%d requests were made under a cap of one", n)
	}
	var d *budget.DeniedError
	if !errors.As(err, &d) || !errors.Is(err, budget.ErrSpent) || d.ResetAt().IsZero() || !strings.Contains(err.Error(), "older than the window at ") {
		t.Errorf("ended as %s, %s: %v", res.Stop, res.Reason, err)
	}
}
