package redisstore

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// capText is a cap as readers get it.
type capText struct {
	For   string `json:"for"`
	Meter string `json:"meter"`
	Per   string `json:"per"`
	Limit int64  `json:"limit"`
	Soft  []int  `json:"soft"` // null is the default
	By    string `json:"by"`
}

// changeText is an entry of the record, without version, time and old limit, which the script adds.
type changeText struct {
	What   string `json:"what"`
	By     string `json:"by"`
	Cap    string `json:"cap,omitempty"`
	New    int64  `json:"new,omitempty"`
	Scope  string `json:"scope,omitempty"`
	Reason string `json:"reason,omitempty"`
	Until  int64  `json:"until,omitempty"` // nanoseconds
}

func (c changeText) String() string { return jsonText(c) }

func jsonText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "{}" // texts and numbers always marshal
	}
	return string(b)
}

// limits is what admission needs of a cap: "900|50:450,80:720", or "-|50,80" without a limit.
func limits(c budget.Cap) string {
	var b strings.Builder
	if c.Limit == budget.None {
		b.WriteByte('-')
	} else {
		b.WriteString(strconv.FormatInt(c.Limit, 10))
	}
	b.WriteByte('|')
	for i, p := range c.Thresholds() {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(p))
		if c.Limit != budget.None {
			whole, rest := c.Limit/100, c.Limit%100
			fmt.Fprintf(&b, ":%d", whole*int64(p)+(rest*int64(p)+99)/100)
		}
	}
	return b.String()
}

// definition is a cap as the script takes it; without change when it is only taught again.
func definition(c budget.Cap, by string, change bool) packed {
	anchor := ""
	if a, ok := c.For.Anchor(); ok {
		anchor = a.String()
	}
	record := capText{For: c.For.String(), Meter: string(c.Meter), Per: c.Per.String(), Limit: c.Limit, Soft: c.Soft, By: by}
	p := packed(nil).array(5).text(c.ID()).text(anchor).text(limits(c)).text(jsonText(record))
	if !change {
		return p.text("")
	}
	return p.text(changeText{What: "define", By: by, Cap: c.ID(), New: c.Limit}.String())
}

// Define implements [budget.Store].
func (s *Store) Define(ctx context.Context, account, by string, caps []budget.Cap) (int64, error) {
	op := packed(nil).array(2).text("define").array(len(caps))
	for _, c := range caps {
		if c.Limit > MaxLimit && c.Limit != budget.None {
			return 0, &budget.FieldError{Field: "Limit", Problem: fmt.Sprintf("%d is more than this store counts exactly", c.Limit), Fix: fmt.Sprintf("write at most %d, or use another store", MaxLimit)}
		}
		op = append(op, definition(c, by, true)...)
	}
	u, err := s.do(ctx, account, settling, op)
	if err != nil {
		return 0, err
	}
	u.array()
	switch word := u.text(); word {
	case "ok":
		u.int()
		version := u.int()
		if u.bad {
			break
		}
		for _, c := range caps {
			s.open(account).memory.cap(c.ID(), definition(c, by, false))
		}
		return version, nil
	case "closed":
		u.int()
		return 0, closedRun(u.text())
	}
	return 0, nonsense("an answer")
}

// plain asks for something that is not about one reservation, and reads on to what was said.
func (s *Store) plain(ctx context.Context, account string, rank rank, op packed) (*unpacked, error) {
	u, err := s.do(ctx, account, rank, op)
	if err != nil {
		return nil, err
	}
	u.array()
	word := u.text()
	u.int()
	switch {
	case word == "run open":
		return nil, fmt.Errorf("budget: forget: %d of the run's reservations: %w", u.int(), budget.ErrStillOpen)
	case word != "ok" || u.bad:
		return nil, nonsense("an answer")
	}
	return u, nil
}

func done(u *unpacked) error {
	if u.bad {
		return nonsense("an answer cut short")
	}
	return nil
}

// Caps implements [budget.Store].
func (s *Store) Caps(ctx context.Context, account string, since int64) (budget.CapSet, error) {
	u, err := s.plain(ctx, account, reserving, packed(nil).array(2).text("caps").int(max(since, 0)))
	if err != nil {
		return budget.CapSet{}, err
	}
	set := budget.CapSet{Version: u.int(), Full: u.int() != 0}
	m := s.open(account).memory
	for n := u.array(); n >= 2; n -= 2 {
		id, text := u.text(), u.text()
		if version, err := strconv.ParseInt(text, 10, 64); err == nil {
			set.Caps = append(set.Caps, budget.CapRecord{Key: id, Version: version, Removed: true})
			continue
		}
		r, err := parseRecord(id, text)
		if err != nil {
			return budget.CapSet{}, err
		}
		set.Caps = append(set.Caps, r)
		m.cap(id, definition(r.Cap, r.By, false))
	}
	slices.SortFunc(set.Caps, func(x, y budget.CapRecord) int { return strings.Compare(x.Key, y.Key) })
	m.forgetCap(func(id string) bool {
		i, listed := slices.BinarySearchFunc(set.Caps, id, func(r budget.CapRecord, id string) int { return strings.Compare(r.Key, id) })
		return set.Full && !listed || listed && set.Caps[i].Removed
	})
	return set, done(u)
}

