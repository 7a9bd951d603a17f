package agent_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	openai "github.com/sashabaranov/go-openai"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// busy is a run with a bit of everything: parallel calls, calls alone, panics,
// timeouts, text beside calls.
func busy(m *gridtest.Market) []tools.Tool {
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		r := gridtest.Reply{Text: fmt.Sprint("turn ", turn.N), Delay: 300 * time.Millisecond, DeltaDelay: 20 * time.Millisecond, Chunks: 5}
		if turn.N < 4 && len(turn.Tools) > 0 {
			// The ids of calls repeat from message to message.
			for i, name := range []string{"read", "read", "write", "panics", "read", "hangs", "nowhere"} {
				r.Calls = append(r.Calls, gridtest.ToolCall{ID: fmt.Sprint("call_", i), Name: name, Arguments: "{}"})
			}
		}
		return r
	})
	work := func(ctx context.Context, _ empty) (string, error) {
		select {
		case <-time.After(200 * time.Millisecond):
			return "ok", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return []tools.Tool{
		tools.New("read", "Read.", work, tools.ReadOnly()),
		tools.New("write", "Write.", work),
		tools.New("panics", "Panic.", func(context.Context, empty) (string, error) { panic("no") }),
		tools.New("hangs", "Hang.", func(ctx context.Context, _ empty) (string, error) { <-ctx.Done(); return "", ctx.Err() }, tools.Timeout(300*time.Millisecond)),
	}
}

func TestHistoryIsValidWheneverARunIsCancelled(t *testing.T) {
	stops := map[agent.Stop]int{}
	for seed := range uint64(120) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 5))
			m := newMarket(t, gridtest.Config{})
			a := open(t, m, agent.Config{Tools: busy(m), Instructions: "Work."})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			at := time.Duration(rnd.IntN(7000)) * time.Millisecond
			time.AfterFunc(at, cancel)
			live := agent.Start[string](ctx, a, "go")
			if seed%2 == 0 {
				for range live.Events() {
				}
			}
			began := time.Now()
			res, err := live.Result()
			stands(t, res, err)
			stops[res.Stop]++
			if res.Stop == agent.StopCanceled {
				if run, ok := errors.AsType[*agent.RunError](err); !ok || run.Class != "canceled" || !errors.Is(err, context.Canceled) {
					t.Errorf("seed %d: %v", seed, err)
				}
				if seed%2 == 1 && time.Since(began) > at+time.Second {
					t.Errorf("seed %d: cancelled after %v, ended after %v", seed, at, time.Since(began))
				}
			} else if err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
			// A request that was cancelled on its way out may not have arrived.
			if lost := attempts(res.Steps) - chats(m, 1); lost < 0 || lost > 1 {
				t.Errorf("seed %d: %d attempts, %d requests", seed, attempts(res.Steps), chats(m, 1))
			}
			if m.Bill("") > res.Cost.NanoUSD {
				t.Errorf("seed %d: billed %d, counted %d", seed, m.Bill(""), res.Cost.NanoUSD)
			}
		})
	}
	if stops[agent.StopCanceled] < 60 || stops[agent.StopCompleted] < 10 {
		t.Errorf("the runs ended by %v: too tame", stops)
	}
}

func TestResultStandsBesideAModelFailureAtAnyStep(t *testing.T) {
	for k := range 4 {
		t.Run(fmt.Sprint("step ", k), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMarket(t, gridtest.Config{})
				set := busy(m)
				m.Fault(gridtest.Fault{Kind: gridtest.Status, Status: 500, On: k + 1, Times: -1, Detail: "the market burns"})
				res, err := agent.Run[string](t.Context(), open(t, m, agent.Config{Tools: set}), "go")
				stands(t, res, err)
				run, ok := errors.AsType[*agent.RunError](err)
				if !ok || run.Class != "server" || res.Stop != agent.StopError {
					t.Fatalf("stopped by %s: %v", res.Stop, err)
				}
				if api, ok := errors.AsType[*openai.APIError](err); !ok || api.HTTPStatusCode != 500 {
					t.Errorf("go-openai's error is lost: %v", err)
				}
				if res.Usage.ModelCalls != k || len(res.History()) != 1+8*k || (res.Text != "") != (k > 0) || res.Final {
					t.Errorf("%d model calls, %d messages, text %q", res.Usage.ModelCalls, len(res.History()), res.Text)
				}
				if attempts(res.Steps) != chats(m, 1) || chats(m, 1) != k+5 {
					t.Errorf("%d attempts are recorded, %d requests were made, want %d", attempts(res.Steps), chats(m, 1), k+5)
				}
			})
		})
	}
}

