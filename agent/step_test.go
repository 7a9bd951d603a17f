package agent

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"
)

// fakeWorld answers ops at random: a model that calls tools, refuses, fails; people
// who decide late; a run that is cancelled. It keeps a clock of its own.
type fakeWorld struct {
	rnd    *rand.Rand
	now    time.Time
	serial int
	cancel float64
	fail   float64
	refuse float64
}

func (w *fakeWorld) ref(role string, calls ...CallRef) MessageRef {
	w.serial++
	return MessageRef{Hash: "h" + strconv.Itoa(w.serial), Role: role, Bytes: 10 + w.rnd.IntN(200), Calls: calls, Text: role != "assistant" || w.rnd.IntN(3) > 0}
}

func (w *fakeWorld) answer(op Op) (Outcome, bool) {
	o := Outcome{Key: op.Key, Issue: op.Issue, Start: w.now}
	w.now = w.now.Add(time.Duration(w.rnd.IntN(5000)) * time.Millisecond)
	o.End = w.now
	if w.rnd.Float64() < w.cancel {
		o.Canceled = true
		return o, true
	}
	switch op.Kind {
	case OpModel:
		o.Model = &ModelOut{Record: StepRecord{Step: op.Model.Step, Instrument: "agent-prime", Attempts: []AttemptRecord{{Billed: "yes", CostNanoUSD: 5}}, CostNanoUSD: 5}}
		switch p := w.rnd.Float64(); {
		case p < w.fail:
			o.Model.Failed = &Failure{Class: "server", Message: "the market failed"}
		case p < w.fail+w.refuse:
			kinds := []RefusalKind{RefusedTooLong, RefusedHeld, RefusedSpent, RefusedTooBig, RefusedFrozen, RefusedTryLater}
			o.Model.Refused = &Refusal{Kind: kinds[w.rnd.IntN(len(kinds))], Instrument: "i" + strconv.Itoa(w.rnd.IntN(3)), After: time.Second, Detail: "because"}
		default:
			var calls []CallRef
			if !op.Model.Final && w.rnd.IntN(4) > 0 {
				for i := range w.rnd.IntN(5) {
					calls = append(calls, CallRef{ID: "c" + strconv.Itoa(i%3), Name: "t" + strconv.Itoa(i), ReadOnly: w.rnd.IntN(2) == 0, Agent: []string{"", "", "sub"}[w.rnd.IntN(3)]})
				}
			}
			m := w.ref("assistant", calls...)
			o.Model.Message = &m
		}
	case OpTool:
		o.Tool = &ToolOut{Status: "ok"}
		if op.Tool.Decision == nil && w.rnd.IntN(6) == 0 {
			o.Tool.Ask = true
			break
		}
		m := w.ref("tool")
		o.Tool.Message = &m
		if w.rnd.IntN(3) == 0 {
			o.Tool.Status = "error"
		}
		o.Tool.Ends = w.rnd.IntN(40) == 0
		o.OverTime = w.rnd.IntN(50) == 0
	case OpRun:
		m := w.ref("tool")
		o.Run = &RunOut{Message: &m, Status: "ok", Totals: Totals{CostNanoUSD: 3}}
	case OpVerify:
		o.Verify = &VerifyOut{OK: w.rnd.IntN(2) == 0, Problem: "wrong"}
	case OpAwait:
		if w.rnd.IntN(3) == 0 {
			return o, false
		}
		o.Await = &AwaitOut{Decision: &Decision{Approved: w.rnd.IntN(2) == 0}}
	}
	return o, true
}

func freshState(rnd *rand.Rand) State {
	s := State{Version: LoopVersion, Agent: "a", Run: "r", Limits: Limits{Steps: 2 + rnd.IntN(10), ToolCalls: 4 + rnd.IntN(26), Parallel: 3, Repairs: 1, Wall: time.Minute, Wait: 30 * time.Second},
		Kind: "tools", Refs: []*MessageRef{{Hash: "s", Role: "system"}, {Hash: "u", Role: "user"}}, Input: 2}
	if rnd.IntN(2) == 0 {
		s.Verify, s.Schema = verifyOutput, true
	}
	return s
}

