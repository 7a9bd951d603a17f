package redisstore

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
	"github.com/redis/go-redis/v9"
)

// lookCap is what all processes together may look.
var lookCap = budget.Cap{For: budget.One(budget.ScopeTool, "look"), Meter: budget.MeterToolCalls, Limit: 10, Per: budget.Lifetime()}

// news is a line that a process with an agent writes: it is paused, or it has ended.
type news struct{ Paused, Detail, Text, Error string }

// workFrozen is a process with an agent that goes on, when it is paused, for each line of its input. words are the server,
// the market, its key and a file in which each look is a line.
func workFrozen(words []string) int {
	c := redis.NewClient(&redis.Options{Addr: words[0]})
	defer c.Close()
	market, err := grid.New(grid.Config{BaseURL: words[1], APIKey: words[2]})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	look := tools.New("look", "Look once more.", func(context.Context, struct{}) (string, error) {
		f, err := os.OpenFile(words[3], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return "", err
		}
		_, err = fmt.Fprintln(f, "looked")
		return "nothing yet", errors.Join(err, f.Close())
	}, tools.ReadOnly())
	a, err := agent.New(agent.Config{Name: "runaway", Market: market, Store: New(c), Caps: []budget.Cap{dollarADay, lookCap}, Tools: []tools.Tool{look},
		Limits: agent.Limits{Steps: 10_000, ToolCalls: 100_000}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	told, said := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	res, err := agent.Run[string](context.Background(), a, "Look until you find it.", agent.Tenant("acme"))
	for {
		p, ok := errors.AsType[*agent.Paused](err)
		if !ok {
			break
		}
		if said.Encode(news{Paused: string(p.Reason), Detail: p.Detail}) != nil || !told.Scan() {
			return 3
		}
		res, err = agent.Resume[string](context.Background(), a, p.Token)
	}
	n := news{Text: res.Text}
	if err != nil {
		n.Error = err.Error()
	}
	if said.Encode(n) != nil {
		return 3
	}
	return 0
}

// office is one such process.
type office struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// hears waits for the next line.
func (o *office) hears(t *testing.T) news {
	t.Helper()
	var n news
	if err := o.out.Decode(&n); err != nil {
		t.Fatalf("a process says nothing more: %v", err)
	}
	return n
}

func (o *office) goOn(t *testing.T) {
	t.Helper()
	if _, err := fmt.Fprintln(o.in, "go on"); err != nil {
		t.Fatal(err)
	}
}

func TestAFreezePausesTheAgentsOfFourProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	srv := startServer(t)
	market := gridtest.New(gridtest.Config{Latency: 20 * time.Millisecond})
	defer market.Close()
	var asked atomic.Int64
	var enough atomic.Bool
	market.Model(func(turn gridtest.Turn) gridtest.Reply {
		asked.Add(1)
		if enough.Load() || len(turn.Tools) == 0 {
			return gridtest.Reply{Text: "This is what I have."}
		}
		return gridtest.Reply{Calls: []gridtest.ToolCall{gridtest.Call("look", "{}")}}
	})
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	looks := filepath.Join(t.TempDir(), "looks")
	var offices []*office
	for range 4 {
		o := &office{cmd: exec.Command(exe)}
		o.cmd.Env = append(os.Environ(), workerEnv+"=frozen "+srv.addr+" "+market.URL()+" "+market.Key()+" "+looks)
		o.cmd.Stderr = os.Stderr
		if o.in, err = o.cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		out, err := o.cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		o.out = json.NewDecoder(out)
		if err := o.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = o.in.Close(); _ = o.cmd.Process.Kill(); _ = o.cmd.Wait() })
		offices = append(offices, o)
	}
	// Longer than the cap on looks lets them look.
	for deadline := time.Now().Add(time.Minute); asked.Load() < 40; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the market was asked %d times", asked.Load())
		}
	}
	ctx, acme := t.Context(), budget.Scope{Kind: budget.ScopeTenant, Name: "acme"}
	l, err := budget.Open(ctx, budget.Config{Store: New(srv.closing(t))})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Freeze(ctx, acme, "the bill looks odd", time.Time{}, "ann"); err != nil {
		t.Fatal(err)
	}
	allPaused := func() {
		t.Helper()
		for _, o := range offices {
			if n := o.hears(t); n.Paused != string(agent.PauseFrozen) || !strings.Contains(n.Detail, "the bill looks odd") {
				t.Fatalf("frozen, but %+v", n)
			}
		}
	}
	allPaused()
	spent := func() budget.CapState {
		t.Helper()
		open, err := l.OpenReservations(ctx, "")
		if err != nil || len(open) != 0 {
			t.Errorf("paused agents hold %+v, %v", open, err)
		}
		states, err := l.Snapshot(ctx)
		if err != nil || len(states) != 1 || states[0].Held != 0 || states[0].Unconfirmed != 0 {
			t.Fatalf("%+v, %v", states, err)
		}
		return states[0]
	}
	// What was under way has settled by what it used: nothing was cut off.
	before, bill, n := spent(), market.Bill(""), asked.Load()
	if before.Settled < bill || bill == 0 {
		t.Errorf("the ledger counts %d, the bill is %d", before.Settled, bill)
	}
	for _, o := range offices {
		o.goOn(t)
	}
	allPaused()
	if asked.Load() != n || spent().Settled != before.Settled {
		t.Errorf("a frozen agent asked the market %d times", asked.Load()-n)
	}
	if err := l.Unfreeze(ctx, acme, "ann"); err != nil {
		t.Fatal(err)
	}
	enough.Store(true)
	for _, o := range offices {
		o.goOn(t)
	}
	for _, o := range offices {
		if n := o.hears(t); n.Text != "This is what I have." || n.Error != "" {
			t.Errorf("after the thaw: %+v", n)
		}
		if err := o.cmd.Wait(); err != nil {
			t.Errorf("a process ended with %v", err)
		}
	}
	if after := spent(); asked.Load() < n+4 || after.Settled <= before.Settled || after.Settled < market.Bill("") {
		t.Errorf("asked %d times more; the ledger counts %d, the bill is %d", asked.Load()-n, after.Settled, market.Bill(""))
	}
	lines, err := os.ReadFile(looks)
	if err != nil || strings.Count(string(lines), "\n") != int(lookCap.Limit) {
		t.Errorf("all processes looked %d times under a cap of %d, %v", strings.Count(string(lines), "\n"), lookCap.Limit, err)
	}
	states, err := l.Snapshot(ctx, budget.Scope{Kind: budget.ScopeTool, Name: "look"})
	for _, s := range states {
		if s.Cap == lookCap.ID() && s.Settled != lookCap.Limit {
			t.Errorf("looks: %+v", s)
		}
	}
	if err != nil || len(states) != 2 {
		t.Errorf("%+v, %v", states, err)
	}
}
