package redisstore

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// The server is killed with a call in flight: the run pauses, goes on when the server is back, and the call is settled by
// what it used.
func TestARunPausesWhenTheServerIsKilledAndGoesOnAfterwards(t *testing.T) {
	srv := startServer(t, "--appendonly", "yes", "--appendfsync", "always")
	market := gridtest.New(gridtest.Config{})
	defer market.Close()
	var answers atomic.Int32
	market.Model(func(turn gridtest.Turn) gridtest.Reply {
		if answers.Add(1) == 1 {
			srv.kill()
			return gridtest.Reply{Calls: []gridtest.ToolCall{gridtest.Call("look", "{}")}}
		}
		return gridtest.Reply{Text: "done"}
	})
	client, err := grid.New(grid.Config{BaseURL: market.URL(), APIKey: market.Key()})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	look := tools.New("look", "Look.", func(context.Context, struct{}) (string, error) { return "nothing yet", nil }, tools.ReadOnly())
	a, err := agent.New(agent.Config{Name: "desk", Market: client, Store: New(srv.closing(t)), Caps: []budget.Cap{dollarADay}, Tools: []tools.Tool{look}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Shutdown(context.Background())
	_, err = agent.Run[string](t.Context(), a, "Look once.")
	var p *agent.Paused
	if !errors.As(err, &p) || p.Reason != agent.PauseStore || !errors.Is(err, budget.ErrUnavailable) || answers.Load() != 1 {
		t.Fatalf("after %d answers: %v", answers.Load(), err)
	}
	srv.start()
	res, err := agent.Resume[string](t.Context(), a, p.Token)
	for errors.As(err, &p) && answers.Load() == 1 { // the client may need a moment to connect
		time.Sleep(50 * time.Millisecond)
		res, err = agent.Resume[string](t.Context(), a, p.Token)
	}
	if err != nil || res.Text != "done" {
		t.Fatalf("%q: %v", res.Text, err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		caps, err := a.Ledger().Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if caps[0].Held == 0 && caps[0].Settled == res.Cost.NanoUSD && caps[0].Unconfirmed == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the run cost %v, the caps say %+v", res.Cost, caps)
		}
	}
	if bill := market.Bill(""); bill > res.Cost.NanoUSD {
		t.Errorf("the bill is %d, counted are %v", bill, res.Cost)
	}
}
