package agent_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

// Where tokens are bought by orders, waiting for them is of no use.
func TestRunPausesAtOnceWhereADryInstrumentIsNotFilledByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{Balance: map[string]int64{"agent-prime": 0}, TopUp: gridtest.TopUp{Manual: true}})
		turns(m, say("done"))
		client := clientOf(t, m, func(cfg *grid.Config) { cfg.Funding = grid.FundingAdvanced })
		a := open(t, m, agent.Config{Market: client})
		began := time.Now()
		res, err := agent.Run[string](t.Context(), a, "go", agent.Pin("agent-prime"))
		stands(t, res, err)
		if p := paused(t, err); p.Reason != agent.PauseTopUp || !errors.Is(err, grid.ErrInstrumentDry) || time.Since(began) > time.Second || chats(m, 1) != 1 {
			t.Errorf("%+v after %v and %d requests: %v", p, time.Since(began), chats(m, 1), err)
		}
	})
}

func TestOneRunBuysForAllThatAreDry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{Balance: map[string]int64{"agent-prime": 0}, TopUp: gridtest.TopUp{Manual: true}})
		m.Model(func(gridtest.Turn) gridtest.Reply { return gridtest.Reply{Text: "done"} })
		bought := 0
		client := clientOf(t, m, func(cfg *grid.Config) {
			cfg.Funding = grid.FundingAdvanced
			cfg.OnDry = func(_ context.Context, instrument string) error {
				bought++
				time.Sleep(20 * time.Second)
				m.SetBalance(instrument, 10_000_000)
				return nil
			}
		})
		a := open(t, m, agent.Config{Market: client, Limits: agent.Limits{Wall: 10 * time.Second}})
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if res, err := agent.Run[string](t.Context(), a, "go", agent.Pin("agent-prime"), agent.Tenant(fmt.Sprint(i%3))); err != nil || res.Output != "done" {
					t.Errorf("%+v, %v", res, err)
				}
			})
		}
		wg.Wait()
		if bought != 1 {
			t.Errorf("bought %d times", bought)
		}
	})
}
