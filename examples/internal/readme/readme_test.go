// Package readme holds the README to its word: its program is compiled and run here.
package readme

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget/sqlitestore"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

type Order struct {
	ID    int `json:"id"`
	Cents int `json:"cents"`
}

type OrderID struct {
	Order int `json:"order"`
}

type Refund struct {
	Order int `json:"order"`
	Cents int `json:"cents" jsonschema:"minimum=1"`
}

type Receipt struct {
	Paid int `json:"paid"`
}

type Verdict struct {
	Refunded bool   `json:"refunded"`
	Why      string `json:"why"`
}

type payments struct{}

func (payments) Refund(_ context.Context, tenant string, order, cents int, key string) (Receipt, error) {
	return Receipt{Paid: cents}, nil
}

var pay payments

func lookupOrder(_ context.Context, in OrderID) (Order, error) {
	return Order{ID: in.Order, Cents: 4900}, nil
}

// The program of the README: TestReadmeProgramCompiles holds the two together.

// begin README

func payBack(ctx context.Context, in Refund) (Receipt, error) {
	call := tools.CallFrom(ctx) // run, tenant, user, approver, idempotency key
	return pay.Refund(ctx, call.Tenant, in.Order, in.Cents, call.Key)
}

func newDesk(market *grid.Client) (*agent.Agent, error) {
	return agent.New(agent.Config{
		Name: "refund-desk", Instructions: "You handle refunds.",
		Market: market,                     // nil = THEGRID_API_KEY
		File:   "gridloop.yaml",            // instruments, routes, caps, limits: one reviewed file; optional
		Store:  sqlitestore.At("spend.db"), // caps that outlive the process; nil = those of single runs, in memory
		Tools: []tools.Tool{
			tools.New("lookup_order", "Read one order.", lookupOrder, tools.ReadOnly()),
			tools.New("refund", "Pay money back.", payBack, tools.NeedsApproval()),
		},
	}) // nil Router = router.Default()
}

func short(ctx context.Context, desk *agent.Agent) error {
	res, err := agent.Run[Verdict](ctx, desk, "Order 42 came late", agent.Tenant("acme"))
	fmt.Println(res.Output, res.Stop, res.Cost) // $0.0132 (estimated); a result stands beside every error
	return err
}

func long(ctx context.Context, desk *agent.Agent) error {
	live := agent.Start[Verdict](ctx, desk, "Order 42 came late", agent.Tenant("acme"))
	for ev := range live.Events() {
		switch e := ev.(type) {
		case agent.TextDelta:
			fmt.Print(e.Text)
		case agent.Routed:
			log.Printf("step %d on %s: %s", e.Step, e.Instrument, e.Reason)
		case agent.TopUpWait:
			log.Printf("%s is being topped up", e.Instrument)
		}
	}
	res, err := live.Result()

	// Approval, a balance that stays dry, a freeze: one mechanism. Without
	// decisions a run that waits for money just goes on.
	if p, ok := errors.AsType[*agent.Paused](err); ok {
		var decisions []agent.Option
		for _, call := range p.Calls {
			decisions = append(decisions, agent.Approve(call, agent.By("ann")))
		}
		res, err = agent.Resume[Verdict](ctx, desk, p.Token, decisions...)
	}
	fmt.Println(res.Output, res.Stop, res.Cost)
	return err
}

// end README

func TestReadmeShowsThisProgram(t *testing.T) {
	source, err := os.ReadFile("readme_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(source), "// begin README\n\n")
	program, _, ok := strings.Cut(program, "\n// end README")
	if !ok || !strings.Contains(readme(t), "```go\n"+program+"```") {
		t.Error("the README's program is not the one that is compiled here")
	}
}

// The README's program runs with the README's file: both ways, through an
// approval and through a balance that stays dry.
func TestReadmeProgramRuns(t *testing.T) {
	_, file, _ := strings.Cut(readme(t), "```yaml\n")
	file, _, _ = strings.Cut(file, "```")
	t.Chdir(t.TempDir())
	if err := os.WriteFile("gridloop.yaml", []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	market := gridtest.New(gridtest.Config{})
	defer market.Close()
	market.Model(func(turn gridtest.Turn) gridtest.Reply {
		switch turn.N {
		case 0:
			return gridtest.Reply{Calls: []gridtest.ToolCall{gridtest.Call("lookup_order", `{"order":42}`), gridtest.Call("refund", `{"order":42,"cents":100}`)}}
		}
		return gridtest.Reply{Text: `{"refunded":true,"why":"late"}`}
	})
	client, err := grid.New(grid.Config{APIKey: market.Key(), HTTPClient: &http.Client{Transport: market.Transport()}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	desk, err := newDesk(client)
	if err != nil {
		t.Fatal(err)
	}
	defer desk.Shutdown(context.Background())
	var paused *agent.Paused
	if err := short(t.Context(), desk); !errors.As(err, &paused) || len(paused.Calls) != 1 {
		t.Errorf("the short way: %v", err)
	}
	if err := long(t.Context(), desk); err != nil {
		t.Errorf("the long way: %v", err)
	}
}

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(readmeFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// readmeFile is absolute, since a test changes its directory.
var readmeFile, _ = filepath.Abs("../../../README.md")
