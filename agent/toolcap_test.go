package agent_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// mail is a tool that counts how often it really ran.
func mail(ran *atomic.Int64, opts ...tools.Option) tools.Tool {
	return tools.New("mail", "Send a mail.", func(context.Context, empty) (string, error) {
		ran.Add(1)
		return "sent", nil
	}, opts...)
}

func mailCall() gridtest.ToolCall { return gridtest.Call("mail", "{}") }

var mailTool = budget.Scope{Kind: budget.ScopeTool, Name: "mail"}

func callCap(target budget.Target, limit int64) budget.Cap {
	return budget.Cap{For: target, Meter: budget.MeterToolCalls, Limit: limit, Per: budget.Day(nil)}
}

// toolMessages are the texts of the results that the model was given.
func toolMessages[T any](res *agent.Result[T]) []string {
	var out []string
	for _, m := range res.History() {
		if m.Role == "tool" {
			out = append(out, m.Content)
		}
	}
	return out
}

// Runs of several replicas share a cap on the calls of a tool, and all of them end
// with an answer.
func TestACapOnToolCallsHoldsForParallelRunsOfReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			if turn.N < 2 {
				return calls(mailCall(), mailCall())
			}
			return say("done")
		})
		var ran atomic.Int64
		slow := tools.New("mail", "Send a mail.", func(context.Context, empty) (string, error) {
			ran.Add(1)
			time.Sleep(time.Second)
			return "sent", nil
		}, tools.ReadOnly())
		store := budget.NewMemory(budget.Volatile())
		cap := callCap(budget.One("tool", "mail").And(budget.Each("tenant")), 7)
		var agents []*agent.Agent
		for range 3 {
			agents = append(agents, open(t, m, agent.Config{Tools: []tools.Tool{slow}, Store: store, Caps: []budget.Cap{cap}}))
		}
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				res, err := agent.Run[string](t.Context(), agents[i%len(agents)], fmt.Sprint("go ", i), agent.Tenant("acme"))
				stands(t, res, err)
				if err != nil || res.Text != "done" || res.Usage.ToolCalls != 4 {
					t.Errorf("%q after %d calls: %v", res.Text, res.Usage.ToolCalls, err)
				}
			})
		}
		wg.Wait()
		if n := ran.Load(); n != 7 {
			t.Errorf("the tool ran %d times under a cap of 7", n)
		}
		l := agents[0].Ledger()
		if s := state(t, l, cap.ID(), mailTool, budget.Scope{Kind: "tenant", Name: "acme"}); s.Settled != 7 || s.Held != 0 {
			t.Errorf("the ledger says %+v", s)
		}
		top, err := l.Top(t.Context(), budget.TopQuery{By: budget.ScopeTool})
		if err != nil || len(top) != 1 || top[0].Scope != mailTool || top[0].Settled != 7 {
			t.Errorf("top: %+v, %v", top, err)
		}
	})
}

func TestACallThatACapRefusesIsToldToTheModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(mailCall()), calls(mailCall()), calls(mailCall()), say("one mail went out"))
		var ran atomic.Int64
		a := open(t, m, agent.Config{Tools: []tools.Tool{mail(&ran, tools.Uses("emails", 2))}, Store: budget.NewMemory(budget.Volatile()),
			Caps: []budget.Cap{{For: budget.Each("tenant"), Meter: budget.Custom("emails"), Limit: 3, Per: budget.Day(nil)}}})
		live := agent.Start[string](t.Context(), a, "go", agent.Tenant("secret-tenant"))
		var denied []agent.BudgetDenied
		finished := map[string]int{}
		for e := range live.Events() {
			switch e := e.(type) {
			case agent.BudgetDenied:
				denied = append(denied, e)
			case agent.ToolFinished:
				finished[e.Status]++
			}
		}
		res, err := live.Result()
		stands(t, res, err)
		if err != nil || res.Text != "one mail went out" || ran.Load() != 1 || res.Usage.ToolCalls != 3 || res.Usage.Escalations != 0 {
			t.Errorf("%q after %d mails, %+v: %v", res.Text, ran.Load(), res.Usage, err)
		}
		if len(denied) != 2 || denied[0].Tool != "mail" || denied[0].Kind != "spent" || finished["budget"] != 2 || finished["ok"] != 1 {
			t.Errorf("events: %+v, %v", denied, finished)
		}
		said := toolMessages(res)
		tomorrow := time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour).Format(time.RFC3339)
		for _, want := range []string{"budget", "limit of 3 emails", "this tenant", tomorrow} {
			if !strings.Contains(said[1], want) {
				t.Errorf("the model is told %q, without %q", said[1], want)
			}
		}
		if strings.Contains(said[1], "secret-tenant") {
			t.Errorf("the model is told whom it works for: %q", said[1])
		}
	})
}

