package agent

import (
	"fmt"
	"testing"
	"time"
)

// Beginnings are few, but an agent lives long: the oldest is forgotten for a new one.
func TestBeginningsThatAreKeptAreBounded(t *testing.T) {
	e, a := &estimates{}, &Agent{}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	name := func(i int) beginning { return beginning{agent: a, print: fmt.Sprint(i)} }
	for i := range maxBegun + 10 {
		e.learn(name(i), counted{tokens: 100}, now.Add(time.Duration(i)*time.Second))
	}
	if len(e.begun) != maxBegun || e.begins(name(9), now).tokens != 0 || e.begins(name(10), now).tokens == 0 {
		t.Errorf("%d are kept; of the tenth %+v is known, of the eleventh %+v", len(e.begun), e.begins(name(9), now), e.begins(name(10), now))
	}
}

func TestTheLeastCountOfABeginningIsKept(t *testing.T) {
	e, b := &estimates{}, beginning{agent: &Agent{}}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name   string
		tokens int64
		after  time.Duration
		want   int64
	}{
		{"the first", 100, 0, 100},
		{"a greater one", 120, time.Hour, 100},
		{"a lesser one", 80, 2 * time.Hour, 80},
		{"a greater one a week later", 200, 8 * 24 * time.Hour, 200},
	} {
		if got := e.learn(b, counted{tokens: tc.tokens}, now.Add(tc.after)); got.tokens != tc.want {
			t.Errorf("%s: %d is kept, want %d", tc.name, got.tokens, tc.want)
		}
	}
}

// What is kept is the beginning, not the transcript of the run that was counted.
func TestOfARequestItsBeginningIsKept(t *testing.T) {
	refs := []*MessageRef{{Hash: "a", Role: "system", Bytes: 99}, {Hash: "b", Role: "user", Bytes: 299}, {Hash: "c", Role: "assistant", Bytes: 99}}
	for _, tc := range []struct {
		name  string
		agent *Agent
		refs  int
		body  int64
	}{
		{"with instructions", &Agent{system: []byte("{}")}, 1, 600},
		{"without", &Agent{}, 0, 500},
	} {
		k := new(estimates).learn(beginning{agent: tc.agent}, counted{refs: refs, body: 1000, tokens: 250}, time.Time{})
		if len(k.refs) != tc.refs || cap(k.refs) > 1 || k.body != tc.body {
			t.Errorf("%s: %d messages of %d bytes are kept, want %d of %d", tc.name, len(k.refs), k.body, tc.refs, tc.body)
		}
	}
}
