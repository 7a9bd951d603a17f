package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// stepLine is what advise needs of one record of a decision log: an agent's step as
// JSON, one on each line. A logger may have put a time beside it, or the step into a
// field of its own.
type stepLine struct {
	Run         string        `json:"run"`
	Instrument  string        `json:"instrument"`
	CostNanoUSD int64         `json:"cost_nano_usd"`
	Output      int64         `json:"output_tokens"`
	Waited      time.Duration `json:"waited"`
	Attempts    []struct {
		Tokens     int64  `json:"tokens"`
		Billed     string `json:"billed"`
		CostSource string `json:"cost_source"`
		RequestID  string `json:"request_id"`
	} `json:"attempts"`

	Start  time.Time `json:"start"`
	Time   time.Time `json:"time"`
	At     time.Time `json:"at"`
	Record *stepLine `json:"record"` // where a logger wrapped it
	tokens int64
}

func (s *stepLine) when() time.Time {
	for _, t := range []time.Time{s.Start, s.At, s.Time} {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// decisions is what a decision log holds.
type decisions struct {
	steps      []stepLine
	unreadable int
	untimed    int
	estimated  int // attempts whose cost no receipt has settled
	attempts   int
}

const maxLine = 16 << 20

func readDecisions(r io.Reader) (*decisions, error) {
	all := &decisions{}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for lines.Scan() {
		if len(strings.TrimSpace(lines.Text())) == 0 {
			continue
		}
		var s stepLine
		if json.Unmarshal(lines.Bytes(), &s) != nil {
			all.unreadable++
			continue
		}
		if inner := s.Record; inner != nil {
			if inner.when().IsZero() {
				inner.At = s.when()
			}
			s = *inner
		}
		if s.Instrument == "" || s.Run == "" {
			all.unreadable++
			continue
		}
		for _, a := range s.Attempts {
			if a.Billed == "no" {
				continue
			}
			s.tokens += max(a.Tokens, 0)
			all.attempts++
			if a.CostSource != "receipt" {
				all.estimated++
			}
		}
		if s.when().IsZero() {
			all.untimed++
		}
		s.CostNanoUSD = max(s.CostNanoUSD, 0)
		all.steps = append(all.steps, s)
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return nil, fmt.Errorf("line %d is longer than %d bytes: a decision log has one step on each line", len(all.steps)+all.unreadable+1, maxLine)
	}
	return all, lines.Err()
}

func (d *doctor) advise(args []string) int {
	flags := flag.NewFlagSet("doctor advise", flag.ContinueOnError)
	flags.SetOutput(d.stderr)
	lead := flags.Duration("lead", 30*time.Second, "how long a top-up takes, with room to spare")
	reload := flags.Duration("reload-lead", time.Hour, "how long a payment into the credits takes, with room to spare")
	flags.Usage = func() {
		fmt.Fprintln(d.stderr, "usage: doctor advise [flags] [log.jsonl]; without a file it reads standard input")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitFine
		}
		return exitUsage
	}
	if *lead <= 0 || *reload <= 0 || flags.NArg() > 1 {
		return d.misused("advise: -lead and -reload-lead are more than 0, and there is one log at most")
	}
	in := d.stdin
	if flags.NArg() == 1 {
		f, err := os.Open(flags.Arg(0))
		if err != nil {
			return d.misused("advise: %v", err)
		}
		defer f.Close()
		in = f
	}
	all, err := readDecisions(in)
	if err != nil {
		return d.misused("advise: %v", err)
	}
	if len(all.steps) == 0 {
		return d.misused("advise: no line of the log is a step: it wants an agent's step records as JSON, one on each line")
	}
	d.print(all, *lead, *reload)
	return exitFine
}

// few is below what a 99th percentile says anything about.
const few = 100

func (d *doctor) print(all *decisions, lead, reload time.Duration) {
	say := func(format string, args ...any) { fmt.Fprintf(d.stdout, format+"\n", args...) }
	from, to := all.span()
	byInstrument := make(map[string][]stepLine)
	byRun := make(map[string]*stepLine)
	for _, s := range all.steps {
		byInstrument[s.Instrument] = append(byInstrument[s.Instrument], s)
		sum := byRun[s.Run]
		if sum == nil {
			sum = &stepLine{}
			byRun[s.Run] = sum
		}
		sum.CostNanoUSD = add(sum.CostNanoUSD, s.CostNanoUSD)
		sum.tokens = add(sum.tokens, s.tokens)
	}
	timed := to.After(from) && all.untimed == 0
	if timed {
		say("%d steps of %d runs in %v", len(all.steps), len(byRun), to.Sub(from).Round(time.Second))
	} else {
		say("%d steps of %d runs", len(all.steps), len(byRun))
	}

	var waits []int64
	var blind []string
	for _, id := range slices.Sorted(maps.Keys(byInstrument)) {
		steps := byInstrument[id]
		var outputs []int64
		for _, s := range steps {
			outputs = append(outputs, s.Output)
			if s.Waited > 0 {
				waits = append(waits, int64(s.Waited))
			}
		}
		say("\n%s, %d steps", id, len(steps))
		if timed {
			burst := percentile(windows(steps, from, to, lead, tokensOf), 99)
			hour := percentile(windows(steps, from, to, time.Hour, tokensOf), 99)
			say("  trigger      %12d tokens: what 99 of 100 spans of %v use, and a quarter", roundUp(quarter(burst), 100_000), lead)
			say("  quantity     %12d tokens: an hour of it", roundUp(max(hour, burst), 1_000_000))
		}
		say("  max_tokens   %12d: 99 of 100 answers are shorter", roundUp(quarter(percentile(outputs, 99)), 256))
		if len(steps) < few {
			blind = append(blind, fmt.Sprintf("%s has %d steps: its 99th percentile is its maximum; come back with %d", id, len(steps), few))
		}
	}

	var costs, tokens []int64
	for _, r := range byRun {
		costs = append(costs, r.CostNanoUSD)
		tokens = append(tokens, r.tokens)
	}
	say("\ncaps")
	say("  run          %12s: twice what 99 of 100 runs cost", usd(double(percentile(costs, 99))))
	say("  run          %12d tokens, likewise", roundUp(double(percentile(tokens, 99)), 10_000))
	if timed {
		day := percentile(windows(all.steps, from, to, 24*time.Hour, costOf), 100)
		say("  day          %12s: the dearest day and a half", usd(add(day, day/2)))
		credits := percentile(windows(all.steps, from, to, reload, costOf), 99)
		say("\ncredits")
		say("  threshold    %12s: what 99 of 100 spans of %v cost, and a quarter", usd(quarter(credits)), reload)
	}
	if len(waits) > 0 {
		slices.Sort(waits)
		longest := time.Duration(percentile(waits, 99)).Round(100 * time.Millisecond)
		say("\n%d steps waited for a top-up, 99 of 100 of them for %v at most: -lead should be no less", len(waits), longest)
	}

	say("\nwhat cannot be seen")
	if !timed {
		say("  - when the steps were made: trigger, quantity, day and threshold need a time on each line (start, at or time)")
	} else if to.Sub(from) < 24*time.Hour {
		say("  - a whole day: the busiest hour may not be in the log")
	}
	for _, b := range blind {
		say("  - %s", b)
	}
	if all.estimated > 0 {
		say("  - what %d of %d attempts were billed: no receipt has settled them, so their cost is a ceiling", all.estimated, all.attempts)
	}
	if all.unreadable > 0 {
		say("  - %d lines that are no steps", all.unreadable)
	}
	say("  - what else the account's keys spend: the trigger must cover all of them together")
	say("  - whether trigger and quantity can be set: the dashboard may, the API only shows them")
}

// span is the time that the log covers; both are zero without times.
func (all *decisions) span() (from, to time.Time) {
	for _, s := range all.steps {
		at := s.when()
		if at.IsZero() {
			continue
		}
		if from.IsZero() || at.Before(from) {
			from = at
		}
		if at.After(to) {
			to = at
		}
	}
	return from, to
}

func tokensOf(s stepLine) int64 { return s.tokens }
func costOf(s stepLine) int64   { return s.CostNanoUSD }

// maxWindows bounds the memory that a log of years takes.
const maxWindows = 1 << 20

// windows adds steps up in spans of one length, those in which nothing happened too.
// Spans begin at each half, so that a burst on an edge is not halved.
func windows(steps []stepLine, from, to time.Time, length time.Duration, of func(stepLine) int64) []int64 {
	half := max(length/2, 1)
	n := int64(to.Sub(from)/half) + 1
	if n > maxWindows {
		half = to.Sub(from)/maxWindows + 1
		n = int64(to.Sub(from)/half) + 1
	}
	halves := make([]int64, n)
	for _, s := range steps {
		i := int64(s.when().Sub(from) / half)
		halves[i] = add(halves[i], of(s))
	}
	if n == 1 {
		return halves
	}
	sums := make([]int64, 0, n-1)
	for i := range n - 1 {
		sums = append(sums, add(halves[i], halves[i+1]))
	}
	return sums
}

// percentile is the smallest value that p of 100 do not exceed.
func percentile(values []int64, p int) int64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	at := (len(sorted)*p + 99) / 100
	return sorted[max(at-1, 0)]
}

func add(a, b int64) int64 {
	if sum := a + b; sum >= a {
		return sum
	}
	return 1<<63 - 1
}

func double(n int64) int64  { return add(n, n) }
func quarter(n int64) int64 { return add(n, n/4) }

func roundUp(n, to int64) int64 {
	if rest := n % to; rest > 0 {
		return add(n, to-rest)
	}
	return n
}