// What ran counts, however it ended; what did not run does not.
func TestCallsThatRanCount(t *testing.T) {
	wedge := make(chan struct{})
	type in struct {
		How string `json:"how"`
	}
	do := tools.New("do", "Do it.", func(ctx context.Context, in in) (string, error) {
		switch in.How {
		case "panic":
			panic("no")
		case "fail":
			return "", errors.New("no")
		case "late":
			<-ctx.Done()
			return "", ctx.Err()
		case "never":
			<-wedge
		}
		return "done", nil
	}, tools.Timeout(time.Second), tools.Grace(time.Second))
	ask := tools.New("ask", "Ask.", func(context.Context, empty) (string, error) { return "done", nil }, tools.NeedsApproval())
	for _, tc := range []struct {
		name, tool, args string
		counts           int64
	}{
		{"a success", "do", `{"how":"well"}`, 1},
		{"an error", "do", `{"how":"fail"}`, 1},
		{"a panic", "do", `{"how":"panic"}`, 1},
		{"a timeout", "do", `{"how":"late"}`, 1},
		{"an abandoned call", "do", `{"how":"never"}`, 1},
		{"wrong arguments", "do", `{"how":1}`, 0},
		{"no such tool", "undo", `{}`, 0},
		{"a person's no", "ask", `{}`, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wedge = make(chan struct{})
				defer close(wedge)
				m := newMarket(t, gridtest.Config{})
				turns(m, calls(gridtest.Call(tc.tool, tc.args)), say("done"))
				l := ledgerOf(t, callCap(budget.Account(), 5))
				a := open(t, m, agent.Config{Tools: []tools.Tool{do, ask}, Ledger: l})
				res, err := agent.Run[string](t.Context(), a, "go")
				if tc.tool == "ask" {
					p := paused(t, err)
					res, err = agent.Resume[string](t.Context(), a, p.Token, agent.Deny(p.Calls[0]))
				}
				stands(t, res, err)
				if s := state(t, l, callCap(budget.Account(), 5).ID()); err != nil || s.Settled != tc.counts || s.Held != 0 {
					t.Errorf("counted %+v, want %d: %v", s, tc.counts, err)
				}
			})
		})
	}
}

func TestACancelledCallCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(gridtest.Call("wait", "{}")))
		ctx, cancel := context.WithCancel(t.Context())
		waits := tools.New("wait", "Wait.", func(ctx context.Context, _ empty) (string, error) {
			cancel()
			<-ctx.Done()
			return "", ctx.Err()
		})
		l := ledgerOf(t, callCap(budget.Account(), 5))
		res, err := agent.Run[string](ctx, open(t, m, agent.Config{Tools: []tools.Tool{waits}, Ledger: l}), "go")
		stands(t, res, err)
		if s := state(t, l, callCap(budget.Account(), 5).ID()); res.Stop != agent.StopCanceled || s.Settled != 1 || s.Held != 0 {
			t.Errorf("%s, counted %+v", res.Stop, s)
		}
	})
}

