package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	openai "github.com/sashabaranov/go-openai"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// What the tests of behaviour stand on: a market in memory, an agent on it, and
// models that say what a test wants.

func newMarket(t *testing.T, cfg gridtest.Config) *gridtest.Market {
	t.Helper()
	m := gridtest.New(cfg)
	t.Cleanup(m.Close)
	return m
}

func clientOf(t *testing.T, m *gridtest.Market, change ...func(*grid.Config)) *grid.Client {
	t.Helper()
	cfg := grid.Config{APIKey: m.Key(), HTTPClient: &http.Client{Transport: &wire{m.Transport()}}, Rand: func() float64 { return 0.5 }}
	for _, c := range change {
		c(&cfg)
	}
	c, err := grid.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// wire hands requests over whole: as with net/http, and unlike the market's own
// transport, none is read on when its caller was told that it was cancelled.
type wire struct{ http.RoundTripper }

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := context.Cause(req.Context()); err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	if req.Body != nil {
		data, err := io.ReadAll(req.Body)
		_ = req.Body.Close()
		if err != nil {
			return nil, err
		}
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(data))
	}
	return w.RoundTripper.RoundTrip(req)
}

// open makes an agent on a market.
func open(t *testing.T, m *gridtest.Market, cfg agent.Config) *agent.Agent {
	t.Helper()
	if cfg.Name == "" {
		cfg.Name = "desk"
	}
	if cfg.Market == nil {
		cfg.Market = clientOf(t, m)
	}
	a, err := agent.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, a) })
	return a
}

func shut(t *testing.T, a *agent.Agent) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := a.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// tight is a catalogue whose price ceilings are the market's own prices, so that
// bounds have no slack in them.
func tight(t *testing.T) *grid.Catalogue {
	t.Helper()
	c := grid.DefaultCatalogue()
	for _, sold := range gridtest.Nine() {
		in, ok := c.Get(sold.ID)
		if !ok {
			t.Fatalf("the catalogue lacks %s", sold.ID)
		}
		in.MaxPriceNanoUSD = sold.PriceNanoUSD
		if err := c.Put(in); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// greedy makes a reply as dear as a supplier can that keeps to its promises: a
// token for every byte of the request, the whole template, the whole max_tokens.
func greedy(t gridtest.Turn, r gridtest.Reply) gridtest.Reply {
	r.PromptTokens = int64(len(t.Raw)-len(strconv.FormatInt(t.MaxTokens, 10))) + 512
	r.CompletionTokens = t.MaxTokens
	return r
}

func say(text string) gridtest.Reply { return gridtest.Reply{Text: text} }

func calls(cs ...gridtest.ToolCall) gridtest.Reply { return gridtest.Reply{Calls: cs} }

// always answers each turn of each run by its number.
func turns(m *gridtest.Market, replies ...gridtest.Reply) {
	m.Model(func(t gridtest.Turn) gridtest.Reply {
		if t.N < len(replies) {
			return replies[t.N]
		}
		return say("done")
	})
}

// chats counts the chat requests at a hop.
func chats(m *gridtest.Market, hop int) int {
	n := 0
	for _, r := range m.Requests() {
		if r.Hop == hop {
			n++
		}
	}
	return n
}

func attempts(steps []agent.StepRecord) int {
	n := 0
	for _, s := range steps {
		n += len(s.Attempts)
	}
	return n
}

// valid is law 4: every tool call is answered exactly once, in call order.
func valid(history []openai.ChatCompletionMessage) error {
	var open []string
	for i, m := range history {
		switch {
		case m.Role == "tool" && (len(open) == 0 || open[0] != m.ToolCallID):
			return fmt.Errorf("message %d answers %q, open are %q", i, m.ToolCallID, open)
		case m.Role == "tool":
			open = open[1:]
		case len(open) > 0:
			return fmt.Errorf("message %d is a %s message, but %q are not answered", i, m.Role, open)
		}
		for _, c := range m.ToolCalls {
			open = append(open, c.ID)
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("%q are never answered", open)
	}
	return nil
}

// stands is law 3: a result beside every error, with a history that can be sent
// and a reason.
func stands[T any](t *testing.T, res *agent.Result[T], err error) {
	t.Helper()
	if res == nil {
		t.Fatalf("no result stands beside %v", err)
	}
	if verr := valid(res.History()); verr != nil {
		t.Errorf("the history cannot be sent: %v", verr)
	}
	if len(res.History()) == 0 {
		t.Errorf("the history is empty; the error is %v", err)
	}
	if res.Stop == "" || res.Reason == "" {
		t.Errorf("the result does not say why it ended: Stop %q, Reason %q", res.Stop, res.Reason)
	}
	cost := int64(0)
	for _, s := range res.Steps {
		for _, a := range s.Attempts {
			cost += a.CostNanoUSD
		}
	}
	if res.Cost.NanoUSD != cost {
		t.Errorf("the result costs %d, its attempts %d", res.Cost.NanoUSD, cost)
	}
}

func paused(t *testing.T, err error) *agent.Paused {
	t.Helper()
	p, ok := errors.AsType[*agent.Paused](err)
	if !ok {
		t.Fatalf("the run did not pause: %v", err)
	}
	return p
}

type empty struct{}

// look is a read-only tool that answers at once.
func look() tools.Tool {
	return tools.New("look", "Look.", func(context.Context, empty) (string, error) { return "seen", nil }, tools.ReadOnly())
}

func lookCall() gridtest.ToolCall { return gridtest.Call("look", "{}") }
