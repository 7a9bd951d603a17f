package readme

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/sqlitestore"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// The README says that runs pause while a store cannot be reached. Here the file of the caps is taken away with a call in
// flight, and put back.
func TestARunPausesWhileTheFileOfItsCapsIsAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spend.db")
	market := gridtest.New(gridtest.Config{})
	defer market.Close()
	answers := 0
	market.Model(func(gridtest.Turn) gridtest.Reply {
		if answers++; answers == 1 {
			if err := os.Rename(path, path+".away"); err != nil {
				t.Error(err)
			}
			return gridtest.Reply{Calls: []gridtest.ToolCall{gridtest.Call("look", "{}")}}
		}
		return gridtest.Reply{Text: "done"}
	})
	client, err := grid.New(grid.Config{APIKey: market.Key(), HTTPClient: &http.Client{Transport: market.Transport()}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	desk, err := agent.New(agent.Config{
		Name: "desk", Market: client, Store: sqlitestore.At(path),
		Caps:  []budget.Cap{{For: budget.Account(), Meter: budget.MeterMoney, Limit: budget.USD(1), Per: budget.Day(nil)}},
		Tools: []tools.Tool{tools.New("look", "Look.", func(context.Context, struct{}) (string, error) { return "seen", nil })},
	})
	if err != nil {
		t.Fatal(err)
	}
	res, err := agent.Run[string](t.Context(), desk, "Look once.")
	for range 2 { // resuming while it is away spends nothing
		if !errors.Is(err, budget.ErrUnavailable) || !errors.Is(err, sqlitestore.ErrReplaced) || res.Stop != agent.StopPaused || answers != 1 {
			t.Fatalf("after %d answers: %v", answers, err)
		}
		res, err = agent.Resume[string](t.Context(), desk, pausedBy(t, err, agent.PauseStore))
	}
	token := pausedBy(t, err, agent.PauseStore)
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	res, err = agent.Resume[string](t.Context(), desk, token)
	if err != nil || res.Text != "done" || answers != 2 {
		t.Fatalf("%q after %d answers: %v", res.Text, answers, err)
	}
	if err := desk.Shutdown(t.Context()); err != nil { // what was owed is settled
		t.Fatal(err)
	}
	ledger, err := budget.Open(t.Context(), budget.Config{Store: sqlitestore.At(path)})
	if err != nil {
		t.Fatal(err)
	}
	defer ledger.Shutdown(context.Background())
	caps, err := ledger.Snapshot(t.Context())
	if err != nil || len(caps) != 1 || caps[0].Settled != res.Cost.NanoUSD || caps[0].Held != 0 || caps[0].Unconfirmed != 0 || market.Bill("") > caps[0].Settled {
		t.Errorf("the run cost %v, the bill is %d, the file says %+v: %v", res.Cost, market.Bill(""), caps, err)
	}
}

func pausedBy(t *testing.T, err error, why agent.PauseReason) (token string) {
	t.Helper()
	p, ok := errors.AsType[*agent.Paused](err)
	if !ok || p.Reason != why {
		t.Fatal(err)
	}
	return p.Token
}
