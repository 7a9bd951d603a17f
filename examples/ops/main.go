// Ops shows an operator's view of agents at work: runs that a tenant started run away, the handler of package ops shows
// who spends, the stop button is pressed, a cap is lowered, and the runs go on. It runs on a simulated market in this
// process; nothing is spent and no key is needed.
//
//	go run ./examples/ops
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/agent/ops"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ops:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	market := gridtest.New(gridtest.Config{Latency: 20 * time.Millisecond})
	defer market.Close()
	market.Model(searchesForEver)
	client, err := grid.New(grid.Config{APIKey: market.Key(), BaseURL: market.BaseURL(), HTTPClient: &http.Client{Transport: market.Transport()}})
	if err != nil {
		return err
	}
	defer client.Close()
	search := tools.New("search", "Search the notes.", func(context.Context, struct{}) (string, error) { return "nothing yet", nil }, tools.ReadOnly())
	desk, err := agent.New(agent.Config{
		Name: "researcher", Market: client, Tools: []tools.Tool{search}, Limits: agent.Limits{Steps: 1000, ToolCalls: 1000},
		Store: budget.NewMemory(budget.Volatile()),
		Caps:  []budget.Cap{{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: budget.USD(2), Per: budget.Day(nil)}},
	})
	if err != nil {
		return err
	}
	defer desk.Shutdown(ctx)

	// The service's own server; who may press the button is for the service to say.
	handler, err := ops.Handler(ops.Config{Agents: []*agent.Agent{desk}, Authorise: func(*http.Request) (string, error) { return "ann", nil }})
	if err != nil {
		return err
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	o := &operator{url: server.URL, out: out}

	fmt.Fprintln(out, "Two runs for acme search for ever, on a simulated market in this process: nothing is spent.")
	paused := make(chan string, 2)
	var runs sync.WaitGroup
	for range 2 {
		runs.Go(func() {
			_, err := agent.Run[string](ctx, desk, "Find out why lamps come late.", agent.Tenant("acme"))
			if p, ok := errors.AsType[*agent.Paused](err); ok {
				paused <- p.Token
			}
		})
	}
	if err := bothSpend(ctx, desk); err != nil {
		return err
	}
	o.get("/live")
	o.get("/top?by=tenant")
	o.post("/freeze", ops.FreezeRequest{Scope: "tenant acme", Reason: "it searches for ever"})
	runs.Wait()
	fmt.Fprintf(out, "\n%d runs are paused: their calls were settled, and they hold nothing.\n", len(paused))
	o.get("/live")
	o.post("/caps", ops.CapRequest{For: "each tenant", Meter: "money", Per: "day UTC", Limit: "$0.00001"})
	o.post("/unfreeze", ops.UnfreezeRequest{Scope: "tenant acme"})
	for range len(paused) {
		res, err := agent.Resume[string](ctx, desk, <-paused)
		fmt.Fprintf(out, "\na run goes on, and ends: %s (%v)\n", res.Stop, res.Cost)
		if err != nil {
			fmt.Fprintln(out, "  without an answer, for the cap is below what is spent")
		}
	}
	o.get("/changes")
	o.get("/audit")
	return o.err
}

// bothSpend waits until two runs have come a few steps far.
func bothSpend(ctx context.Context, desk *agent.Agent) error {
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		far := 0
		for _, r := range desk.Live() {
			if r.Step >= 3 && r.SpentNanoUSD > 0 {
				far++
			}
		}
		if far == 2 {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func searchesForEver(t gridtest.Turn) gridtest.Reply {
	if len(t.Tools) == 0 {
		return gridtest.Reply{Text: "The notes say nothing about late lamps."}
	}
	return gridtest.Reply{Calls: []gridtest.ToolCall{gridtest.Call("search", "{}")}}
}

// operator is what curl, or opsctl, would do.
type operator struct {
	url string
	out io.Writer
	err error
}

func (o *operator) get(path string) {
	fmt.Fprintf(o.out, "\nGET %s\n", path)
	res, err := http.Get(o.url + path)
	o.show(res, err)
}

func (o *operator) post(path string, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		o.err = err
		return
	}
	fmt.Fprintf(o.out, "\nPOST %s %s\n", path, b)
	res, err := http.Post(o.url+path, "application/json", bytes.NewReader(b))
	o.show(res, err)
}

func (o *operator) show(res *http.Response, err error) {
	if err != nil {
		o.err = errors.Join(o.err, err)
		return
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	var text bytes.Buffer
	if err == nil {
		err = json.Indent(&text, bytes.TrimSpace(b), "  ", "  ")
	}
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	o.err = errors.Join(o.err, err)
	fmt.Fprintf(o.out, "  %s\n", &text)
}
