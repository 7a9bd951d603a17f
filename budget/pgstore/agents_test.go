package pgstore

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

const dollar = 1_000_000_000

var dollarADay = budget.Cap{For: budget.Account(), Meter: budget.MeterMoney, Limit: dollar, Per: budget.Day(nil)}

// ending is what a run that was not killed says at its end.
type ending struct{ Text, Stop, Reason string }

// workAgent is a process with an agent that never stops by itself. words are the server, the market, its key and a file
// for the ending.
func workAgent(words []string) int {
	store := At(words[0])
	defer store.Close()
	market, err := grid.New(grid.Config{BaseURL: words[1], APIKey: words[2]})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	look := tools.New("look", "Look once more.", func(context.Context, struct{}) (string, error) { return "nothing yet", nil }, tools.ReadOnly())
	a, err := agent.New(agent.Config{Name: "runaway", Market: market, Store: store, Caps: []budget.Cap{dollarADay}, Tools: []tools.Tool{look},
		Limits: agent.Limits{Steps: 10_000, MaxTokens: 16_384, ToolCalls: 100_000, RunNanoUSD: 5 * dollar, RunTokens: 1_000_000_000}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	res, err := agent.Run[string](context.Background(), a, "Look until you find it, "+strconv.Itoa(os.Getpid()))
	if res == nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	said, err := json.Marshal(ending{res.Text, string(res.Stop), res.Reason})
	if err != nil || os.WriteFile(words[3], said, 0o600) != nil {
		return 4
	}
	return 0
}

// dear is as dear as a supplier can be that keeps to max_tokens, and asks for more each time.
func dear(turn gridtest.Turn) gridtest.Reply {
	r := gridtest.Reply{Text: "This is what I have."}
	if len(turn.Tools) > 0 {
		r = gridtest.Reply{Text: "Looking again.", Calls: []gridtest.ToolCall{gridtest.Call("look", "{}")}}
	}
	r.PromptTokens, r.CompletionTokens = int64(len(turn.Raw)), turn.MaxTokens
	return r
}

func TestFourRunawayAgentsInFourProcessesStayWithinOneDollar(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	srv := startServer(t)
	dsn := srv.dsn() + "&search_path=" + srv.emptySchema(t)
	market := gridtest.New(gridtest.Config{})
	defer market.Close()
	market.Model(dear)
	dir := t.TempDir()
	cmds := map[string]*exec.Cmd{}
	for i := range 4 {
		path := fmt.Sprintf("%s/%d", dir, i)
		cmds[path] = startWorker(t, "agent "+dsn+" "+market.URL()+" "+market.Key()+" "+path)
	}
	for path, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Errorf("a process ended with %v", err)
			continue
		}
		said, err := os.ReadFile(path)
		var e ending
		if err != nil || json.Unmarshal(said, &e) != nil || e.Text == "" || e.Stop == "" || e.Reason == "" {
			t.Errorf("a run ended with %s, %v", said, err)
		}
	}
	bill := market.Bill("")
	t.Logf("billed %s in %d requests", budget.FormatUSD(bill), len(market.Requests()))
	if bill > dollar || bill < dollar/2 {
		t.Fatalf("billed %d of %d", bill, dollar)
	}
}

func TestAnAgentThatIsKilledAtWorkStaysWithinItsDay(t *testing.T) {
	if testing.Short() {
		t.Skip("starts and kills processes")
	}
	t.Parallel()
	srv := startServer(t)
	dsn := srv.dsn() + "&search_path=" + srv.emptySchema(t)
	market := gridtest.New(gridtest.Config{})
	defer market.Close()
	market.Model(dear)
	what := "agent " + dsn + " " + market.URL() + " " + market.Key() + " " + t.TempDir() + "/end"
	calls, starts := 0, 20
	switch {
	case os.Getenv("GRIDLOOP_LONG") != "":
		starts = 50
	case racing:
		starts = 8
	}
	for range starts {
		cmd := startWorker(t, what)
		over := make(chan struct{})
		go func() { _ = cmd.Wait(); close(over) }()
		for done, until := false, calls+1+rand.IntN(3); !done && len(market.Requests()) < until; { // it is killed at work, or ends because the day's dollar is spent
			select {
			case <-over:
				done = true
			case <-time.After(time.Millisecond):
			}
		}
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		_ = cmd.Process.Kill()
		<-over
		calls = len(market.Requests())
	}
	bill := market.Bill("")
	t.Logf("billed %s in %d requests", budget.FormatUSD(bill), calls)
	if bill > dollar || calls < starts {
		t.Fatalf("billed %d of %d in %d requests", bill, dollar, calls)
	}
}
