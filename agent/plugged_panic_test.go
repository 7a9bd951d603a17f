package agent_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/router"
	"github.com/gridloop/gridloop/tools"
)

// brittle panics at the nth chat request, after the market has it.
type brittle struct {
	http.RoundTripper
	chats, at int
}

func (b *brittle) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(req)
	if req.Method == http.MethodPost {
		if b.chats++; b.chats == b.at {
			if err == nil {
				res.Body.Close()
			}
			panic("the transport")
		}
	}
	return res, err
}

// What is plugged in may panic: the run ends with an error, the process lives, and
// what was perhaps billed stays on the record.
func TestPanicOfATransportKeepsWhatTheAttemptMayHaveCost(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(lookCall()), say("done"))
	c := clientOf(t, m, func(cfg *grid.Config) {
		cfg.HTTPClient = &http.Client{Transport: &brittle{RoundTripper: m.Transport(), at: 4}} // the second step's second hop
	})
	a := open(t, m, agent.Config{Market: c, Tools: []tools.Tool{look()}})
	res, err := agent.Run[string](t.Context(), a, "go")
	stands(t, res, err)
	if err == nil || res.Stop != agent.StopError {
		t.Fatalf("stopped by %s: %v", res.Stop, err)
	}
	if attempts(res.Steps) != 2 || res.Cost.NanoUSD < m.Bill("") || res.Cost.NanoUSD != res.Usage.CostNanoUSD {
		t.Errorf("%d attempts, cost %d and %d, bill %d", attempts(res.Steps), res.Cost.NanoUSD, res.Usage.CostNanoUSD, m.Bill(""))
	}
}

func TestPanicOfARouterEndsTheRunAlone(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(lookCall()), say("done"))
	a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Router: router.Func(func(s router.Step, market router.Snapshot) router.Decision {
		if s.Index == 1 && !s.Final {
			panic("the router")
		}
		return router.Default().Decide(s, market)
	})})
	res, err := agent.Run[string](t.Context(), a, "go")
	stands(t, res, err)
	if err == nil || res.Stop != agent.StopError || len(res.Steps) != 1 {
		t.Errorf("stopped by %s after %d steps: %v", res.Stop, len(res.Steps), err)
	}
	if p, ok := errors.AsType[*agent.PanicError](err); !ok || p.Value != "the router" || strings.Contains(err.Error(), "the router") {
		t.Errorf("the error is %v", err)
	}
}
