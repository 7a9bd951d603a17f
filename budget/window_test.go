package budget

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func instant(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestCalendarWindowsFollowTheZone(t *testing.T) {
	for _, test := range []struct{ name, window, at, start, end string }{
		{"an ordinary day", "day Europe/Berlin", "2026-11-23T12:00:00Z", "2026-11-22T23:00:00Z", "2026-11-23T23:00:00Z"},
		{"the 23 hours in which summer time begins", "day Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"},
		{"the 25 hours in which it ends", "day Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
		{"New York begins later", "day America/New_York", "2026-11-23T03:00:00Z", "2026-11-22T05:00:00Z", "2026-11-23T05:00:00Z"},
		{"half an hour off", "day Asia/Kolkata", "2026-11-23T18:29:59Z", "2026-11-22T18:30:00Z", "2026-11-23T18:30:00Z"},
		{"half an hour of summer time", "day Australia/Lord_Howe", "2026-04-05T01:00:00Z", "2026-04-04T13:00:00Z", "2026-04-05T13:30:00Z"},
		{"a day that begins at one o'clock", "day America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"},
		{"a midnight that happens twice", "day America/Havana", "2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"},
		{"a day that falls back into the day before", "day America/St_Johns", "2010-11-07T03:00:00Z", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z"},
		{"the day after one that never was", "day Pacific/Apia", "2011-12-30T12:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"},
		{"Sunday belongs to the week before", "week Europe/Berlin", "2026-03-29T21:59:59Z", "2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z"},
		{"a week in UTC", "week UTC", "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"},
		{"a month with both offsets", "month Europe/Berlin", "2026-10-15T00:00:00Z", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"},
		{"a leap February", "month UTC", "2028-02-29T23:59:59Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"},
		{"the turn of the year", "month Asia/Tokyo", "2026-12-31T15:00:00Z", "2026-12-31T15:00:00Z", "2027-01-31T15:00:00Z"},
		{"the last day of a leap year far ahead", "day Europe/Berlin", "2040-12-31T12:00:00Z", "2040-12-30T23:00:00Z", "2040-12-31T23:00:00Z"},
		{"the first day after it", "day Australia/Lord_Howe", "2040-12-31T23:00:00Z", "2040-12-31T13:00:00Z", "2041-01-01T13:00:00Z"},
		{"fixed, from the epoch", "fixed 6h", "2026-11-23T13:00:00Z", "2026-11-23T12:00:00Z", "2026-11-23T18:00:00Z"},
		{"fixed, from an anchor to come", "fixed 24h from 2030-01-01T09:00:00Z", "2026-11-23T08:00:00Z", "2026-11-22T09:00:00Z", "2026-11-23T09:00:00Z"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, err := ParseWindow(test.window)
			if err != nil {
				t.Fatal(err)
			}
			got := w.At(instant(t, test.at))
			if !got.Start.Equal(instant(t, test.start)) || !got.End.Equal(instant(t, test.end)) {
				t.Fatalf("%s at %s is %v to %v, want %s to %s", w, test.at, got.Start, got.End, test.start, test.end)
			}
		})
	}
}

// Windows tile the time: none is counted twice, none is lost, whatever clocks do.
func TestEveryInstantLiesInExactlyOneWindow(t *testing.T) {
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "America/Havana", "America/St_Johns", "Pacific/Apia",
		"Australia/Lord_Howe", "Asia/Tehran", "Africa/Cairo", "Asia/Beirut", "Europe/Dublin", "Antarctica/Troll", "Pacific/Kwajalein", "America/Nuuk"}
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, name := range zones {
		loc := zone(t, name)
		for _, w := range []Window{Day(loc), Week(loc), Month(loc)} {
			var near []time.Time
			for at := instant(t, "1975-01-01T00:00:00Z"); at.Year() < 2036; {
				_, end := at.In(loc).ZoneBounds()
				if end.IsZero() {
					break
				}
				for _, d := range []time.Duration{-24 * time.Hour, -time.Hour, -time.Nanosecond, 0, time.Nanosecond, 30 * time.Minute, time.Hour, 24 * time.Hour} {
					near = append(near, end.Add(d))
				}
				at = end
			}
			for range 100 {
				near = append(near, time.Unix(rnd.Int64N(4e9), rnd.Int64N(1e9)))
			}
			for _, at := range near {
				s := w.At(at)
				if !s.Contains(at) || w.At(s.Start) != s || w.At(s.End.Add(-1)) != s {
					t.Fatalf("%s: %v lies in %v to %v, whose ends lie in %v and %v", w, at, s.Start, s.End, w.At(s.Start), w.At(s.End.Add(-1)))
				}
				if next := w.At(s.End); !next.Start.Equal(s.End) {
					t.Fatalf("%s: after %v to %v comes %v", w, s.Start, s.End, next.Start)
				}
				if y, m, d := s.Start.In(loc).Date(); w.kind == windowMonth && d != 1 && name != "Pacific/Apia" {
					t.Fatalf("%s: a month begins on %d-%d-%d", w, y, m, d)
				}
			}
		}
	}
}

func TestWindowsAreReadAsWritten(t *testing.T) {
	for _, text := range []string{"lifetime", "fixed 6h", "fixed 1h30m", "fixed 10s", "fixed 30m", "fixed 1h0m1s", "fixed 168h from 2026-01-05T09:00:00Z",
		"day Europe/Berlin", "week UTC", "month America/New_York", "rolling 24h", "rolling 1m", "rolling 1h30m0.001s", "rolling 8784h"} {
		w, err := ParseWindow(text)
		if err != nil || w.String() != text {
			t.Errorf("%q is read as %q, %v", text, w, err)
		}
	}
	for text, want := range map[string]string{"day": "day UTC", " month  UTC ": "month UTC", "fixed 3600s": "fixed 1h", "rolling  1440m": "rolling 24h", "fixed 1h from 1970-01-01T00:00:00Z": "fixed 1h"} {
		if w, err := ParseWindow(text); err != nil || w.String() != want {
			t.Errorf("%q is read as %q, %v, want %q", text, w, err, want)
		}
	}
	if Day(zone(t, "Asia/Tokyo")).String() != "day Asia/Tokyo" || Week(nil).String() != "week UTC" {
		t.Error("windows made in Go are not written like those that are read")
	}
}

func TestRollingWindowsHaveSixtyBuckets(t *testing.T) {
	for text, want := range map[string]time.Duration{"rolling 24h": 24 * time.Minute, "rolling 1m": time.Second, "rolling 1m0.001s": 1001 * time.Millisecond,
		"rolling 168h": 168 * time.Minute, "fixed 24h": 0, "day UTC": 0, "lifetime": 0} {
		w, err := ParseWindow(text)
		if err != nil {
			t.Fatal(err)
		}
		length, bucket := w.Rolls()
		if bucket != want || (length > 0) != (want > 0) {
			t.Errorf("%s looks back %v in buckets of %v, want %v", text, length, bucket, want)
		}
		if w.kind == windowRolling && w.At(time.Now()) != (Span{}) {
			t.Errorf("%s turns", text)
		}
	}
}

func TestImpossibleWindowsAreRefused(t *testing.T) {
	for text, hint := range map[string]string{
		"": "lifetime", "daily": "day", "day Local": "IANA", "day Mars/Olympus": "IANA", "day Europe/Berlin extra": "day", "lifetime UTC": "lifetime",
		"fixed": "fixed 6h", "fixed 0s": "one second", "fixed -6h": "one second", "fixed 7d": "hours", "fixed 6h at noon": "from", "fixed 6h from noon": "2026",
		"fixed 6h from 1500-01-01T00:00:00Z": "1970", "fixed 999999h": "100 years", "rolling": "rolling 24h", "rolling 24h UTC": "rolling 24h", "rolling 7d": "hours", "rolling 59s": "one minute",
		"rolling 8785h": "366 days", "rolling -24h": "one minute", "rolling 1m0.0001s": "whole milliseconds", "day ../../etc/passwd": "IANA",
	} {
		_, err := ParseWindow(text)
		var fe *FieldError
		if !errors.As(err, &fe) || !errors.Is(err, ErrInvalid) || fe.Field != "Per" || !strings.Contains(err.Error(), hint) {
			t.Errorf("%q: %v, want a hint at %q", text, err, hint)
		}
	}
	for _, w := range []Window{{}, Day(time.Local), Month(time.FixedZone("mine", 3600)), Fixed(0, time.Time{}), Rolling(0), Rolling(time.Hour + time.Microsecond)} {
		if w.Validate() == nil {
			t.Errorf("%v is accepted", w)
		}
	}
	if s := (Window{}).At(time.Now()); s != (Span{}) {
		t.Errorf("the zero window has a span: %v", s)
	}
}

func FuzzParseWindow(f *testing.F) {
	for _, s := range []string{"lifetime", "fixed 6h from 2026-01-01T00:00:00Z", "day Europe/Berlin", "week", "month UTC", "fixed 1ns", "rolling 24h"} {
		f.Add(s, int64(1_800_000_000))
	}
	f.Fuzz(func(t *testing.T, s string, unix int64) {
		w, err := ParseWindow(s)
		if err != nil {
			return
		}
		again, err := ParseWindow(w.String())
		if err != nil || again.String() != w.String() {
			t.Fatalf("%q is %q, which is read as %q, %v", s, w, again, err)
		}
		at := time.Unix(unix%4e9, 0)
		if length, bucket := w.Rolls(); length > 0 && (60*bucket < length || 60*bucket >= length+60*time.Millisecond || bucket%time.Millisecond != 0) {
			t.Fatalf("%q looks back %v in buckets of %v", s, length, bucket)
		}
		if span := w.At(at); !span.Contains(at) {
			t.Fatalf("%q: %v is not in %v", s, at, span)
		}
	})
}
