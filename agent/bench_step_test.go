package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	openai "github.com/sashabaranov/go-openai"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/grid"
)

// stepCase is one row of the table.
type stepCase struct {
	name   string
	script script
	stream bool
	runs   int // at the same time; 0 is one
}

var stepCases = []stepCase{
	{name: "json,n=10", script: script{steps: 10, calls: 1}},
	{name: "json,n=50", script: script{steps: 50, calls: 1}},
	{name: "json,n=200", script: script{steps: 200, calls: 1}},
	{name: "json,n=10,calls=4", script: script{steps: 10, calls: 4}},
	{name: "stream,n=10", script: script{steps: 10, calls: 1}, stream: true},
	{name: "burst,n=10", script: script{steps: 10, calls: 1, burst: true}, stream: true},
	{name: "json,n=10,runs=1000", script: script{steps: 10, calls: 1, think: 20 * time.Millisecond}, runs: 1000},
	{name: "json,n=10,hop", script: script{steps: 10, calls: 1, hop: true}},
}

// BenchmarkStep measures what a step costs beside the floor: a loop that is written
// by hand on go-openai, against the same model, in the same minute and taking turns.
// Everything that is on by default is on. A ratio below 1 means that the loop costs
// less than the one without a framework.
//
// CPU is what the client's process used, in user and kernel mode. Times say something
// about the machine, ratios about the loop; nothing is asserted on either. In the row
// with a hop only the loop is sent through the market's redirect, which the other
// cannot follow.
func BenchmarkStep(b *testing.B) {
	url := startProcess(b, roleModel).url(b)
	floor := startProcess(b, roleFloor)
	var rows []*stepRow
	for i, c := range stepCases {
		b.Run(c.name, func(b *testing.B) {
			row := &stepRow{name: c.name, stream: c.stream}
			ours := newOurLoop(b, url, c)
			runs := c.runs
			if runs == 0 {
				runs = max(1, 200/c.script.steps)
			}
			order := floorOrder{URL: url, Case: i, Runs: min(runs, 3)}
			// Afterwards connections are open and pools filled.
			ours.measure(order.Runs).check(b)
			floor.measure(b, order).check(b)
			order.Runs = runs
			for round := 0; b.Loop(); round++ {
				// Who comes second finds a warmer machine: they take turns.
				if round%2 == 0 {
					row.add(b, &row.ours, ours.measure(runs))
				}
				row.add(b, &row.floor, floor.measure(b, order))
				if round%2 == 1 {
					row.add(b, &row.ours, ours.measure(runs))
				}
			}
			row.report(b)
			rows = slices.DeleteFunc(rows, func(r *stepRow) bool { return r.name == c.name })
			rows = append(rows, row)
		})
	}
	var parked parkedRow
	b.Run("parked,runs="+strconv.Itoa(parkedRuns), func(b *testing.B) { parked = benchParked(b, url) })
	printSteps(rows)
	parked.print()
}

// stepLoop is one of the two.
type stepLoop struct {
	c    stepCase
	desk *desk
	run  func(show func(step int, text string)) (string, error)

	first []time.Duration
}

func newOurLoop(tb testing.TB, url string, c stepCase) *stepLoop {
	l, end, err := ourLoop(tb.Context(), url, c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(end)
	return l
}

func ourLoop(ctx context.Context, url string, c stepCase) (l *stepLoop, end func(), err error) {
	catalogue := grid.DefaultCatalogue()
	for _, in := range catalogue.List() {
		in.MaxPriceNanoUSD = 450_000_000
		if err := catalogue.Put(in); err != nil {
			return nil, nil, err
		}
	}
	client, err := grid.New(grid.Config{APIKey: "a-key", BaseURL: url + c.script.path(), Catalogue: catalogue})
	if err != nil {
		return nil, nil, err
	}
	// All limits are on. Those that would end a run of this length are wider.
	limits := agent.Limits{}
	if c.script.steps > agent.DefaultSteps {
		limits = agent.Limits{Steps: c.script.steps + 1, ToolCalls: c.script.steps + 1, RunTokens: 1_000_000_000, RunNanoUSD: 1_000_000_000_000}
	}
	d := &desk{watched: c.stream}
	a, err := agent.New(agent.Config{Name: "parcel-desk", Instructions: deskInstructions, Market: client, Tools: deskTools(d), Limits: limits})
	if err != nil {
		return nil, nil, err
	}
	end = func() {
		a.Shutdown(context.Background())
		client.Shutdown(context.Background())
	}
	return &stepLoop{c: c, desk: d, run: func(show func(step int, text string)) (string, error) {
		if show == nil {
			res, err := agent.Run[string](ctx, a, deskTask)
			return res.Text, err
		}
		live := agent.Start[string](ctx, a, deskTask)
		for e := range live.Events() {
			if d, ok := e.(agent.TextDelta); ok {
				show(d.Step, d.Text)
			}
		}
		res, err := live.Result()
		return res.Text, err
	}}, end, nil
}

func newFloorLoop(ctx context.Context, url string, c stepCase) *stepLoop {
	c.script.hop = false
	cfg := openai.DefaultConfig("a-key")
	cfg.BaseURL = url + c.script.path()
	if c.runs > 1 {
		// The default keeps two connections; what opening thousands costs is not
		// the question here.
		cfg.HTTPClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: c.runs}}
	}
	d := &desk{watched: c.stream}
	f := newFloor(cfg, d, c.script.steps)
	return &stepLoop{c: c, desk: d, run: func(show func(step int, text string)) (string, error) { return f.run(ctx, deskTask, show) }}
}

