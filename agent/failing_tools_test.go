package agent_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	openai "github.com/sashabaranov/go-openai"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// results are the tool messages of a history, in order.
func results(history []openai.ChatCompletionMessage) []string {
	var out []string
	for _, m := range history {
		if m.Role == "tool" {
			out = append(out, m.Content)
		}
	}
	return out
}

func TestToolThatFailsIsAResultForTheModel(t *testing.T) {
	type in struct {
		N int `json:"n"`
	}
	set := []tools.Tool{
		tools.New("broken", "Fail.", func(context.Context, empty) (string, error) { return "", errors.New("the printer is on fire") }),
		tools.New("panics", "Panic.", func(context.Context, empty) (string, error) { panic("at the disco") }),
		tools.New("exits", "Exit.", func(context.Context, empty) (string, error) { noMap()["x"] = 1; return "", nil }),
		tools.New("slow", "Sleep.", func(ctx context.Context, _ empty) (string, error) { <-ctx.Done(); return "", ctx.Err() }, tools.Timeout(time.Second)),
		tools.New("number", "Count.", func(_ context.Context, v in) (int, error) { return v.N + 1, nil }),
		tools.New("unprintable", "Return a channel.", func(context.Context, empty) (any, error) { return make(chan int), nil }),
	}
	for _, tc := range []struct {
		name   string
		call   gridtest.ToolCall
		status string
		tells  string
	}{
		{"an error", gridtest.Call("broken", "{}"), "error", "on fire"},
		{"a panic", gridtest.Call("panics", "{}"), "panic", "broke down"},
		{"a runtime panic", gridtest.Call("exits", "{}"), "panic", "broke down"},
		{"a timeout", gridtest.Call("slow", "{}"), "timeout", "1s"},
		{"an unknown tool", gridtest.Call("fly", "{}"), "unknown_tool", "number"},
		{"arguments that are no JSON", gridtest.Call("number", `{"n": 1`), "invalid_arguments", "JSON"},
		{"arguments of the wrong type", gridtest.Call("number", `{"n": "one"}`), "invalid_arguments", "n"},
		{"an argument that is missing", gridtest.Call("number", `{}`), "invalid_arguments", "n"},
		{"no arguments", gridtest.Call("number", ``), "invalid_arguments", "n"},
		{"a result without a JSON form", gridtest.Call("unprintable", `{}`), "error", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				turns(m, calls(tc.call, gridtest.Call("number", `{"n":41}`)), say("sorry"))
				a := open(t, m, agent.Config{Tools: set})
				live := agent.Start[string](t.Context(), a, "go")
				var statuses []string
				for e := range live.Events() {
					if f, ok := e.(agent.ToolFinished); ok {
						statuses = append(statuses, f.Status)
					}
				}
				res, err := live.Result()
				stands(t, res, err)
				if err != nil || res.Text != "sorry" {
					t.Fatalf("%q: %v", res.Text, err)
				}
				if want := []string{tc.status, "ok"}; !slices.Equal(statuses, want) {
					t.Errorf("statuses are %q, want %q", statuses, want)
				}
				got := results(res.History())
				if len(got) != 2 || !strings.Contains(got[0], tc.tells) || got[0] == "" || got[1] != "42" {
					t.Errorf("the model was told %q", got)
				}
				h := res.History()
				if c := h[1].ToolCalls[0].Function; c.Arguments != tc.call.Arguments {
					t.Errorf("the arguments are kept as %q, received were %q", c.Arguments, tc.call.Arguments)
				}
			})
		})
	}
}