// The stop button for a tool works although nothing counted its calls before.
func TestAFrozenToolPausesTheRunUntilTheThaw(t *testing.T) {
	for _, counted := range []bool{false, true} {
		t.Run(fmt.Sprintf("counted before: %t", counted), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				turns(m, calls(lookCall()), calls(lookCall(), mailCall(), lookCall()), say("done"))
				store := budget.NewMemory(budget.Volatile())
				var caps []budget.Cap
				if counted {
					caps = []budget.Cap{callCap(budget.Each("tool"), 100)}
				}
				button, err := budget.Open(t.Context(), budget.Config{Store: store, Caps: caps})
				if err != nil {
					t.Fatal(err)
				}
				var ran, looked atomic.Int64
				look := tools.New("look", "Look.", func(ctx context.Context, _ empty) (string, error) {
					if looked.Add(1) == 1 {
						return "seen", button.Freeze(ctx, mailTool, "too many mails", time.Time{}, "ann")
					}
					return "seen", nil
				}, tools.ReadOnly())
				a := open(t, m, agent.Config{Tools: []tools.Tool{look, mail(&ran, tools.ReadOnly())}, Store: store})
				res, err := agent.Run[string](t.Context(), a, "go")
				stands(t, res, err)
				p := paused(t, err)
				if p.Reason != agent.PauseFrozen || !errors.Is(err, budget.ErrFrozen) || !strings.Contains(p.Detail, "too many mails") || ran.Load() != 0 || looked.Load() != 3 {
					t.Fatalf("%s (%s), %d mails, %d looks: %v", p.Reason, p.Detail, ran.Load(), looked.Load(), err)
				}
				open, err := a.Ledger().OpenReservations(t.Context(), "")
				if err != nil || len(open) != 0 {
					t.Errorf("a paused run holds %+v, %v", open, err)
				}
				_, err = agent.Resume[string](t.Context(), a, p.Token)
				if p = paused(t, err); p.Reason != agent.PauseFrozen || ran.Load() != 0 {
					t.Fatalf("still frozen, but %v", err)
				}
				if err := button.Unfreeze(t.Context(), mailTool, "ann"); err != nil {
					t.Fatal(err)
				}
				res, err = agent.Resume[string](t.Context(), a, p.Token)
				stands(t, res, err)
				if err != nil || res.Text != "done" || ran.Load() != 1 || looked.Load() != 3 || res.Usage.ToolCalls != 4 {
					t.Errorf("after the thaw: %q, %d mails, %d looks, %+v: %v", res.Text, ran.Load(), looked.Load(), res.Usage, err)
				}
			})
		})
	}
}

// A run that was stopped in a call asks for it under a new id; what the old one left
// open counts.
func TestACallOfADeadIncarnationCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(mailCall()), say("done"))
		cap := callCap(budget.Each("tool"), 5)
		l := ledgerOf(t, cap)
		var ran atomic.Int64
		a := open(t, m, agent.Config{Tools: []tools.Tool{mail(&ran, tools.NeedsApproval())}, Ledger: l})
		_, err := agent.Run[string](t.Context(), a, "go")
		p := paused(t, err)
		if _, err := l.Reserve(t.Context(), budget.Request{ID: p.Calls[0].Key + "/dead", Scopes: []budget.Scope{mailTool}, Amounts: budget.Amounts{ToolCalls: 1}}); err != nil {
			t.Fatal(err)
		}
		res, err := agent.Resume[string](t.Context(), a, p.Token, agent.Approve(p.Calls[0]))
		stands(t, res, err)
		if s := state(t, l, cap.ID(), mailTool); err != nil || ran.Load() != 1 || s.Settled != 2 || s.Unconfirmed != 1 || s.Held != 0 {
			t.Errorf("%d mails, %+v: %v", ran.Load(), s, err)
		}
	})
}

// Calls of a sub-agent count for every run above it, and the call of it as well.
func TestCallsOfSubAgentsCountForTheRunsAbove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			switch {
			case turn.N > 0 || len(turn.Tools) == 0:
				return say("done")
			case turn.Tools[0] == "helper":
				return calls(gridtest.Call("helper", `{"task":"mail twice"}`), gridtest.Call("helper", `{"task":"mail twice"}`))
			}
			return calls(mailCall(), mailCall())
		})
		var ran atomic.Int64
		client := clientOf(t, m)
		below := open(t, m, agent.Config{Name: "helper", Tools: []tools.Tool{mail(&ran)}, Market: client})
		run := callCap(budget.One("run", "r1"), 5)
		helper := callCap(budget.One("tool", "helper"), 2)
		l := ledgerOf(t, run, helper)
		above := open(t, m, agent.Config{Name: "boss", Agents: []*agent.Agent{below}, Market: client, Ledger: l})
		res, err := agent.Run[string](t.Context(), above, "go", agent.RunID("r1"))
		stands(t, res, err)
		// Two calls of the agent and three mails are five.
		if err != nil || ran.Load() != 3 {
			t.Errorf("%d mails, %v", ran.Load(), err)
		}
		if s := state(t, l, helper.ID(), budget.Scope{Kind: "tool", Name: "helper"}); s.Settled != 2 {
			t.Errorf("the agent was called %+v", s)
		}
		res, err = agent.Run[string](t.Context(), above, "again", agent.RunID("r2"))
		stands(t, res, err)
		if said := toolMessages(res); err != nil || ran.Load() != 3 || len(said) != 2 || !strings.Contains(said[0], "limit of 2 tool calls for tool helper") {
			t.Errorf("above the cap: %d mails, told %q: %v", ran.Load(), said, err)
		}
	})
}