// once is one run. Of a stream it keeps how long the first text of each step took,
// from the return of the tool before it.
func (l *stepLoop) once() error {
	var show func(step int, text string)
	if l.c.stream {
		l.desk.begin()
		shown := -1
		show = func(step int, _ string) {
			if step > shown {
				shown = step
				l.first = append(l.first, l.desk.since(step))
			}
		}
	}
	text, err := l.run(show)
	if err == nil && text != finalText {
		err = fmt.Errorf("the run ended with %q", text)
	}
	return err
}

// measure runs the case a number of times and counts what that costs this process.
func (l *stepLoop) measure(runs int) stepSum {
	l.first = l.first[:0]
	errs := make([]error, runs)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	cpu, start := cpuTime(), time.Now()
	if l.c.runs > 1 {
		var all sync.WaitGroup
		for i := range runs {
			all.Go(func() { errs[i] = l.once() })
		}
		all.Wait()
	} else {
		for i := range runs {
			errs[i] = l.once()
		}
	}
	s := stepSum{CPU: cpuTime() - cpu, Wall: time.Since(start), Steps: runs * l.c.script.steps, First: slices.Clone(l.first)}
	runtime.ReadMemStats(&after)
	s.Allocs, s.Bytes = after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
	if err := errors.Join(errs...); err != nil {
		s.Err = err.Error()
	}
	return s
}

// stepSum is what a number of steps cost.
type stepSum struct {
	CPU, Wall     time.Duration
	Allocs, Bytes uint64
	Steps         int
	First         []time.Duration
	Err           string
}

func (s stepSum) check(b *testing.B) {
	if s.Err != "" {
		b.Fatal(s.Err)
	}
}

func (s stepSum) cpu() float64    { return float64(s.CPU.Microseconds()) / float64(s.Steps) }
func (s stepSum) wall() float64   { return float64(s.Wall.Microseconds()) / float64(s.Steps) }
func (s stepSum) allocs() float64 { return float64(s.Allocs) / float64(s.Steps) }
func (s stepSum) kib() float64    { return float64(s.Bytes) / 1024 / float64(s.Steps) }

// firstText is the median of the times to the first text of a step.
func (s stepSum) firstText() float64 {
	return median(len(s.First), func(i int) float64 { return float64(s.First[i].Microseconds()) })
}

func median(n int, of func(i int) float64) float64 {
	if n == 0 {
		return 0
	}
	all := make([]float64, n)
	for i := range all {
		all[i] = of(i)
	}
	slices.Sort(all)
	return (all[(n-1)/2] + all[n/2]) / 2
}

// stepRow holds the rounds of one case. What it tells is their median: a round that
// something else on the machine disturbed says nothing.
type stepRow struct {
	name        string
	stream      bool
	ours, floor []stepSum
}

func (r *stepRow) add(b *testing.B, to *[]stepSum, s stepSum) {
	s.check(b)
	*to = append(*to, s)
}

func (r *stepRow) our(of func(stepSum) float64) float64 {
	return median(len(r.ours), func(i int) float64 { return of(r.ours[i]) })
}

func (r *stepRow) hand(of func(stepSum) float64) float64 {
	return median(len(r.floor), func(i int) float64 { return of(r.floor[i]) })
}

func (r *stepRow) ratio(of func(stepSum) float64) float64 {
	return median(len(r.ours), func(i int) float64 { return of(r.ours[i]) / of(r.floor[i]) })
}

func (r *stepRow) report(b *testing.B) {
	b.ReportMetric(0, "ns/op") // an op is both loops: it says nothing
	b.ReportMetric(r.ratio(stepSum.cpu), "cpu-ratio")
	b.ReportMetric(r.ratio(stepSum.wall), "wall-ratio")
	b.ReportMetric(r.our(stepSum.cpu), "cpu-us/step")
	b.ReportMetric(r.hand(stepSum.cpu), "floor-cpu-us/step")
	b.ReportMetric(r.our(stepSum.allocs), "allocs/step")
	b.ReportMetric(r.hand(stepSum.allocs), "floor-allocs/step")
	if r.stream {
		b.ReportMetric(r.ratio(stepSum.firstText), "first-text-ratio")
		b.ReportMetric(r.our(stepSum.firstText), "first-text-us")
		b.ReportMetric(r.hand(stepSum.firstText), "floor-first-text-us")
	}
}

// printSteps prints the table.
func printSteps(rows []*stepRow) {
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, strings.Join([]string{"", "CPU ratio", "CPU µs/step", "by hand", "wall ratio", "allocs/step", "by hand", "KiB/step", "by hand", "first text ratio", ""}, "\t"))
	for _, r := range rows {
		first := "-"
		if r.stream {
			first = fmt.Sprintf("%.2f", r.ratio(stepSum.firstText))
		}
		fmt.Fprintf(w, "%s\t%.2f\t%.0f\t%.0f\t%.2f\t%.0f\t%.0f\t%.1f\t%.1f\t%s\t\n", r.name, r.ratio(stepSum.cpu), r.our(stepSum.cpu), r.hand(stepSum.cpu), r.ratio(stepSum.wall),
			r.our(stepSum.allocs), r.hand(stepSum.allocs), r.our(stepSum.kib), r.hand(stepSum.kib), first)
	}
	w.Flush()
}