// cutStamp splits "version\ntime\nrest".
func cutStamp(text string) (version int64, at time.Time, rest string, ok bool) {
	first, rest, _ := strings.Cut(text, "\n")
	second, rest, ok := strings.Cut(rest, "\n")
	version, err1 := strconv.ParseInt(first, 10, 64)
	us, err2 := strconv.ParseInt(second, 10, 64)
	return version, fromMicros(us), rest, ok && err1 == nil && err2 == nil
}

func parseRecord(id, text string) (budget.CapRecord, error) {
	bad := nonsense("a cap")
	version, at, body, ok := cutStamp(text)
	var t capText
	if !ok || json.Unmarshal([]byte(body), &t) != nil {
		return budget.CapRecord{}, bad
	}
	target, err := budget.ParseTarget(t.For)
	if err != nil {
		return budget.CapRecord{}, bad
	}
	window, err := budget.ParseWindow(t.Per)
	if err != nil {
		return budget.CapRecord{}, named(err) // a zone that this machine does not know
	}
	c := budget.Cap{For: target, Meter: budget.Meter(t.Meter), Limit: t.Limit, Per: window, Soft: t.Soft}
	if c.ID() != id {
		return budget.CapRecord{}, bad
	}
	return budget.CapRecord{Cap: c, Version: version, By: t.By, At: at, Key: id}, nil
}

// Changes implements [budget.Store].
func (s *Store) Changes(ctx context.Context, account string) ([]budget.Change, error) {
	u, err := s.plain(ctx, account, reserving, packed(nil).array(1).text("changes"))
	if err != nil {
		return nil, err
	}
	var out []budget.Change
	for _, text := range u.texts() {
		version, at, rest, ok := cutStamp(text)
		old, body, _ := strings.Cut(rest, "\n")
		var t changeText
		if !ok || json.Unmarshal([]byte(body), &t) != nil {
			return nil, nonsense("a change")
		}
		c := budget.Change{Version: version, At: at, By: t.By, What: t.What, Cap: t.Cap, New: t.New, Reason: t.Reason, Until: fromNano(t.Until)}
		switch old {
		case "":
		case "-":
			c.Old = budget.None
		default:
			if c.Old, err = strconv.ParseInt(old, 10, 64); err != nil {
				return nil, nonsense("a change")
			}
		}
		if t.Scope != "" {
			if c.Scope, ok = parseScope(t.Scope); !ok {
				return nil, nonsense("a change")
			}
		}
		out = append(out, c)
	}
	return out, done(u)
}

// Freeze implements [budget.Store].
func (s *Store) Freeze(ctx context.Context, account string, f budget.Freeze) error {
	until := nano(f.Until)
	text := strconv.FormatInt(micros(until), 10) + "\n" + jsonText(freezeText{Until: until, Reason: f.Reason, By: f.By})
	change := changeText{What: "freeze", By: f.By, Scope: f.Scope.String(), Reason: f.Reason, Until: until}
	_, err := s.plain(ctx, account, settling, packed(nil).array(4).text("freeze").text(f.Scope.String()).text(text).text(change.String()))
	return err
}

// Unfreeze implements [budget.Store].
func (s *Store) Unfreeze(ctx context.Context, account string, scope budget.Scope, by string) error {
	change := changeText{What: "unfreeze", By: by, Scope: scope.String()}
	_, err := s.plain(ctx, account, settling, packed(nil).array(3).text("unfreeze").text(scope.String()).text(change.String()))
	return err
}

// Freezes implements [budget.Store].
func (s *Store) Freezes(ctx context.Context, account string) ([]budget.Freeze, error) {
	u, err := s.plain(ctx, account, reserving, packed(nil).array(1).text("freezes"))
	if err != nil {
		return nil, err
	}
	var out []budget.Freeze
	for n := u.array(); n >= 2; n -= 2 {
		f, err := parseFreeze(u.text(), u.text())
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(x, y budget.Freeze) int { return strings.Compare(x.Scope.String(), y.Scope.String()) })
	return out, done(u)
}

// Forget implements [budget.Store]. As long as the account keeps reservations that might have counted for the run, it stays
// closed.
func (s *Store) Forget(ctx context.Context, account string, run budget.Scope) error {
	_, err := s.plain(ctx, account, settling, packed(nil).array(2).text("forget").text(run.String()))
	if err != nil {
		return err
	}
	s.open(account).memory.forgetRun(run.String())
	return nil
}
