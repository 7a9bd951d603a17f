package agent_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// Walking away stops the spending, at whichever event.
func TestBreakAtAnyEventStopsTheSpending(t *testing.T) {
	broke := 0
	for at := 0; ; at++ {
		ended := false
		synctest.Test(t, func(t *testing.T) {
			m := newMarket(t, gridtest.Config{})
			a := open(t, m, agent.Config{Tools: busy(m), Limits: agent.Limits{Steps: 3}})
			live := agent.Start[string](t.Context(), a, "go")
			n, after := 0, 0
			var left time.Time
			ended = true
			for range live.Events() {
				if n == at {
					ended = false
					synctest.Wait() // what was sent arrives
					after, left = len(m.Requests()), time.Now()
					break
				}
				n++
			}
			if ended {
				return
			}
			broke++
			if took := time.Since(left); took > time.Second {
				t.Errorf("event %d: the reader was kept for %v", at, took)
			}
			time.Sleep(time.Hour)
			if n := len(m.Requests()); n != after {
				t.Errorf("event %d: %d requests after the reader left", at, n-after)
			}
			res, err := live.Result()
			stands(t, res, err)
			if run, ok := errors.AsType[*agent.RunError](err); res.Stop != agent.StopCompleted && res.Stop != agent.StopSteps &&
				(res.Stop != agent.StopCanceled || !ok || run.Class != "canceled" || !errors.Is(err, context.Canceled)) {
				t.Errorf("event %d: stopped by %s: %v", at, res.Stop, err)
			}
			// A request that was cancelled on its way out may not have arrived.
			if lost := attempts(res.Steps) - chats(m, 1); lost < 0 || lost > 1 || m.Bill("") > res.Cost.NanoUSD {
				t.Errorf("event %d: %d attempts for %d requests, cost %v, bill %d", at, attempts(res.Steps), chats(m, 1), res.Cost, m.Bill(""))
			}
		})
		if ended || t.Failed() {
			break
		}
	}
	if broke < 40 {
		t.Errorf("only %d events to break at: the run is too tame", broke)
	}
}

// A reader that panics leaves too.
func TestPanicOfTheReaderStopsTheSpending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		a := open(t, m, agent.Config{Tools: busy(m)})
		live := agent.Start[string](t.Context(), a, "go")
		func() {
			defer func() { _ = recover() }()
			for range live.Events() {
				panic("the reader")
			}
		}()
		synctest.Wait()
		after := len(m.Requests())
		time.Sleep(time.Hour)
		res, err := live.Result()
		stands(t, res, err)
		if len(m.Requests()) != after || res.Stop != agent.StopCanceled {
			t.Errorf("%d requests after the panic, stopped by %s", len(m.Requests())-after, res.Stop)
		}
	})
}

// A reader does not wait for a tool that ignores its context for longer than the grace.
func TestBreakReturnsAfterTheGraceAndNamesTheAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		rude := tools.New("rude", "Hang.", func(context.Context, empty) (string, error) { <-release; return "", nil }, tools.Grace(20*time.Second))
		m := newMarket(t, gridtest.Config{})
		turns(m, calls(gridtest.Call("rude", "{}")), say("done"))
		live := agent.Start[string](t.Context(), open(t, m, agent.Config{Tools: []tools.Tool{rude}}), "go")
		var left time.Time
		for e := range live.Events() {
			if _, ok := e.(agent.ToolStarted); ok {
				synctest.Wait() // the tool hangs by now
				left = time.Now()
				break
			}
		}
		if took := time.Since(left); took != 5*time.Second {
			t.Errorf("the reader was kept for %v", took)
		}
		res, err := live.Result()
		stands(t, res, err)
		if res.Stop != agent.StopCanceled || len(res.Abandoned) != 1 || chats(m, 1) != 1 {
			t.Errorf("stopped by %s, abandoned %q, %d requests", res.Stop, res.Abandoned, chats(m, 1))
		}
		close(release)
		synctest.Wait()
	})
}

