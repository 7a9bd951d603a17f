package agent

import (
	"slices"
	"strconv"
	"time"
)

// Step is the loop. It takes what is known of a run and what came of the ops
// it asked for, and says what to do next. It is a pure function: no clock, no
// random, no goroutine, no I/O, no context. The same State and outcomes give
// the same ops, on any machine, for as long as [LoopVersion] stands.
//
// Called without outcomes it asks again for what is pending. Outcomes of ops
// that are not pending are ignored, so it is safe to deliver one twice. When no
// op comes back the run is over and State.Done holds.
//
// Step never changes what the State it was given points to.
func Step(s State, outcomes []Outcome) (State, []Op) {
	ops := s.step(outcomes)
	return s, ops
}

// step changes the copy that Step was given, in place: a State is large, and what
// is passed on by value stays on the stack of every run.
func (s *State) step(outcomes []Outcome) []Op {
	if s.Phase == phaseDone {
		return nil
	}
	if s.Phase == phaseStart && len(s.Pending) == 0 {
		return s.ask()
	}
	done := s.take(outcomes)
	if len(done) > 0 {
		s.clock(done)
	}
	for _, o := range done {
		if o.out.Canceled {
			if s.Phase == phaseFinal {
				s.Stop = "" // whatever limit was reached, the cancel is why there is no answer
			}
			return s.stop(StopCanceled, "the run was cancelled").absorb(done).close()
		}
	}
	switch s.Phase {
	case phaseModel, phaseFinal:
		if len(done) > 0 {
			return s.modelDone(done[0])
		}
	case phaseTools:
		if len(done) > 0 {
			return s.toolsDone(done)
		}
	case phaseAsk:
		if len(done) > 0 {
			return s.decided(done)
		}
	case phaseVerify:
		if len(done) > 0 {
			return s.verified(done[0])
		}
	case phaseRest:
		if len(done) > 0 {
			return s.rested(done[0])
		}
	}
	return s.Pending
}

// answered is a pending op with what came of it.
type answered struct {
	op  Op
	out Outcome
}

// take pairs outcomes with pending ops, in op order, and leaves the rest pending.
func (s *State) take(outcomes []Outcome) []answered {
	if len(outcomes) == 0 {
		return nil
	}
	var done []answered
	var rest []Op
	for _, op := range s.Pending {
		i := slices.IndexFunc(outcomes, func(o Outcome) bool { return o.Key == op.Key && o.Issue == op.Issue })
		if i < 0 {
			rest = append(rest, op)
			continue
		}
		done = append(done, answered{op, outcomes[i]})
	}
	s.Pending = rest
	return done
}

// clock adds the wall time of one wave. Parking and waiting for a top-up do not
// count: nobody works then.
func (s *State) clock(done []answered) {
	var first, last time.Time
	var waited time.Duration
	for _, a := range done {
		if a.op.Kind == OpAwait {
			continue
		}
		if a.op.Kind == OpSleep && a.op.Sleep != nil && a.op.Sleep.Reason != sleepHeld {
			s.Waited += max(a.out.End.Sub(a.out.Start), 0)
			continue
		}
		if first.IsZero() || a.out.Start.Before(first) {
			first = a.out.Start
		}
		if a.out.End.After(last) {
			last = a.out.End
		}
		waited = max(waited, a.out.Waited)
	}
	s.Waited += waited
	s.Elapsed += max(last.Sub(first)-waited, 0)
}

// ask issues the next ordinary model op, or the final one when a limit is reached.
func (s *State) ask() []Op {
	switch {
	case s.Limits.Steps > 0 && s.Taken >= s.Limits.Steps:
		return s.finish(StopSteps, "the limit of "+strconv.Itoa(s.Limits.Steps)+" steps is reached")
	case s.Limits.Wall > 0 && s.Elapsed >= s.Limits.Wall:
		return s.finish(StopWall, "the limit of "+s.Limits.Wall.String()+" of work is reached")
	}
	s.Phase = phaseModel
	s.Index = 0
	s.Calls = nil
	op := s.modelOp()
	return s.emit(op)
}

func (s *State) modelOp() Op {
	kind := s.Kind
	if s.Repairs > 0 {
		kind = kindExtract
	}
	return Op{
		Kind: OpModel, Name: s.Agent, Key: s.key(0), Issue: 1,
		Model: &ModelIn{
			Step: s.Turn, Messages: s.Refs, Kind: kind, NoTools: s.Repairs > 0, Schema: s.Schema,
			Wait: s.waitLeft(), Pin: s.Pin, Sticky: s.Sticky, Escalation: s.Escalation, Exclude: s.Exclude,
		},
	}
}

// reissue asks for the same op once more: same key, next issue, fresh budgets.
func (s *State) reissue(op Op) []Op {
	op.Issue++
	if op.Model != nil {
		in := *op.Model
		in.Wait, in.Exclude = s.waitLeft(), s.Exclude
		op.Model = &in
	}
	return s.emit(op)
}

// emit makes ops pending and stamps them with the wall time that is left.
func (s *State) emit(ops ...Op) []Op {
	left := time.Duration(0)
	if s.Limits.Wall > 0 {
		left = max(s.Limits.Wall-s.Elapsed, time.Millisecond)
		if s.Phase == phaseFinal {
			left = finalGrace
		}
	}
	for i := range ops {
		ops[i].Left = left
	}
	s.Pending = ops
	return ops
}

func (s *State) key(index int) string {
	return s.Run + "/" + strconv.Itoa(s.Turn) + "/" + strconv.Itoa(index)
}

// aside is the key of an op of the loop's own: a check, a rest, a question to
// people. Calls keep the plain indexes, so that a call's key never moves.
func (s *State) aside() string {
	s.Index++
	return s.Run + "/" + strconv.Itoa(s.Turn) + "/x" + strconv.Itoa(s.Index)
}

func (s *State) waitLeft() time.Duration { return max(s.Limits.Wait-s.Waited, 0) }

// add appends to the transcript. It copies: two Steps from one State must not
// share what follows.
func (s *State) add(refs ...MessageRef) {
	out := make([]*MessageRef, len(s.Refs), len(s.Refs)+len(refs))
	copy(out, s.Refs)
	for i := range refs {
		out = append(out, &refs[i])
	}
	s.Refs = out
}

func (s *State) record(r ...*StepRecord) {
	out := make([]*StepRecord, len(s.Steps), len(s.Steps)+len(r))
	copy(out, s.Steps)
	s.Steps = append(out, r...)
}

// stop sets why the run ends; the first reason stands.
func (s *State) stop(why Stop, reason string) *State {
	if s.Stop == "" {
		s.Stop, s.Reason = why, reason
	}
	return s
}

func (s *State) fail(f Failure) *State {
	s.stop(StopError, f.Message)
	if s.Failure == nil {
		s.Failure = &f
	}
	return s
}

const (
	sleepTopUp  = "topup"
	sleepBroken = "broken"
	sleepHeld   = "held"

	// finalGrace is the wall time of the answer at a limit, so that a run whose
	// time is up can still say what it found.
	finalGrace = 30 * time.Second

	// finalTokens is the size of that answer: the floor that is reserved for it
	// from the start.
	finalTokens = 256

	kindExtract = "extract"
	kindText    = "text"
)
