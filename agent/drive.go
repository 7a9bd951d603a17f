package agent

import (
	"context"
	"errors"
)

// Executor carries out ops. In process it is goroutines; with a journal it looks
// up, runs and appends; on a workflow engine it is activities, timers and
// signals.
type Executor interface {
	// Do executes ops, at most limit at once, and returns their outcomes in op
	// order. Cancelling ctx is not an error: an op that was cut short, or never
	// begun, has an outcome that says so.
	//
	// [ErrParked] says that some ops wait for somebody outside: their outcomes
	// are missing, all others are there. Any other error means that the outcomes
	// could not be had or kept; the ops that are missing are asked for again.
	Do(ctx context.Context, limit int, ops []Op) ([]Outcome, error)

	// Rotate reports whether the run should be handed to a fresh executor
	// because this one's history has grown too long.
	Rotate() bool
}

// Errors of executors.
var (
	ErrParked = errors.New("agent: the run waits for somebody outside")
	ErrRotate = errors.New("agent: the run continues in a fresh executor")
)

// Drive runs the loop until the run has ended, parked, or should be rotated. It
// is the only caller of [Step]. The State it returns is good at every exit: with
// an error the run can be driven on from it.
func Drive(ctx context.Context, ex Executor, s State) (State, error) {
	err := drive(ctx, ex, &s)
	return s, err
}

// drive is Drive on a State in place: the run's stack has no copy of it while ops are
// carried out.
func drive(ctx context.Context, ex Executor, s *State) error {
	var outcomes []Outcome
	for {
		ops := s.advance(outcomes)
		if len(ops) == 0 {
			return nil
		}
		if ex.Rotate() {
			return ErrRotate
		}
		limit := s.Limits.Parallel
		if limit <= 0 {
			limit = len(ops)
		}
		var err error
		outcomes, err = ex.Do(ctx, limit, ops)
		if err != nil {
			s.advance(outcomes)
			return err
		}
	}
}

// advance is apart from its caller, whose frame would else hold the copies of Step.
//
//go:noinline
func (s *State) advance(outcomes []Outcome) (ops []Op) {
	*s, ops = Step(*s, outcomes)
	return ops
}