func TestARunWithoutTheLabelOfACallCapEnds(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(mailCall()), say("done"))
	var ran atomic.Int64
	a := open(t, m, agent.Config{Tools: []tools.Tool{mail(&ran)}, Ledger: ledgerOf(t, callCap(budget.Each("tenant"), 5))})
	res, err := agent.Run[string](t.Context(), a, "go")
	stands(t, res, err)
	if !errors.Is(err, budget.ErrNoLabel) || !strings.Contains(err.Error(), "tenant") || ran.Load() != 0 || res.Stop != agent.StopError {
		t.Errorf("%d mails: %v", ran.Load(), err)
	}
}

// Another process caps a tool while runs are under way.
func TestACapThatOthersDefineHoldsFromTheNextTurn(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(mailCall()), calls(mailCall()), calls(mailCall()), say("done"))
	store := budget.NewMemory(budget.Volatile())
	other, err := budget.Open(t.Context(), budget.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	tool := tools.New("mail", "Send a mail.", func(ctx context.Context, _ empty) (string, error) {
		if ran++; ran == 1 {
			return "sent", other.Define(ctx, "ann", callCap(budget.One("tool", "mail"), 1))
		}
		return "sent", nil
	})
	res, err := agent.Run[string](t.Context(), open(t, m, agent.Config{Tools: []tools.Tool{tool}, Store: store}), "go")
	stands(t, res, err)
	if err != nil || ran != 2 {
		t.Errorf("%d mails, one before the cap and one under it: %v", ran, err)
	}
}

// countingStore counts what is asked of a store.
type countingStore struct {
	budget.Store
	reserves, others atomic.Int64
	away             atomic.Bool
}

func (s *countingStore) Reserve(ctx context.Context, account string, op *budget.ReserveOp, ans *budget.Answer) error {
	if op.Amounts.ToolCalls > 0 {
		s.reserves.Add(1)
	}
	if s.away.Load() && op.Amounts.ToolCalls > 0 {
		return errors.New("away")
	}
	return s.Store.Reserve(ctx, account, op, ans)
}

func (s *countingStore) Freezes(ctx context.Context, account string) ([]budget.Freeze, error) {
	s.others.Add(1)
	return s.Store.Freezes(ctx, account)
}

func (s *countingStore) Open(ctx context.Context, account, prefix string) ([]budget.Reservation, error) {
	s.others.Add(1)
	return s.Store.Open(ctx, account, prefix)
}

func TestCallsThatNoCapCountsAskNoStore(t *testing.T) {
	for _, counted := range []bool{false, true} {
		asked := map[int]int64{}
		for _, n := range []int{1, 5} {
			m := newMarket(t, gridtest.Config{})
			var cs []gridtest.ToolCall
			for range n {
				cs = append(cs, lookCall())
			}
			turns(m, calls(cs...), say("done"))
			store := &countingStore{Store: budget.NewMemory(budget.Volatile())}
			cfg := agent.Config{Tools: []tools.Tool{look()}, Store: store}
			if counted {
				cfg.Caps = []budget.Cap{callCap(budget.Account(), budget.None)}
			}
			if _, err := agent.Run[string](t.Context(), open(t, m, cfg), "go"); err != nil {
				t.Fatal(err)
			}
			asked[n] = store.reserves.Load() + store.others.Load()
		}
		if more, want := asked[5]-asked[1], map[bool]int64{true: 4}[counted]; more != want {
			t.Errorf("counted %t: four more calls asked the store %d times more, want %d", counted, more, want)
		}
	}
}

