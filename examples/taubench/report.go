package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/examples/internal/tau"
	"github.com/gridloop/gridloop/grid"
)

// A score is how many of so many were equal.
type score struct{ equal, of int }

func (s *score) count(equal bool) {
	s.of++
	if equal {
		s.equal++
	}
}

// usage is what an instrument did.
type usage struct {
	calls, requests int
	tokens, nanoUSD int64
}

// A report is what came of all conversations.
type report struct {
	conversations, observations, norm, python, truth, recorder, rewards score

	rewarded    int
	runs        int
	closings    int // answers behind the end of a recording
	stopped     int // conversations that a limit ended early
	instruments map[string]usage
	requests    int // on record
	asked       int // at the market's door
	drawn       [kinds]int
	trouble     []string

	// In nano-USD.
	capped   int64 // what a conversation may spend
	dearest  int64 // what one spent at most
	receipts int64
	bill     int64 // the market's own
}

// Helper and Errorf let the market complain to the report.
func (r *report) Helper() {}

// Errorf takes down what the market found wrong.
func (r *report) Errorf(format string, args ...any) {
	r.trouble = append(r.trouble, fmt.Sprintf(format, args...))
}

func (r *report) add(p *played) {
	complain := func(format string, args ...any) {
		r.Errorf("%s (task %d, trial %d): %s", p.name, p.TaskID, p.Trial, fmt.Sprintf(format, args...))
	}
	for _, t := range p.trouble {
		complain("%s", t)
	}
	want, got := p.Messages, p.messages
	if n := len(got); n > 0 && got[n-1].Role == "assistant" && got[n-1].Text() == endOfRecording {
		got = got[:n-1]
		r.closings++
	}
	r.observe(want, got)
	difference := differ(want, got)
	r.conversations.count(difference == "")
	switch {
	case p.stopped != "":
		r.stopped++
		complain("%s", p.stopped)
	case difference != "":
		complain("%s", difference)
	}

	if w := p.Replay.Final; w.Norm != "" {
		r.norm.count(w.Norm == p.final.Norm)
		r.python.count(w.Python == p.final.Python)
	}
	if w := p.Replay.GroundTruth; w.Norm != "" {
		r.truth.count(w == p.grade.truth)
	}
	if w := p.Recorded.Info.GroundTruth; w != "" {
		r.recorder.count(w == p.grade.truth.Python)
	}
	r.rewards.count(p.Reward == p.grade.reward)
	if p.grade.reward == 1 {
		r.rewarded++
	}

	if p.cost > r.capped {
		complain("it cost %s, which is more than its cap", budget.FormatUSD(p.cost))
	}

	r.runs += p.runs
	r.receipts += p.cost
	r.dearest = max(r.dearest, p.cost)
	for _, s := range p.steps {
		u := r.instruments[s.Instrument]
		u.calls++
		u.requests += len(s.Attempts)
		r.requests += len(s.Attempts)
		for _, a := range s.Attempts {
			u.tokens += a.Tokens
		}
		u.nanoUSD += s.CostNanoUSD
		r.instruments[s.Instrument] = u
	}
}

// observe counts the results of tools, in order.
func (r *report) observe(want []tau.Message, got []grid.Message) {
	var results []grid.Message
	for _, m := range got {
		if m.Role == "tool" {
			results = append(results, m)
		}
	}
	n := 0
	for _, w := range want {
		if w.Role == "tool" {
			r.observations.count(n < len(results) && results[n].ToolCallID == w.ToolCallID && results[n].Text() == w.Text())
			n++
		}
	}
	r.observations.of += max(len(results)-n, 0) // calls that were never recorded
}

// differ says where two transcripts part, "" if nowhere. The words with which the
// user ends the recording are not for the agent.
func differ(want []tau.Message, got []grid.Message) string {
	if n := len(want); want[n-1].Role == "user" && n-1 == len(got) {
		want = want[:n-1]
	}
	for i := range min(len(want), len(got)) {
		w, g := want[i], got[i]
		same := w.Role == g.Role && w.Text() == g.Text() && w.ToolCallID == g.ToolCallID
		if len(w.ToolCalls) > 0 {
			c := w.ToolCalls[0]
			same = same && len(g.ToolCalls) == 1 && g.ToolCalls[0].ID == c.ID &&
				g.ToolCalls[0].Name == c.Function.Name && g.ToolCalls[0].Arguments == c.Function.Arguments
		} else {
			same = same && len(g.ToolCalls) == 0
		}
		if !same {
			return fmt.Sprintf("message %d differs: the recording has a %s message %.200q, the replay a %s message %.200q", i, w.Role, w.Text(), g.Role, g.Text())
		}
	}
	if len(want) != len(got) {
		return fmt.Sprintf("the recording has %d messages, the replay %d", len(want), len(got))
	}
	return ""
}

func (r *report) rows() []struct {
	name string
	score
} {
	return []struct {
		name string
		score
	}{
		{"conversations, every message", r.conversations},
		{"observations, byte for byte", r.observations},
		{"final states, sorted JSON", r.norm},
		{"final states, Python tuples", r.python},
		{"right solutions, both hashes", r.truth},
		{"right solutions, recorder's hash", r.recorder},
		{"rewards", r.rewards},
	}
}

func (r *report) allEqual() bool {
	for _, row := range r.rows() {
		if row.equal != row.of {
			return false
		}
	}
	return r.receipts == r.bill && r.requests == r.asked && len(r.trouble) == 0
}

// maxTrouble is how many complaints are printed.
const maxTrouble = 20

func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "\n%-34s %6s %6s\n", "", "equal", "of")
	for _, row := range r.rows() {
		fmt.Fprintf(out, "%-34s %6d %6d\n", row.name, row.equal, row.of)
	}
	fmt.Fprintf(out, "\n%d runs, one for each message of a user; reward 1 in %d conversations.\n", r.runs, r.rewarded)
	if r.closings > 0 {
		fmt.Fprintf(out, "%d recordings were cut off at the benchmark's %d steps, behind a tool's result: one more answer closes each transcript.\n", r.closings, maxSteps)
	}
	if n := r.drawn; n != [kinds]int{} {
		var parts []string
		for f := none + 1; f < kinds; f++ {
			parts = append(parts, fmt.Sprintf("%d x %s", n[f], f))
		}
		fmt.Fprintf(out, "Faults: %s.\n", strings.Join(parts, ", "))
	}

	fmt.Fprintf(out, "\n%-16s %12s %10s %12s %14s\n", "instrument", "model calls", "requests", "tokens", "cost")
	for _, id := range slices.Sorted(maps.Keys(r.instruments)) {
		u := r.instruments[id]
		fmt.Fprintf(out, "%-16s %12d %10d %12d %14s\n", id, u.calls, u.requests, u.tokens, budget.FormatUSD(u.nanoUSD))
	}
	fmt.Fprintf(out, "\nrequests on record     %d\nat the market's door   %d\nreceipts of all runs   %s\nthe market's own bill  %s\ndearest conversation   %s, with a cap of %s\n",
		r.requests, r.asked, budget.FormatUSD(r.receipts), budget.FormatUSD(r.bill), budget.FormatUSD(r.dearest), budget.FormatUSD(r.capped))
	if r.stopped > 0 {
		fmt.Fprintf(out, "%d conversations were ended by a limit before the recording was.\n", r.stopped)
	}

	for i, t := range r.trouble {
		if i == maxTrouble {
			fmt.Fprintf(out, "... and %d more\n", len(r.trouble)-i)
			break
		}
		if i == 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintln(out, t)
	}
	if r.allEqual() {
		fmt.Fprintln(out, "\nAll equal.")
	}
}