func TestAnswerWithoutChoicesIsAnErrorWithAResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Fault(gridtest.Fault{Kind: gridtest.NoChoices, Times: -1})
		res, err := agent.Run[string](t.Context(), open(t, m, agent.Config{}), "go")
		stands(t, res, err)
		if err == nil || res.Stop != agent.StopError {
			t.Errorf("stopped by %s: %v", res.Stop, err)
		}
		if m.Bill("") == 0 || res.Cost.NanoUSD < m.Bill("") {
			t.Errorf("the bill is %d, counted is %v", m.Bill(""), res.Cost)
		}
	})
}

// Whether tools are called decides, never the finish reason.
func TestPresenceOfToolCallsDecides(t *testing.T) {
	for _, tc := range []struct {
		name   string
		first  gridtest.Reply
		runs   int
		answer string
	}{
		{"stop, with calls", gridtest.Reply{Calls: []gridtest.ToolCall{lookCall()}, FinishReason: "stop"}, 1, "done"},
		{"text first, then calls", gridtest.Reply{Text: "a long text before the calls come, in many pieces", Chunks: 9, Calls: []gridtest.ToolCall{lookCall()}}, 1, "done"},
		{"length, with whole calls", gridtest.Reply{Calls: []gridtest.ToolCall{lookCall()}, FinishReason: "length"}, 1, "done"},
		{"tool_calls, without calls", gridtest.Reply{Text: "that is all", FinishReason: "tool_calls"}, 0, "that is all"},
	} {
		for _, mode := range []agent.StreamMode{agent.StreamOn, agent.StreamOff} {
			t.Run(tc.name+", stream "+string(mode), func(t *testing.T) {
				ran := 0
				tool := tools.New("look", "Look.", func(context.Context, empty) (string, error) { ran++; return "seen", nil })
				m := newMarket(t, gridtest.Config{})
				turns(m, tc.first, say("done"))
				res, err := agent.Run[string](t.Context(), open(t, m, agent.Config{Tools: []tools.Tool{tool}}), "go", agent.Stream(mode))
				stands(t, res, err)
				if err != nil || ran != tc.runs || res.Text != tc.answer || res.Steps[0].Streamed != (mode == agent.StreamOn) {
					t.Errorf("%d calls ran, the answer is %q: %v", ran, res.Text, err)
				}
			})
		}
	}
}

func TestCallsOfACutStreamNeverRun(t *testing.T) {
	for after := 1; after < 7; after++ {
		t.Run(fmt.Sprint("cut after ", after), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ran := 0
				tool := tools.New("look", "Look.", func(context.Context, empty) (string, error) { ran++; return "seen", nil })
				m := newMarket(t, gridtest.Config{})
				m.Model(func(gridtest.Turn) gridtest.Reply {
					return gridtest.Reply{Text: "let me see", Chunks: 2, Calls: []gridtest.ToolCall{lookCall(), lookCall()}}
				})
				for i := range 3 {
					m.Fault(gridtest.Fault{Kind: gridtest.CutStream, AfterChunks: after, CleanEnd: i == 1})
				}
				a := open(t, m, agent.Config{Tools: []tools.Tool{tool}})
				res, err := agent.Run[string](t.Context(), a, "go", agent.Stream(agent.StreamOn), agent.Cap(100_000_000))
				stands(t, res, err)
				if run, ok := errors.AsType[*agent.RunError](err); !ok || run.Class != "cut" || ran != 0 {
					t.Errorf("%d calls ran: %v", ran, err)
				}
				if n := chats(m, 1); n != 3 {
					t.Errorf("asked %d times, want 3: a cut stream is asked again twice", n)
				}
				if m.Bill("") == 0 || res.Cost.NanoUSD < m.Bill("") {
					t.Errorf("the bill is %d, counted is %v", m.Bill(""), res.Cost)
				}
			})
		})
	}
}
