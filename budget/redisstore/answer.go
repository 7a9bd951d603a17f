package redisstore

import (
	"encoding/json"
	"fmt"
	"slices"
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

// answered is the first byte of an answer about a reservation.
const answered = 'A'

// states are in the order of the script's numbers for them.
var states = [...]budget.State{"", budget.StateOpen, budget.StateSettled, budget.StateCharged, budget.StateExpired, budget.StateVoided, budget.StateReleased}

// answer reads what was said about a reservation. h is the reservation as this process has asked for it, nil if it has not:
// its counts are those of a short answer, and, in their order, of an answer to a reserve that is not about a reservation made
// before. It answers the ids of counts that this process has not met, and leaves those counts out: their keys must be asked
// for, and the answer read again.
func (a *account) answer(op, said string, h *hold, ans *budget.Answer) (unmet []string, err error) {
	ans.Reset()
	u := &unpacked{rest: said}
	if u.rest == "" || u.rest[0] != answered {
		u.array()
		word := u.text()
		ans.Now = fromMicros(u.int())
		return nil, refusal(op, word, u, ans)
	}
	u.byte()
	long := u.byte() != 0
	links := u.short()
	ans.Duplicate, ans.Late = u.byte() != 0, u.byte() != 0
	state := int(u.byte())
	if state >= len(states) {
		return nil, nonsense("a state")
	}
	ans.State = states[state]
	now, expires := u.double(), u.double()
	ans.Now = fromMicros(now)
	if ans.Reserved, err = parseAmounts(u.flat()); err != nil {
		return nil, err
	}
	if ans.Actual, err = parseAmounts(u.flat()); err != nil {
		return nil, err
	}
	if ans.State != "" {
		ans.Expires, ans.Over = fromMicros(expires), above(ans.Actual, ans.Reserved)
	}
	extra := u.flat()
	var asked []*counted
	if h != nil && (!long || op == "reserve" && !ans.Duplicate) {
		if asked = h.counts; len(asked) != links {
			return nil, nonsense("an answer about other counts")
		}
	}
	if asked == nil && !long {
		return nil, nonsense("an answer that is too short")
	}
	ans.Left = slices.Grow(ans.Left, min(links, len(u.rest)/24))
	for i := range links {
		if u.bad {
			break
		}
		var c *counted
		var state budget.CapState
		if long {
			id := u.take(idSize)
			if asked != nil {
				c = asked[i]
				a.names.is(c, id)
			} else if c = a.names.by(id); c == nil {
				unmet = append(unmet, id)
				u.take(6 * 8)
				continue
			}
			state = c.state(u.double(), u.double(), u.double(), u.double(), u.double(), u.double())
		} else {
			c = asked[i]
			state = c.state(u.double(), u.double(), 0, 0, u.double(), 0)
		}
		ans.Left = append(ans.Left, state)
		a.remember(c, &state, now)
	}
	if u.bad || u.rest != "" {
		return nil, nonsense("an answer cut short")
	}
	if extra != "" {
		if op != "reserve" {
			h = nil
		}
		err = a.extra(&unpacked{rest: extra}, h, ans)
	}
	return unmet, err
}

// extra reads what only few answers have; h is what is being reserved, if anything is.
func (a *account) extra(u *unpacked, h *hold, ans *budget.Answer) error {
	u.array()
	for n := u.array(); n >= 5; n -= 5 {
		key, err := a.names.read([]byte(u.text()))
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
		key, err := a.names.read([]byte(u.text()))
		if err != nil {
			return err
		}
		ans.Violations = append(ans.Violations, budget.Violation{Cap: key.cap, Scope: key.scope, Meter: key.meter, Window: key.window,
			Kind: budget.Kind(u.text()), Limit: u.int(), Settled: u.int(), Held: u.int(), Requested: u.int(), ResetAt: key.reset(u.int())})
	}
	for i := range u.array() { // what a swap and a draw would free is left to it
		if i >= len(ans.Left) {
			return nonsense("an answer")
		}
		if l, free := &ans.Left[i], u.int(); l.Limit != budget.None {
			l.Left = max(l.Limit-l.Settled-l.Held+free, 0)
		}
	}
	for n := u.array(); n >= 4; n -= 4 { // what was drawn from an allowance, and what of it by this reservation
		id, drawn, seq, taken := u.text(), u.text(), u.int(), u.text()
		a.memory.lend(id, drawn, seq)
		if h != nil && h.from == id {
			h.taken = strings.Clone(taken)
		}
	}
	return done(u)
}

// staleNames is answered to ids that the books do not know; the ledger never sees it.
const staleNames budget.Stale = "names"

// refusal reads an answer that says no, or that something must be looked up again.
func refusal(op, word string, u *unpacked, ans *budget.Answer) error {
	switch word {
	case "stale":
		ans.Stale = budget.Stale(u.text())
		if ans.Stale == staleNames {
			return nil
		}
		if ans.Stale == budget.StaleCaps || ans.Stale == budget.StaleWindow {
			return nil
		}
	case "learning":
		return fmt.Errorf("%w (until %s)", ErrLearning, fromMicros(u.int()).Format(time.RFC3339))
	case "closed":
		return closedRun(u.text())
	case "unknown", "no swap", "no from":
		if before, what, _ := strings.Cut(word, " "); before == "no" {
			op = what
		}
		return fmt.Errorf("budget: %s of %.64q: %w", op, u.text(), budget.ErrUnknownReservation)
	case "busy swap", "busy from":
		return &budget.StateError{Op: strings.TrimPrefix(word, "busy "), ID: u.text(), State: budget.State(u.text()), Cause: budget.ErrNotIdle}
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

// state is where the count stands.
func (c *counted) state(settled, held, unconfirmed, overrun, most, reset int64) budget.CapState {
	s := budget.CapState{Cap: c.cap, Scope: c.scope, Scopes: c.scopes, Meter: c.meter, Window: c.window, Start: c.span.Start,
		Settled: settled, Held: held, Unconfirmed: unconfirmed, Overrun: overrun, Limit: limit(most), Reset: c.reset(reset), Left: budget.None}
	if s.Limit != budget.None {
		s.Left = max(s.Limit-s.Settled-s.Held, 0)
	}
	return s
}

// remember keeps where a count stood at now, for books that forget.
func (a *account) remember(c *counted, s *budget.CapState, now int64) {
	seen := sums{settled: s.Settled, unconfirmed: s.Unconfirmed, overrun: s.Overrun, ends: micros(nano(c.span.End))}
	if c.rolls > 0 {
		seen.at, seen.ends = now, now+c.rolls
	}
	a.memory.count(c.key, seen)
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
