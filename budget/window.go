package budget

import (
	"fmt"
	"strings"
	"time"
)

// Window is the stretch of time that a cap counts. Make it with [Fixed], [Day], [Week], [Month], [Rolling] or [Lifetime],
// or read it with [ParseWindow]. The zero Window is invalid. No job resets anything: a spend belongs to the window that
// admitted it, and a new window simply starts at zero; under a rolling one each spend leaves when it is old enough.
type Window struct {
	kind   windowKind
	length time.Duration // fixed, rolling
	anchor time.Time     // fixed
	loc    *time.Location
}

type windowKind uint8

const (
	windowInvalid windowKind = iota
	windowLifetime
	windowFixed
	windowDay
	windowWeek
	windowMonth
	windowRolling
)

// Lifetime never turns: for runs, and for credits that are spent once.
func Lifetime() Window { return Window{kind: windowLifetime} }

// Fixed turns every d, counted from anchor; the zero anchor is the Unix epoch. It knows no days: Fixed(24*time.Hour,
// anchor) drifts against the wall clock when summer time begins.
func Fixed(d time.Duration, anchor time.Time) Window {
	if anchor.IsZero() {
		anchor = time.Unix(0, 0)
	}
	return Window{kind: windowFixed, length: d, anchor: anchor.Round(0).UTC()}
}

// Day turns at the first instant of each calendar day in loc, an IANA zone; nil is UTC.
func Day(loc *time.Location) Window { return calendar(windowDay, loc) }

// Week turns at the first instant of each Monday in loc, an IANA zone; nil is UTC.
func Week(loc *time.Location) Window { return calendar(windowWeek, loc) }

// Month turns at the first instant of each calendar month in loc, an IANA zone; nil is UTC.
func Month(loc *time.Location) Window { return calendar(windowMonth, loc) }

// rollingBuckets is into how many parts a rolling window is divided.
const rollingBuckets = 60

// Rolling looks back over the last d at every instant, so that no two windows meet at midnight. What was spent is kept in
// sixty buckets by the instant of admission, and a bucket stops counting when all of it is older than d: a spend counts
// for d at least, and at most for a sixtieth longer. Reservations that are open count however old they are.
func Rolling(d time.Duration) Window { return Window{kind: windowRolling, length: d} }

// Rolls is how far a rolling window looks back and how wide its buckets are, a whole number of milliseconds; buckets begin
// at multiples of it since the Unix epoch. Both are zero for any other window.
func (w Window) Rolls() (length, bucket time.Duration) {
	if w.kind != windowRolling {
		return 0, 0
	}
	const step = rollingBuckets * time.Millisecond
	return w.length, (w.length + step - 1) / step * time.Millisecond
}

func calendar(kind windowKind, loc *time.Location) Window {
	if loc == nil {
		loc = time.UTC
	}
	return Window{kind: kind, loc: loc}
}

// ParseWindow reads what [Window.String] writes: "lifetime", "fixed 6h", "fixed 6h from 2026-01-01T00:00:00Z", "rolling
// 24h", "day Europe/Berlin", "week UTC", "month" (UTC). Errors are [*FieldError]s.
func ParseWindow(s string) (Window, error) {
	bad := func(problem, fix string) (Window, error) {
		return Window{}, &FieldError{Field: "Per", Problem: problem, Fix: fix}
	}
	const form = `write "lifetime", "fixed 6h", "rolling 24h", "day Europe/Berlin", "week UTC" or "month UTC"`
	words := strings.Fields(s)
	if len(words) == 0 {
		return bad("the window is empty", form)
	}
	var w Window
	switch words[0] {
	case "lifetime":
		if len(words) != 1 {
			return bad(fmt.Sprintf("%q says more than lifetime", clip(s)), form)
		}
		return Lifetime(), nil
	case "fixed":
		if len(words) != 2 && (len(words) != 4 || words[2] != "from") {
			return bad(fmt.Sprintf("%q is no fixed window", clip(s)), `write "fixed 6h" or "fixed 6h from 2026-01-01T00:00:00Z"`)
		}
		d, err := time.ParseDuration(words[1])
		if err != nil {
			return bad(fmt.Sprintf("%q is no duration", clip(words[1])), "write hours, minutes and seconds, such as 6h or 168h")
		}
		var anchor time.Time
		if len(words) == 4 {
			if anchor, err = time.Parse(time.RFC3339Nano, words[3]); err != nil {
				return bad(fmt.Sprintf("%q is no time", clip(words[3])), "write it like 2026-01-01T00:00:00Z")
			}
		}
		w = Fixed(d, anchor)
	case "rolling":
		if len(words) != 2 {
			return bad(fmt.Sprintf("%q is no rolling window", clip(s)), `write "rolling 24h"`)
		}
		d, err := time.ParseDuration(words[1])
		if err != nil {
			return bad(fmt.Sprintf("%q is no duration", clip(words[1])), "write hours, minutes and seconds, such as 24h or 168h")
		}
		w = Rolling(d)
	case "day", "week", "month":
		if len(words) > 2 {
			return bad(fmt.Sprintf("%q names more than a zone", clip(s)), form)
		}
		loc := time.UTC
		if len(words) == 2 {
			var err error
			if loc, err = loadZone(words[1]); err != nil {
				return Window{}, err
			}
		}
		w = calendar(map[string]windowKind{"day": windowDay, "week": windowWeek, "month": windowMonth}[words[0]], loc)
	default:
		return bad(fmt.Sprintf("%q is no window", clip(s)), form)
	}
	if err := w.Validate(); err != nil {
		return Window{}, err
	}
	return w, nil
}