func TestHandleSaysWhenItIsMisused(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	turns(m, calls(lookCall()), say("done"))
	a := open(t, m, agent.Config{Tools: []tools.Tool{look()}})
	t.Run("Result inside of Events", func(t *testing.T) {
		live := agent.Start[string](t.Context(), a, "go")
		asked := 0
		for range live.Events() {
			if asked++; asked == 1 {
				if res, err := live.Result(); !errors.Is(err, agent.ErrRunning) || res == nil {
					t.Errorf("%v, %v", res, err)
				}
			}
		}
		if res, err := live.Result(); err != nil || res.Text != "done" {
			t.Errorf("%q: %v", res.Text, err)
		}
	})
	t.Run("Events twice", func(t *testing.T) {
		live := agent.Start[string](t.Context(), a, "go")
		for range live.Events() {
		}
		before := chats(m, 1)
		var second []agent.Event
		for e := range live.Events() {
			second = append(second, e)
		}
		if mis, ok := second[0].(agent.Misused); len(second) != 1 || !ok || !errors.Is(mis.Err, agent.ErrEventsUsed) || chats(m, 1) != before {
			t.Errorf("the second reader got %v", second)
		}
	})
	t.Run("Events inside of Events", func(t *testing.T) {
		live := agent.Start[string](t.Context(), a, "go")
		misused := 0
		for range live.Events() {
			for e := range live.Events() {
				if _, ok := e.(agent.Misused); ok {
					misused++
				}
			}
		}
		if res, err := live.Result(); misused == 0 || err != nil || res.Text != "done" {
			t.Errorf("%d events of misuse, %q: %v", misused, res.Text, err)
		}
	})
	t.Run("Events after Result", func(t *testing.T) {
		live := agent.Start[string](t.Context(), a, "go")
		if _, err := live.Result(); err != nil {
			t.Fatal(err)
		}
		for e := range live.Events() {
			if _, ok := e.(agent.Misused); !ok {
				t.Errorf("%T", e)
			}
		}
	})
	t.Run("Result twice", func(t *testing.T) {
		live := agent.Start[string](t.Context(), a, "go")
		one, err1 := live.Result()
		before := chats(m, 1)
		two, err2 := live.Result()
		if one != two || err1 != err2 || chats(m, 1) != before {
			t.Errorf("%p %v, %p %v", one, err1, two, err2)
		}
	})
	t.Run("Start that is never used", func(t *testing.T) {
		before := len(m.Requests())
		_ = agent.Start[string](t.Context(), a, "go")
		if len(m.Requests()) != before {
			t.Error("Start asked the market")
		}
	})
}

func TestShutdownCancelsRunsAndWaitsForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		var tidied atomic.Bool
		tool := tools.New("look", "Look.", func(ctx context.Context, _ empty) (string, error) {
			<-ctx.Done()
			time.Sleep(time.Second)
			tidied.Store(true)
			return "", ctx.Err()
		})
		ask := tools.New("ask", "Ask.", func(context.Context, empty) (string, error) { return "", nil }, tools.NeedsApproval())
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			if turn.Last().Content == "pause" {
				return calls(gridtest.Call("ask", "{}"))
			}
			return calls(lookCall())
		})
		a := open(t, m, agent.Config{Tools: []tools.Tool{tool, ask}})
		_, err := agent.Run[string](t.Context(), a, "pause")
		p := paused(t, err)
		ended := make(chan error, 1)
		go func() {
			res, err := agent.Run[string](t.Context(), a, "go")
			stands(t, res, err)
			ended <- err
		}()
		time.Sleep(time.Second)
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := a.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) || tidied.Load() {
			t.Errorf("Shutdown did not wait: %v", err)
		}
		if err := a.Shutdown(t.Context()); err != nil || !tidied.Load() {
			t.Errorf("tidied %t: %v", tidied.Load(), err)
		}
		if err := <-ended; !errors.Is(err, agent.ErrClosed) {
			t.Errorf("the run ended with %v", err)
		}
		res, err := agent.Run[string](t.Context(), a, "go")
		stands(t, res, err)
		if !errors.Is(err, agent.ErrClosed) {
			t.Errorf("a run after Shutdown: %v", err)
		}
		if _, err := agent.Resume[string](t.Context(), a, p.Token, agent.Approve(p.Calls[0])); !errors.Is(err, agent.ErrClosed) {
			t.Errorf("a resume after Shutdown: %v", err)
		}
	})
}