func TestReadOnlyCallsRunEightAtOnceAndOthersAlone(t *testing.T) {
	for _, tc := range []struct {
		name     string
		parallel int
		opts     []tools.Option
		most     int32
		took     time.Duration
	}{
		{name: "read only", opts: []tools.Option{tools.ReadOnly()}, most: 8, took: 8 * time.Second},
		{name: "read only, two at once", parallel: 2, opts: []tools.Option{tools.ReadOnly()}, most: 2, took: 32 * time.Second},
		{name: "with effects", most: 1, took: 64 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var now, most atomic.Int32
				var mu sync.Mutex
				var order []int
				tool := tools.New("work", "Work.", func(ctx context.Context, _ empty) (int, error) {
					n := now.Add(1)
					defer now.Add(-1)
					mu.Lock()
					most.Store(max(most.Load(), n))
					order = append(order, tools.CallFrom(ctx).Index)
					mu.Unlock()
					time.Sleep(time.Second)
					return tools.CallFrom(ctx).Index, nil
				}, tc.opts...)
				var cs []gridtest.ToolCall
				for range 64 {
					cs = append(cs, gridtest.Call("work", "{}"))
				}
				m := newMarket(t, gridtest.Config{})
				turns(m, calls(cs...), say("done"))
				began := time.Now()
				res, err := agent.Run[string](t.Context(), open(t, m, agent.Config{Tools: []tools.Tool{tool}, Limits: agent.Limits{Parallel: tc.parallel}}), "go")
				stands(t, res, err)
				if most.Load() != tc.most {
					t.Errorf("%d ran at once, want %d", most.Load(), tc.most)
				}
				if took := time.Since(began); took != tc.took || res.Elapsed != took {
					t.Errorf("took %v, counted are %v, want %v", took, res.Elapsed, tc.took)
				}
				if tc.most == 1 && !slices.IsSorted(order) {
					t.Errorf("the calls ran in the order %v", order)
				}
				for i, text := range results(res.History()) {
					if text != fmt.Sprint(i) {
						t.Fatalf("result %d is %q: not in call order", i, text)
					}
				}
			})
		})
	}
}

// A failing call does not cancel those beside it.
func TestFailureLeavesSiblingsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := tools.New("fails", "Fail.", func(context.Context, empty) (string, error) { panic("no") }, tools.ReadOnly())
		works := tools.New("works", "Work.", func(ctx context.Context, _ empty) (string, error) {
			time.Sleep(time.Second)
			return "fine", ctx.Err()
		}, tools.ReadOnly())
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(gridtest.Call("works", "{}"), gridtest.Call("fails", "{}"), gridtest.Call("works", "{}")), say("done"))
		res, err := agent.Run[string](t.Context(), open(t, m, agent.Config{Tools: []tools.Tool{fails, works}}), "go")
		stands(t, res, err)
		if got := results(res.History()); err != nil || got[0] != "fine" || got[2] != "fine" {
			t.Errorf("%q: %v", got, err)
		}
	})
}

// Nothing a tool does outlives the run, but the goroutine of one that ignores its
// context, which is named.
func TestCancelDrainsToolsAndNamesTheAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var running atomic.Int32
		polite := tools.New("polite", "Wait.", func(ctx context.Context, _ empty) (string, error) {
			running.Add(1)
			defer running.Add(-1)
			<-ctx.Done()
			time.Sleep(time.Second) // cleans up
			return "", ctx.Err()
		}, tools.ReadOnly())
		rude := tools.New("rude", "Hang.", func(context.Context, empty) (string, error) { <-release; return "", nil }, tools.ReadOnly())
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(gridtest.Call("polite", "{}"), gridtest.Call("rude", "{}"), gridtest.Call("polite", "{}")))
		a := open(t, m, agent.Config{Tools: []tools.Tool{polite, rude}})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		res, err := agent.Run[string](ctx, a, "go")
		stands(t, res, err)
		if !errors.Is(err, context.Canceled) || res.Stop != agent.StopCanceled {
			t.Errorf("stopped by %s: %v", res.Stop, err)
		}
		if n := running.Load(); n != 0 {
			t.Errorf("%d tools still run when the run has ended", n)
		}
		if len(res.Abandoned) != 1 || !strings.HasPrefix(res.Abandoned[0], "rude") {
			t.Errorf("abandoned are %q", res.Abandoned)
		}
		close(release)
		synctest.Wait()
	})
}

