package redisstore

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// refused are the words with which the script refuses an operation on a reservation.
var refused = map[string]error{
	"mismatch":   budget.ErrMismatch,
	"finished":   budget.ErrFinished,
	"not idle":   budget.ErrNotIdle,
	"still open": budget.ErrStillOpen,
}

// answer reads what was said about a reservation.
func (s *Store) answer(m *memory, op string, u *unpacked, ans *budget.Answer) error {
	ans.Reset()
	fields := u.array()
	word := u.text()
	ans.Now = fromMicros(u.int())
	if word != "answer" || fields != 14 {
		return s.refusal(op, word, u, ans)
	}
	ans.Duplicate, ans.Late = u.int() != 0, u.int() != 0
	ans.State = budget.State(u.text())
	var err error
	if ans.Reserved, err = parseAmounts(u.text()); err != nil {
		return err
	}
	if ans.Actual, err = parseAmounts(u.text()); err != nil {
		return err
	}
	if expires := u.int(); ans.State != "" {
		ans.Expires, ans.Over = fromMicros(expires), above(ans.Actual, ans.Reserved)
	}
	if ans.Left, err = s.states(m, u, ans.Now.UnixMicro(), ans.Left); err != nil {
		return err
	}
	for n := u.array(); n >= 5; n -= 5 {
		key, err := s.keys.read(u.text())
		if err != nil {
			return err
		}
		ans.Crossed = append(ans.Crossed, budget.Crossing{Cap: key.cap, Scope: key.scope, Meter: key.meter, Percent: int(u.int()), Settled: u.int(), Limit: limit(u.int()), Reset: key.reset(u.int())})
	}
	for range u.array() {
		ans.Expired = append(ans.Expired, u.text())
	}
	for n := u.array(); n >= 2; n -= 2 {
		f, err := parseFreeze(u.text(), u.text())
		if err != nil {
			return err
		}
		ans.Violations = append(ans.Violations, budget.Violation{Scope: f.Scope, Kind: budget.KindFrozen, ResetAt: f.Until, Reason: f.Reason})
	}
	for n := u.array(); n >= 7; n -= 7 {
		key, err := s.keys.read(u.text())
		if err != nil {
			return err
		}
		ans.Violations = append(ans.Violations, budget.Violation{Cap: key.cap, Scope: key.scope, Meter: key.meter, Window: key.window,
			Kind: budget.Kind(u.text()), Limit: u.int(), Settled: u.int(), Held: u.int(), Requested: u.int(), ResetAt: key.reset(u.int())})
	}
	for i := range u.array() { // what a swap would free is left to it
		if l, free := &ans.Left[min(i, len(ans.Left)-1)], u.int(); l.Limit != budget.None {
			l.Left = max(l.Limit-l.Settled-l.Held+free, 0)
		}
	}
	if u.bad {
		return nonsense("an answer cut short")
	}
	return nil
}

// refusal reads an answer that says no, or that something must be looked up again.
func (s *Store) refusal(op, word string, u *unpacked, ans *budget.Answer) error {
	switch word {
	case "stale":
		ans.Stale = budget.Stale(u.text())
		if ans.Stale == budget.StaleCaps || ans.Stale == budget.StaleWindow {
			return nil
		}
	case "learning":
		return fmt.Errorf("%w (until %s)", ErrLearning, fromMicros(u.int()).Format(time.RFC3339))
	case "closed":
		return closedRun(u.text())
	case "unknown", "no swap":
		if word == "no swap" {
			op = "swap"
		}
		return fmt.Errorf("budget: %s of %.64q: %w", op, u.text(), budget.ErrUnknownReservation)
	case "busy swap":
		return &budget.StateError{Op: "swap", ID: u.text(), State: budget.State(u.text()), Cause: budget.ErrNotIdle}
	default:
		if cause := refused[word]; cause != nil {
			return &budget.StateError{Op: op, ID: u.text(), State: budget.State(u.text()), Cause: cause}
		}
	}
	return nonsense("an answer")
}

func closedRun(run string) error {
	return fmt.Errorf("%w: %s was forgotten: begin another run", budget.ErrClosed, run)
}

// limit reads what the script writes for none as -1.
func limit(n int64) int64 {
	if n < 0 {
		return budget.None
	}
	return n
}

// states reads where counts stand at now, and remembers it.
func (s *Store) states(m *memory, u *unpacked, now int64, out []budget.CapState) ([]budget.CapState, error) {
	for n := u.array(); n >= 7; n -= 7 {
		name := u.text()
		key, err := s.keys.read(name)
		if err != nil {
			return out, err
		}
		c := budget.CapState{Cap: key.cap, Scope: key.scope, Scopes: key.scopes, Meter: key.meter, Window: key.window, Start: key.span.Start,
			Settled: u.int(), Held: u.int(), Unconfirmed: u.int(), Overrun: u.int(), Limit: limit(u.int()), Reset: key.reset(u.int()), Left: budget.None}
		if c.Limit != budget.None {
			c.Left = max(c.Limit-c.Settled-c.Held, 0)
		}
		out = append(out, c)
		seen := sums{settled: c.Settled, unconfirmed: c.Unconfirmed, overrun: c.Overrun, ends: micros(nano(key.span.End))}
		if key.rolls > 0 {
			seen.at, seen.ends = now, now+key.rolls
		}
		m.count(name, seen)
	}
	return out, nil
}

// freezeText is a freeze as it stands in the books, without the time, which the script adds.
type freezeText struct {
	Until  int64  `json:"until"` // nanoseconds
	Reason string `json:"reason"`
	By     string `json:"by"`
}

func parseFreeze(scope, text string) (budget.Freeze, error) {
	_, rest, _ := strings.Cut(text, "\n")
	body, at, _ := strings.Cut(rest, "\n")
	var t freezeText
	s, ok := parseScope(scope)
	us, err := strconv.ParseInt(at, 10, 64)
	if err != nil || !ok || json.Unmarshal([]byte(body), &t) != nil {
		return budget.Freeze{}, nonsense("a freeze")
	}
	return budget.Freeze{Scope: s, Reason: t.Reason, Until: fromNano(t.Until), By: t.By, At: fromMicros(us)}, nil
}