// What a reader sees, and in which order.
func TestEventsTellARunInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Fault(gridtest.Fault{Kind: gridtest.Status, Status: 429, RetryAfter: time.Second})
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			if turn.N == 0 {
				return gridtest.Reply{Text: "let me see", Chunks: 3, DeltaDelay: time.Second, Calls: []gridtest.ToolCall{lookCall(), lookCall()}}
			}
			return gridtest.Reply{Text: "this is the answer", Chunks: 4, DeltaDelay: time.Second}
		})
		live := agent.Start[string](t.Context(), open(t, m, agent.Config{Tools: []tools.Tool{look()}}), "go")
		var told []string
		text := map[int]string{}
		for e := range live.Events() {
			switch e := e.(type) {
			case agent.TextDelta:
				text[e.Step] += e.Text
			case agent.ToolStarted:
				if !e.Parallel || e.Name != "look" || string(e.Args) != "{}" {
					t.Errorf("%+v", e)
				}
			}
			name := strings.TrimPrefix(fmt.Sprintf("%T", e), "agent.")
			if n := len(told); n == 0 || told[n-1] != name || name != "TextDelta" {
				told = append(told, name)
			}
		}
		res, err := live.Result()
		stands(t, res, err)
		got := strings.Join(told, " ")
		for _, tools := range []string{"ToolStarted ToolStarted ToolFinished ToolFinished", "ToolStarted ToolFinished ToolStarted ToolFinished"} {
			if got == "Routed Retrying TextDelta StepDone "+tools+" Routed TextDelta StepDone" {
				got = ""
			}
		}
		if got != "" {
			t.Errorf("the reader saw %s", got)
		}
		if text[0] != "let me see" || text[1] != "this is the answer" || res.Text != text[1] {
			t.Errorf("the deltas add up to %v, the answer is %q", text, res.Text)
		}
	})
}

func TestTextOfACutStreamIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Fault(gridtest.Fault{Kind: gridtest.CutStream, AfterChunks: 3})
		m.Model(func(turn gridtest.Turn) gridtest.Reply {
			return gridtest.Reply{Text: "one two three four five six", Chunks: 6, DeltaDelay: time.Second}
		})
		live := agent.Start[string](t.Context(), open(t, m, agent.Config{}), "go")
		text, discarded := "", 0
		for e := range live.Events() {
			switch e := e.(type) {
			case agent.TextDelta:
				text += e.Text
			case agent.TextDiscarded:
				if discarded++; text == "" {
					t.Error("nothing was said that could be taken back")
				}
				text = ""
			}
		}
		res, err := live.Result()
		if err != nil || discarded != 1 || text != res.Text || res.Text != "one two three four five six" {
			t.Errorf("%q was shown, the answer is %q, %d times taken back: %v", text, res.Text, discarded, err)
		}
		if len(res.Steps) != 1 || len(res.Steps[0].Attempts) != 2 || res.Steps[0].Attempts[0].CostSource != agent.CostBound {
			t.Errorf("%+v", res.Steps)
		}
	})
}

func TestTextIsStreamedOnlyWhereSomebodyMaySeeIt(t *testing.T) {
	type answer struct {
		N int `json:"n"`
	}
	m := newMarket(t, gridtest.Config{})
	m.Model(func(gridtest.Turn) gridtest.Reply { return say(`{"n":7}`) })
	a := open(t, m, agent.Config{})
	deltas := func(events func(func(agent.Event) bool)) (n int, streamed bool) {
		for e := range events {
			switch e := e.(type) {
			case agent.TextDelta:
				n++
			case agent.StepDone:
				streamed = e.Record.Streamed
			}
		}
		return n, streamed
	}
	if n, s := deltas(agent.Start[string](t.Context(), a, "go").Events()); n == 0 || !s {
		t.Errorf("a watched run: %d deltas, streamed %t", n, s)
	}
	if n, s := deltas(agent.Start[string](t.Context(), a, "go", agent.Stream(agent.StreamOff)).Events()); n != 0 || s {
		t.Errorf("a watched run with StreamOff: %d deltas, streamed %t", n, s)
	}
	if n, s := deltas(agent.Start[answer](t.Context(), a, "go").Events()); n != 0 || s {
		t.Errorf("a structured run: %d deltas, streamed %t", n, s)
	}
	if n, s := deltas(agent.Start[answer](t.Context(), a, "go", agent.Stream(agent.StreamOn)).Events()); n != 0 || !s {
		t.Errorf("a structured run with StreamOn: %d deltas, streamed %t", n, s)
	}
	if res, err := agent.Run[string](t.Context(), a, "go"); err != nil || res.Steps[0].Streamed {
		t.Errorf("a run that nobody watches is streamed: %v", err)
	}
	if res, err := agent.Run[string](t.Context(), a, "go", agent.Stream(agent.StreamOn)); err != nil || !res.Steps[0].Streamed {
		t.Errorf("a run with StreamOn is not streamed: %v", err)
	}
}