func loadZone(name string) (*time.Location, error) {
	fix := "write an IANA zone such as Europe/Berlin or UTC (a program on a machine without zone files imports time/tzdata)"
	if name == "Local" || name == "" {
		return nil, &FieldError{Field: "Per", Problem: "the local zone differs from machine to machine", Fix: fix}
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, &FieldError{Field: "Per", Problem: fmt.Sprintf("zone %q is unknown", clip(name)), Fix: fix}
	}
	return loc, nil
}

const (
	minFixed = time.Second
	maxFixed = 100 * 366 * 24 * time.Hour

	minRolling = time.Minute
	maxRolling = 366 * 24 * time.Hour
)

// Validate reports an impossible window as a [*FieldError].
func (w Window) Validate() error {
	bad := func(problem, fix string) error { return &FieldError{Field: "Per", Problem: problem, Fix: fix} }
	switch w.kind {
	case windowInvalid:
		return bad("the window is missing", "write budget.Lifetime(), budget.Day(zone) or another window")
	case windowFixed:
		if w.length < minFixed || w.length > maxFixed {
			return bad(fmt.Sprintf("a window of %v is impossible", w.length), "write one second to 100 years")
		}
		if y := w.anchor.Year(); y < 1970 || y > 2100 {
			return bad(fmt.Sprintf("a window anchored in the year %d", y), "anchor it between 1970 and 2100, or leave the anchor out")
		}
	case windowRolling:
		if w.length < minRolling || w.length > maxRolling || w.length%time.Millisecond != 0 {
			return bad(fmt.Sprintf("a rolling window of %v is impossible", w.length), "write one minute to 366 days, in whole milliseconds")
		}
	case windowDay, windowWeek, windowMonth:
		if _, err := loadZone(w.loc.String()); err != nil {
			return err
		}
	}
	return nil
}

// String is the window as [ParseWindow] reads it. It is stable: it is part of [Cap.ID].
func (w Window) String() string {
	switch w.kind {
	case windowLifetime:
		return "lifetime"
	case windowFixed:
		s := "fixed " + shortDuration(w.length)
		if !w.anchor.Equal(time.Unix(0, 0)) {
			s += " from " + w.anchor.Format(time.RFC3339Nano)
		}
		return s
	case windowRolling:
		return "rolling " + shortDuration(w.length)
	case windowDay:
		return "day " + w.loc.String()
	case windowWeek:
		return "week " + w.loc.String()
	case windowMonth:
		return "month " + w.loc.String()
	}
	return "no window"
}

func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Span is one turn of a window: from Start up to but not including End. A zero End never comes ([Lifetime] and [Rolling],
// whose Start is zero too).
type Span struct{ Start, End time.Time }

// Contains reports whether t lies in the span.
func (s Span) Contains(t time.Time) bool {
	return !t.Before(s.Start) && (s.End.IsZero() || t.Before(s.End))
}

// At is the turn of the window that t lies in. Every instant lies in exactly one. A rolling window never turns: like that
// of a lifetime, its only Span is the zero one. So is that of an invalid window.
func (w Window) At(t time.Time) Span {
	switch w.kind {
	case windowFixed:
		if w.length <= 0 {
			return Span{}
		}
		into := t.Sub(w.anchor) % w.length
		if into < 0 {
			into += w.length
		}
		start := t.Add(-into).Round(0).UTC()
		return Span{start, start.Add(w.length)}
	case windowDay, windowWeek, windowMonth:
		return w.calendarAt(t)
	}
	return Span{}
}

// calendarAt works on civil dates (kept as midnights in UTC) and asks for the instant at which each begins, because days
// have 23 to 25 hours, some begin at one o'clock, and some never happen.
func (w Window) calendarAt(t time.Time) Span {
	y, m, d := t.In(w.loc).Date()
	date := w.firstDate(time.Date(y, m, d, 0, 0, 0, 0, time.UTC))
	start := dateStart(date, w.loc)
	for start.After(t) {
		date = w.firstDate(date.AddDate(0, 0, -1))
		start = dateStart(date, w.loc)
	}
	for {
		date = w.nextDate(date)
		end := dateStart(date, w.loc)
		if end.After(t) {
			return Span{start, end}
		}
		start = end
	}
}

func (w Window) firstDate(date time.Time) time.Time {
	switch w.kind {
	case windowWeek:
		return date.AddDate(0, 0, -(int(date.Weekday())+6)%7)
	case windowMonth:
		return date.AddDate(0, 0, 1-date.Day())
	}
	return date
}

func (w Window) nextDate(date time.Time) time.Time {
	switch w.kind {
	case windowWeek:
		return date.AddDate(0, 0, 7)
	case windowMonth:
		return date.AddDate(0, 1, 0)
	}
	return date.AddDate(0, 0, 1)
}

// dateStart is the first instant at which clocks in loc show this date or a later one. time.Date would do for most zones;
// where midnight is skipped or happens twice it may answer either side.
func dateStart(date time.Time, loc *time.Location) time.Time {
	at := date.Add(-30 * time.Hour).In(loc) // no offset reaches that far, so it is surely the day before
	for {
		_, offset := at.Zone()
		_, end := at.ZoneBounds()
		start := date.Add(-time.Duration(offset) * time.Second)
		if start.Before(at) {
			start = at
		}
		if end.IsZero() {
			return start.UTC()
		}
		if !end.After(at) {
			// On 31 December of leap years after 2037 ZoneBounds answers an end that is past already. Clocks change at
			// quarters of an hour.
			end = at.Add(15 * time.Minute)
		}
		if start.Before(end) {
			return start.UTC()
		}
		at = end
	}
}