func TestAStoreThatIsAwayPausesBeforeACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(mailCall()), say("done"))
		store := &countingStore{Store: budget.NewMemory(budget.Volatile())}
		store.away.Store(true)
		var ran atomic.Int64
		a := open(t, m, agent.Config{Tools: []tools.Tool{mail(&ran)}, Store: store, Caps: []budget.Cap{callCap(budget.Account(), 5)}})
		_, err := agent.Run[string](t.Context(), a, "go")
		p := paused(t, err)
		if p.Reason != agent.PauseStore || ran.Load() != 0 || !errors.Is(err, budget.ErrUnavailable) {
			t.Fatalf("%s, %d mails: %v", p.Reason, ran.Load(), err)
		}
		store.away.Store(false)
		res, err := agent.Resume[string](t.Context(), a, p.Token)
		stands(t, res, err)
		if err != nil || ran.Load() != 1 || res.Text != "done" {
			t.Errorf("%q, %d mails: %v", res.Text, ran.Load(), err)
		}
	})
}

// Caps that would silently never count are mistakes: in Go, in the file, and later.
func TestCapsThatWouldNeverCountAreRefused(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	a := open(t, m, agent.Config{Store: budget.NewMemory(budget.Volatile())})
	for _, tc := range []struct {
		target string
		meter  budget.Meter
		field  string // empty: it counts
		fix    string
	}{
		{"tool mail", budget.MeterMoney, "Meter", "agent researcher"},
		{"each tool", budget.MeterTokens, "Meter", "tool_calls"},
		{"tool mail and each tenant", budget.MeterRequests, "Meter", "tools.Uses"},
		{"instrument agent-max", budget.MeterToolCalls, "Meter", "requests"},
		{"each family", budget.MeterToolCalls, "Meter", "family"},
		{"tier max and user ann", budget.Custom("emails"), "Meter", "tier"},
		{"tool mail and each instrument", budget.MeterToolCalls, "For", "one cap for the tool"},
		{"tool mail and each instrument", budget.MeterMoney, "For", "one cap for the tool"},
		{"tool mail", budget.MeterToolCalls, "", ""},
		{"each tool and agent desk", budget.Custom("emails"), "", ""},
		{"account", budget.MeterToolCalls, "", ""},
		{"tag:team x", budget.Custom("emails"), "", ""},
		{"agent researcher", budget.MeterMoney, "", ""},
		{"each tier", budget.MeterRequests, "", ""},
	} {
		t.Run(tc.target+" "+string(tc.meter), func(t *testing.T) {
			target, err := budget.ParseTarget(tc.target)
			if err != nil {
				t.Fatal(err)
			}
			cap := budget.Cap{For: target, Meter: tc.meter, Limit: 5, Per: budget.Day(nil)}
			_, inGo := agent.New(agent.Config{Name: "desk", Market: clientOf(t, m), Store: budget.NewMemory(budget.Volatile()), Caps: []budget.Cap{cap}})
			for where, err := range map[string]error{"Countable": agent.Countable(cap), "Define": a.Ledger().Define(t.Context(), "ann", cap), "New": inGo} {
				var f *budget.FieldError
				switch {
				case tc.field == "" && err != nil:
					t.Errorf("%s: %v", where, err)
				case tc.field != "" && (!errors.As(err, &f) || f.Field != tc.field || !strings.Contains(f.Fix, tc.fix)):
					t.Errorf("%s: %v, want a mistake in %s that says %q", where, err, tc.field, tc.fix)
				}
			}
		})
	}
}

