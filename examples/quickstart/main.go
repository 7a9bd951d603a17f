// Quickstart shows gridloop at work: an agent whose steps are routed to
// instruments, a dry balance waited out, a runaway loop stopped at its cap, and
// a bill that adds up. It runs on a simulated market in this process; nothing is
// spent and no key is needed.
//
//	go run ./examples/quickstart
//	go run ./examples/quickstart -live   on the real market, with THEGRID_API_KEY, for at most $0.05
//
// Both runs are drawn in run.html; -trace names another file, or off.
package main

import (
	"context"
	"embed"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tracing"
)

//go:embed gridloop.yaml
var files embed.FS

// The ceiling of -live, for everything this program does.
const (
	liveCents    = 5
	liveRequests = 15
)

// verdict is the answer that the refund desk has to give.
type verdict struct {
	Refunded bool   `json:"refunded"`
	Cents    int    `json:"cents"`
	Why      string `json:"why"`
}

func main() {
	live := flag.Bool("live", false, "spend on the real market, with THEGRID_API_KEY, up to the stated ceiling")
	file := flag.String("trace", "run.html", "the page that shows both runs; off = none")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "quickstart: %q is no flag: write -live or -trace before anything else\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *live, *file); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, live bool, file string) (err error) {
	var market *gridtest.Market
	cfg := grid.Config{}
	caps := []budget.Cap{}
	content := tracing.ContentSpan // prompts and results here are made up; elsewhere they are somebody's
	switch {
	case live:
		content = tracing.ContentFromEnv
		fmt.Printf("On the real market, for at most $0.%02d and %d requests, one at a time.\n", liveCents, liveRequests)
		caps = append(caps,
			budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: liveCents * 10_000_000, Per: budget.Lifetime()},
			budget.Cap{For: budget.Account(), Meter: budget.MeterRequests, Limit: liveRequests, Per: budget.Lifetime()})
	default:
		fmt.Println("On a simulated market in this process: nothing is spent.")
		if os.Getenv("THEGRID_API_KEY") != "" {
			fmt.Println("THEGRID_API_KEY is set; it is not used. -live spends with it, for at most $0.05.")
		}
		market = simulated()
		defer market.Close()
		cfg = grid.Config{APIKey: market.Key(), BaseURL: market.BaseURL(), HTTPClient: &http.Client{Transport: market.Transport()}}
	}
	client, err := grid.New(cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	// One ledger for both agents, so that they share the caps.
	ledger, err := budget.Open(ctx, budget.Config{Store: budget.NewMemory(budget.Volatile()), Caps: caps})
	if err != nil {
		return err
	}
	defer ledger.Shutdown(ctx)
	t := newTrace(file, content)
	defer func() {
		if werr := t.write(context.WithoutCancel(ctx)); err == nil {
			err = werr
		}
	}()

	s, b := newShop(), &bill{}
	if err := refundDesk(ctx, client, ledger, t.Tracing, s, b); err != nil {
		return err
	}
	if err := runaway(ctx, client, ledger, t.Tracing, s, b); err != nil {
		return err
	}
	return b.compare(market)
}

// refundDesk is an ordinary run.
func refundDesk(ctx context.Context, client *grid.Client, ledger *budget.Ledger, t *tracing.Tracing, s *shop, b *bill) error {
	desk, err := agent.New(agent.Config{
		Name:         "refund-desk",
		Instructions: "You handle complaints of a lamp shop. Look the order up, read the policy, refund what it says, then report.",
		File:         "gridloop.yaml", FS: files,
		Market: client, Ledger: ledger, Tracing: t,
		Tools: s.refundTools(),
	})
	if err != nil {
		return err
	}
	defer desk.Shutdown(ctx)

	title("1. A customer complains: \"Order 1042 came late.\"")
	v := newView()
	task := agent.Start[verdict](ctx, desk, "Order 1042 came late.", agent.Tenant("lamp-shop"))
	v.watch(task.Events())
	res, err := task.Result()
	if err != nil {
		return err
	}
	fmt.Printf("\n   answer: refunded %t, $%d.%02d: %s\n", res.Output.Refunded, res.Output.Cents/100, res.Output.Cents%100, res.Output.Why)
	fmt.Printf("   stopped: %s, cost %s, waited %s for a top-up\n", res.Stop, res.Cost, res.Waited.Round(100*time.Millisecond))
	return settle(ctx, desk, res, b)
}

// runaway is a run that would never end by itself.
func runaway(ctx context.Context, client *grid.Client, ledger *budget.Ledger, t *tracing.Tracing, s *shop, b *bill) error {
	researcher, err := agent.New(agent.Config{
		Name:         "researcher",
		Instructions: "You search the shop's notes until you are sure.",
		Market:       client, Ledger: ledger, Tracing: t,
		Tools: s.searchTools(),
	})
	if err != nil {
		return err
	}
	defer researcher.Shutdown(ctx)

	title("2. A loop runs away: it searches for ever. Its cap is $0.02.")
	fmt.Println("   It ends when the bound of the next call, beside what is kept back for its answer, does not fit any more.")
	v := newView()
	task := agent.Start[string](ctx, researcher, "Find out why lamps come late.", agent.Tenant("lamp-shop"), agent.Cap(budget.USD(0.02)))
	v.watch(task.Events())
	res, err := task.Result()
	if err != nil {
		return err
	}
	fmt.Printf("\n   stopped: %s after %d steps, with an answer: %t, cost %s of $0.02\n", res.Stop, len(res.Steps), res.Final, res.Cost)
	return settle(ctx, researcher, res, b)
}
