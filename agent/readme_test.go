package agent_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/agent"
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

func embed(ctx context.Context) error {
	desk, err := agent.New(agent.Config{
		Name: "refund-desk", Instructions: "You handle refunds.",
		File: "gridloop.yaml", // instruments, routes, caps, limits: one reviewed file; optional
		Tools: []tools.Tool{
			tools.New("lookup_order", "Read one order.", lookupOrder, tools.ReadOnly()),
			tools.New("refund", "Pay money back.", payBack, tools.NeedsApproval()),
		},
	}) // nil Market = THEGRID_API_KEY, nil Router = router.Default()
	if err != nil {
		return err
	}
	defer desk.Shutdown(ctx)

	res, err := agent.Run[Verdict](ctx, desk, "Order 42 came late", agent.Tenant("acme")) // the short way
	if err == nil {
		fmt.Println(res.Output.Why)
	}

	live := agent.Start[Verdict](ctx, desk, "Order 42 came late") // the long way
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
	res, err = live.Result()

	if p, ok := errors.AsType[*agent.Paused](err); ok { // approval, credits, freeze: one mechanism
		res, err = agent.Resume[Verdict](ctx, desk, p.Token, agent.Approve(p.Calls[0], agent.By("ann")))
	}
	fmt.Println(res.Output, res.Stop, res.Cost) // $0.0132 (estimated)
	return err
}

// end README

func TestReadmeProgramCompiles(t *testing.T) {
	source, err := os.ReadFile("readme_test.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(source), "// begin README\n\n")
	program, _, ok := strings.Cut(program, "\n// end README")
	if !ok || !strings.Contains(string(readme), "```go\n"+program+"```") {
		t.Error("the README's program is not the one that is compiled here")
	}
	_ = embed
}