func TestTheFileCapsCallsAndMetersOfTools(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(mailCall()), calls(mailCall()), calls(lookCall()), say("done"))
	file := func(caps string) agent.Config {
		return agent.Config{Name: "desk", Market: clientOf(t, m), Store: budget.NewMemory(budget.Volatile()), File: "gridloop.yaml",
			FS: fstest.MapFS{"gridloop.yaml": {Data: []byte("version: 1\ncaps:\n" + caps)}}}
	}
	var ran atomic.Int64
	cfg := file("  - {for: each tool, tool_calls: none, per: day}\n  - {for: account, custom: {emails: 1}, per: day}\n")
	cfg.Tools = []tools.Tool{mail(&ran, tools.Uses("emails", 1)), look()}
	a := open(t, m, cfg)
	res, err := agent.Run[string](t.Context(), a, "go")
	stands(t, res, err)
	if s := state(t, a.Ledger(), "each tool tool_calls day UTC", mailTool); err != nil || ran.Load() != 1 || s.Settled != 1 || s.Limit != budget.None {
		t.Errorf("%d mails, %+v: %v", ran.Load(), s, err)
	}
	for _, want := range []string{"each tool    any number of tool_calls per day UTC\n", "account      1 custom:emails per day UTC\n", "uses 1 emails"} {
		if !strings.Contains(a.Explain(), want) {
			t.Errorf("Explain does not say %q:\n%s", want, a.Explain())
		}
	}
	other := file("  - {for: tool fax, tool_calls: 5, per: day}\n  - {for: account, custom: {faxes: 1}, per: day}\n")
	other.Tools = cfg.Tools
	for _, want := range []string{"5 tool_calls per day UTC; this agent has no such tool", `tools.Uses("faxes", ...)`} {
		if said := open(t, m, other).Explain(); !strings.Contains(said, want) {
			t.Errorf("Explain does not say %q:\n%s", want, said)
		}
	}
	shared := open(t, m, agent.Config{Ledger: ledgerOf(t, budget.Cap{For: budget.One("tool", "mail"), Meter: budget.MeterMoney, Limit: 5, Per: budget.Day(nil)})})
	if said := shared.Explain(); !strings.Contains(said, "no agent is ever counted by it") {
		t.Errorf("Explain says nothing of a cap that never counts:\n%s", said)
	}
	for _, tc := range []struct{ name, caps, says string }{
		{"money for a tool", "  - {for: tool mail, money: $1.00, per: day}\n", "caps[0].money"},
		{"requests for a tool", "  - {for: each tool, requests: 5, per: day}\n", "caps[0].requests"},
		{"calls on an instrument", "  - {for: instrument agent-max, tool_calls: 5, per: day}\n", "caps[0].tool_calls"},
		{"a meter that has no name", "  - {for: account, custom: {E mails: 5}, per: day}\n", "caps[0].custom.E mails"},
		{"no calls at all", "  - {for: account, tool_calls: 0, per: day}\n", "whole number"},
		{"nothing", "  - {for: account, per: day}\n", "tool_calls or custom"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := agent.New(file(tc.caps)); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, want %q", err, tc.says)
			}
		})
	}
}

// A call waits for a while for what others hold, and then goes on without.
func TestACallWaitsForWhatOthersHold(t *testing.T) {
	for _, tc := range []struct {
		name   string
		frees  time.Duration
		waited time.Duration
		mails  int64
	}{
		{"given back in time", 3 * time.Second, 3 * time.Second, 1},
		{"given back too late", time.Hour, 10 * time.Second, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				turns(m, calls(mailCall()), say("done"))
				l := ledgerOf(t, callCap(budget.Account(), 1))
				if _, err := l.Reserve(t.Context(), budget.Request{ID: "other", Amounts: budget.Amounts{ToolCalls: 1}, Lease: 2 * time.Hour}); err != nil {
					t.Fatal(err)
				}
				free := time.AfterFunc(tc.frees, func() { _ = l.Void(context.Background(), "other", budget.ProofNeverDispatched) })
				defer free.Stop()
				var ran atomic.Int64
				live := agent.Start[string](t.Context(), open(t, m, agent.Config{Tools: []tools.Tool{mail(&ran)}, Ledger: l}), "go")
				waits, done := 0, agent.HeldDone{}
				for e := range live.Events() {
					switch e := e.(type) {
					case agent.HeldWait:
						waits++
					case agent.HeldDone:
						done = e
					}
				}
				res, err := live.Result()
				stands(t, res, err)
				if err != nil || ran.Load() != tc.mails || waits != 1 || done.OK != (tc.mails > 0) || done.Waited != tc.waited || res.Waited != tc.waited || res.Elapsed >= time.Second {
					t.Errorf("%d mails, waited %v (%v, %+v), worked %v: %v", ran.Load(), res.Waited, waits, done, res.Elapsed, err)
				}
				if said := toolMessages(res); tc.mails == 0 && !strings.Contains(said[0], "calls that are under way") {
					t.Errorf("the model is told %q", said)
				}
			})
		})
	}
}
