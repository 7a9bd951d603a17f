package readme

import (
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/sqlitestore"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

// A share is kept in the file: what another process may spend is what the share leaves, and when the run has ended it is
// what was not spent.
func TestAShareIsKeptFromOtherProcesses(t *testing.T) {
	market := gridtest.New(gridtest.Config{})
	defer market.Close()
	client, err := grid.New(grid.Config{APIKey: market.Key(), HTTPClient: &http.Client{Transport: market.Transport()}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	caps := []budget.Cap{{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: budget.USD(1), Per: budget.Lifetime()}}
	path := filepath.Join(t.TempDir(), "spend.db")
	ledger := func() *budget.Ledger {
		store := sqlitestore.At(path)
		t.Cleanup(func() { store.Close() })
		l, err := budget.Open(t.Context(), budget.Config{Store: store, Caps: caps})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	mine, other := ledger(), ledger()
	acme := budget.Scope{Kind: budget.ScopeTenant, Name: "acme"}
	// room is how much of the cap the other process could have.
	room := func() int64 {
		_, err := other.Reserve(t.Context(), budget.Request{ID: "too-much", Scopes: []budget.Scope{acme}, Amounts: budget.Amounts{NanoUSD: budget.USD(1)}})
		var denied *budget.DeniedError
		if !errors.As(err, &denied) {
			t.Errorf("the other process is told %v", err)
			return 0
		}
		left, _ := denied.Available(budget.MeterMoney)
		return left
	}
	steps := 0
	market.Model(func(turn gridtest.Turn) gridtest.Reply {
		if slices.Contains(turn.Tools, "researcher") && turn.N == 0 {
			return gridtest.Reply{Calls: []gridtest.ToolCall{gridtest.Call("researcher", `{"task":"read"}`)}}
		}
		if len(turn.Tools) == 0 {
			steps++
			open, err := mine.OpenReservations(t.Context(), "")
			if err != nil {
				t.Error(err)
			}
			answer := int64(0) // of the run above
			for _, r := range open {
				if strings.HasPrefix(r.ID, "top/answer/") {
					answer = r.Reserved.NanoUSD
				}
			}
			states, err := mine.Snapshot(t.Context(), acme)
			if err != nil || len(states) != 1 {
				t.Errorf("%v, %v", states, err)
			} else if got, want := room(), budget.USD(0.40)-answer-states[0].Settled; got != want || answer == 0 {
				t.Errorf("the other process has room for %d, want %d", got, want)
			}
		}
		return gridtest.Reply{Text: "done"}
	})
	researcher, err := agent.New(agent.Config{Name: "researcher", Market: client, Ledger: mine,
		Limits: agent.Limits{RunNanoUSD: budget.USD(0.60), Carved: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer researcher.Shutdown(t.Context())
	boss, err := agent.New(agent.Config{Name: "boss", Market: client, Ledger: mine, Agents: []*agent.Agent{researcher}})
	if err != nil {
		t.Fatal(err)
	}
	defer boss.Shutdown(t.Context())
	res, err := agent.Run[string](t.Context(), boss, "go", agent.Tenant("acme"), agent.RunID("top"))
	if err != nil || res.Text != "done" || steps != 1 {
		t.Errorf("%q after %d steps below: %v", res.Text, steps, err)
	}
	if got := room(); got != budget.USD(1)-res.Cost.NanoUSD {
		t.Errorf("after a run that cost %v there is room for %d", res.Cost, got)
	}
}