// validTranscript is law 4: every call answered exactly once, in call order.
func validTranscript(refs []*MessageRef) error {
	var open []string
	for i, m := range refs {
		if m.Role == "tool" {
			if len(open) == 0 {
				return fmt.Errorf("message %d answers nothing", i)
			}
			if m.Inline != nil && m.Inline.CallID != open[0] {
				return fmt.Errorf("message %d answers %s before %s", i, m.Inline.CallID, open[0])
			}
			open = open[1:]
			continue
		}
		if len(open) > 0 {
			return fmt.Errorf("message %d comes before the answer to %s", i, open[0])
		}
		for _, c := range m.Calls {
			open = append(open, c.ID)
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("call %s is never answered", open[0])
	}
	return nil
}

func TestRandomRunsEndWithValidTranscripts(t *testing.T) {
	stops := map[Stop]int{}
	for seed := range uint64(4000) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		w := &fakeWorld{rnd: rnd, now: time.Unix(0, 0), cancel: 0.01, fail: 0.02, refuse: 0.08}
		s := freshState(rnd)
		seen := map[string]Op{}
		var outs []Outcome
		var ops []Op
		rounds, cost := 0, int64(0)
		for {
			before, _ := json.Marshal(s)
			next, nextOps := Step(s, outs)
			again, againOps := Step(s, outs)
			if !reflect.DeepEqual(next, again) || !reflect.DeepEqual(nextOps, againOps) {
				t.Fatalf("seed %d: the same State and outcomes gave different ops", seed)
			}
			if after, _ := json.Marshal(s); string(before) != string(after) {
				t.Fatalf("seed %d: Step changed the State it was given", seed)
			}
			s, ops = next, nextOps
			if err := validTranscript(s.closed()); err != nil {
				t.Fatalf("seed %d: the closed transcript is not valid: %v", seed, err)
			}
			if len(ops) == 0 {
				break
			}
			outs = nil
			for _, op := range ops {
				id := op.Key + "#" + strconv.Itoa(op.Issue)
				if first, ok := seen[id]; ok && first.Kind != op.Kind {
					t.Fatalf("seed %d: %s names a %s and a %s op", seed, id, first.Kind, op.Kind)
				}
				o, ok := w.answer(op)
				if !ok {
					continue // asked again
				}
				if _, dup := seen[id]; dup {
					t.Fatalf("seed %d: %s has two outcomes", seed, id)
				}
				seen[id] = op
				if o.Model != nil {
					cost += o.Model.Record.CostNanoUSD
				}
				if o.Run != nil {
					cost += o.Run.Totals.CostNanoUSD
				}
				outs = append(outs, o)
			}
			if rounds++; rounds > 3000 {
				t.Fatalf("seed %d: the run does not end", seed)
			}
		}
		stops[s.Stop]++
		if !s.Done() || s.Stop == "" || s.Reason == "" {
			t.Fatalf("seed %d: ended without saying why: %+v", seed, s)
		}
		if err := validTranscript(s.Refs); err != nil {
			t.Fatalf("seed %d (%s): %v", seed, s.Stop, err)
		}
		if s.Totals.CostNanoUSD != cost {
			t.Fatalf("seed %d: the state counts %d, the outcomes cost %d", seed, s.Totals.CostNanoUSD, cost)
		}
		if s.Totals.ToolCalls > s.Limits.ToolCalls || s.Taken > s.Limits.Steps+1 {
			t.Fatalf("seed %d: a limit was passed: %+v", seed, s.Totals)
		}
		var back State
		data, _ := json.Marshal(s)
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		if redone, _ := json.Marshal(back); string(redone) != string(data) {
			t.Fatalf("seed %d: the State does not survive being written down", seed)
		}
	}
	for _, want := range []Stop{StopCompleted, StopTool, StopSteps, StopWall, StopBudget, StopInvalidOutput, StopCanceled, StopError, StopToolCalls, StopTooLong} {
		if stops[want] == 0 {
			t.Errorf("no run ended by %s: the world is too tame to prove anything; got %v", want, stops)
		}
	}
}