// Two failed turns in a row are evidence that the tier is too low.
func TestTurnsOfNothingButFailuresEscalate(t *testing.T) {
	fails := tools.New("look", "Look.", func(context.Context, empty) (string, error) { return "", errors.New("no") })
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(lookCall()), calls(lookCall()), say("done"))
	res, err := agent.Run[string](t.Context(), open(t, m, agent.Config{Tools: []tools.Tool{fails}}), "go")
	stands(t, res, err)
	var served []string
	for _, s := range res.Steps {
		served = append(served, s.Instrument)
	}
	if want := []string{"agent-prime", "agent-prime", "agent-max"}; !slices.Equal(served, want) || res.Steps[2].Reason != "escalation" || res.Usage.Escalations != 1 {
		t.Errorf("served by %v (%s), want %v", served, res.Steps[len(res.Steps)-1].Reason, want)
	}
}

func TestToolKnowsForWhomItWorks(t *testing.T) {
	var got []tools.Call
	tool := tools.New("who", "Ask.", func(ctx context.Context, _ empty) (string, error) {
		got = append(got, tools.CallFrom(ctx))
		return "ok", nil
	})
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(gridtest.ToolCall{ID: "same", Name: "who", Arguments: "{}"}, gridtest.ToolCall{ID: "same", Name: "who", Arguments: "{}"}), say("done"))
	a := open(t, m, agent.Config{Tools: []tools.Tool{tool}})
	res, err := agent.Run[string](t.Context(), a, "go", agent.Tenant("acme"), agent.User("ann"), agent.RunID("run-7"),
		agent.Tags(map[string]string{"team": "a"}), agent.Tags(map[string]string{"job": "b"}))
	stands(t, res, err)
	if err != nil || len(got) != 2 {
		t.Fatalf("%d calls: %v", len(got), err)
	}
	c := got[0]
	if c.Tenant != "acme" || c.User != "ann" || c.Run != "run-7" || c.Agent != "desk" || c.Tool != "who" || c.ID != "same" || c.Approver != "" ||
		len(c.Tags) != 2 || c.Tags["team"] != "a" || c.Tags["job"] != "b" {
		t.Errorf("the tool was told %+v", c)
	}
	if got[0].Key == got[1].Key || got[0].Key != "run-7/0/1" || got[1].Key != "run-7/0/2" {
		t.Errorf("the keys are %q and %q", got[0].Key, got[1].Key)
	}
	if res.Run != "run-7" {
		t.Errorf("the run is called %q", res.Run)
	}
}

// A tool that ends the run answers in its own form.
func TestToolEndsTheRun(t *testing.T) {
	type verdict struct {
		Why string `json:"why"`
	}
	submit := tools.New("submit", "Give the verdict.", func(_ context.Context, v verdict) (verdict, error) {
		if v.Why == "" {
			return v, errors.New("say why")
		}
		return v, nil
	}, tools.EndsRun())
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(gridtest.Call("submit", `{"why":""}`)), calls(lookCall(), gridtest.Call("submit", `{"why":"late"}`)))
	a := open(t, m, agent.Config{Tools: []tools.Tool{submit, look()}})
	t.Run("with a struct", func(t *testing.T) {
		res, err := agent.Run[verdict](t.Context(), a, "go")
		stands(t, res, err)
		if err != nil || res.Stop != agent.StopTool || res.Output.Why != "late" || !res.Final || len(res.Steps) != 2 {
			t.Errorf("%+v, stopped by %s after %d steps: %v", res.Output, res.Stop, len(res.Steps), err)
		}
	})
	t.Run("with a string", func(t *testing.T) {
		res, err := agent.Run[string](t.Context(), a, "go")
		stands(t, res, err)
		if err != nil || res.Stop != agent.StopTool || res.Output != `{"why":"late"}` {
			t.Errorf("%q, stopped by %s: %v", res.Output, res.Stop, err)
		}
	})
	t.Run("with a type that the result does not fit", func(t *testing.T) {
		res, err := agent.Run[int](t.Context(), a, "go")
		stands(t, res, err)
		if !errors.Is(err, agent.ErrInvalidOutput) || res.Text != `{"why":"late"}` {
			t.Errorf("%q: %v", res.Text, err)
		}
	})
}

func noMap() map[string]int { return nil }
