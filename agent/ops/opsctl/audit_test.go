package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/agent/ops"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

func TestTheCommandAuditsAndListsTools(t *testing.T) {
	market := gridtest.New(gridtest.Config{})
	t.Cleanup(market.Close)
	client, err := grid.New(grid.Config{APIKey: market.Key(), HTTPClient: &http.Client{Transport: market.Transport()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	counts := budget.Cap{For: budget.Each("tool"), Meter: budget.MeterToolCalls, Limit: budget.None, Per: budget.Day(nil)}
	desk, err := agent.New(agent.Config{Name: "desk", Market: client, Store: budget.NewMemory(budget.Volatile()), Caps: []budget.Cap{counts}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = desk.Shutdown(t.Context()) })
	if _, err := agent.Run[string](t.Context(), desk, "go"); err != nil {
		t.Fatal(err)
	}
	dig := budget.Request{ID: "a", Scopes: []budget.Scope{{Kind: budget.ScopeTool, Name: "dig"}}, Amounts: budget.Amounts{ToolCalls: 7}}
	if _, err := desk.Ledger().Reserve(t.Context(), dig); err != nil {
		t.Fatal(err)
	}
	h, err := ops.Handler(ops.Config{Agents: []*agent.Agent{desk}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	if code, out := asked(t, srv.URL, "", "audit"); code != 0 || !strings.Contains(out, `"ok": true`) || !strings.Contains(out, `"requests": 1`) || !strings.Contains(out, `"unexplained"`) {
		t.Errorf("audit: %d %s", code, out)
	}
	if code, out := asked(t, srv.URL, "", "top", "tool"); code != 0 || !strings.Contains(out, "tool dig  0        7") {
		t.Errorf("top: %d %s", code, out)
	}
}