// A run that is stopped and replayed from what was recorded asks the same ops.
func TestReplayAsksTheSame(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 11))
		w := &fakeWorld{rnd: rnd, now: time.Unix(0, 0), cancel: 0.005, refuse: 0.05}
		start := freshState(rnd)
		recorded := map[string]Outcome{}
		var trace []string
		drive := func(live bool) State {
			s, outs := start, []Outcome(nil)
			for i := 0; ; i++ {
				var ops []Op
				s, ops = Step(s, outs)
				data, _ := json.Marshal(ops)
				if live {
					trace = append(trace, string(data))
				} else if trace[i] != string(data) {
					t.Fatalf("seed %d: replay asked\n%s\nnot\n%s", seed, data, trace[i])
				}
				if len(ops) == 0 {
					return s
				}
				outs = nil
				for _, op := range ops {
					id := op.Key + "#" + strconv.Itoa(op.Issue)
					if live {
						o, ok := w.answer(op)
						for !ok {
							o, ok = w.answer(op)
						}
						recorded[id] = o
					}
					outs = append(outs, recorded[id])
				}
			}
		}
		live := drive(true)
		if replayed := drive(false); !reflect.DeepEqual(live, replayed) {
			t.Fatalf("seed %d: replay ended elsewhere", seed)
		}
	}
}

func TestNeighbouringReadOnlyCallsFormOneWave(t *testing.T) {
	s := State{Run: "r", Limits: Limits{Parallel: 8}, Refs: []*MessageRef{{Hash: "u", Role: "user"}}}
	s, ops := Step(s, nil)
	calls := []CallRef{{ID: "1", Name: "a", ReadOnly: true}, {ID: "2", Name: "b", ReadOnly: true}, {ID: "3", Name: "c"}, {ID: "4", Name: "d"}, {ID: "5", Name: "e", ReadOnly: true}}
	m := MessageRef{Hash: "m", Role: "assistant", Calls: calls}
	s, ops = Step(s, []Outcome{{Key: ops[0].Key, Issue: 1, Model: &ModelOut{Message: &m}}})
	var waves [][]string
	for ops[0].Kind == OpTool {
		var names []string
		var outs []Outcome
		for _, op := range slices.Backward(ops) {
			names = append([]string{op.Name}, names...)
			r := MessageRef{Hash: "r" + op.Name, Role: "tool"}
			outs = append(outs, Outcome{Key: op.Key, Issue: op.Issue, Tool: &ToolOut{Message: &r, Status: "ok"}})
		}
		waves = append(waves, names)
		s, ops = Step(s, outs)
	}
	if want := [][]string{{"a", "b"}, {"c"}, {"d"}, {"e"}}; !reflect.DeepEqual(waves, want) {
		t.Errorf("waves are %v, want %v", waves, want)
	}
	var order []string
	for _, r := range s.Refs[2:] {
		order = append(order, r.Hash)
	}
	if want := []string{"ra", "rb", "rc", "rd", "re"}; !slices.Equal(order, want) {
		t.Errorf("results stand in the order %v, want call order %v", order, want)
	}
}

// Two Steps from one State must not see each other's messages.
func TestStepsFromOneStateShareNothing(t *testing.T) {
	s := State{Run: "r", Refs: append(make([]*MessageRef, 0, 64), &MessageRef{})}
	s, ops := Step(s, nil)
	take := func(hash string) State {
		m := MessageRef{Hash: hash, Role: "assistant", Text: true}
		out, _ := Step(s, []Outcome{{Key: ops[0].Key, Issue: 1, Model: &ModelOut{Message: &m}}})
		return out
	}
	a, b := take("a"), take("b")
	if a.Refs[1].Hash != "a" || b.Refs[1].Hash != "b" {
		t.Errorf("got %q and %q", a.Refs[1].Hash, b.Refs[1].Hash)
	}
}
