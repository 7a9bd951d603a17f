//go:build unix

package agent_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
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
	atOnce int // runs at the same time; 0 is one
}

var stepCases = []stepCase{
	{name: "json,n=10", script: script{steps: 10, calls: 1}},
	{name: "json,n=50", script: script{steps: 50, calls: 1}},
	{name: "json,n=200", script: script{steps: 200, calls: 1}},
	{name: "json,n=10,calls=4", script: script{steps: 10, calls: 4}},
	{name: "stream,n=10", script: script{steps: 10, calls: 1}, stream: true},
	{name: "burst,n=10", script: script{steps: 10, calls: 1, burst: true}, stream: true},
	{name: "json,n=10,runs=1000", script: script{steps: 10, calls: 1, think: 20 * time.Millisecond}, atOnce: 1000},
	{name: "json,n=10,hop", script: script{steps: 10, calls: 1, hop: true}},
}

// BenchmarkStep measures what a step costs beside the floor: a loop that is written
// by hand on go-openai, against the same model in another process, in the same
// minute and taking turns. Everything that is on by default is on. A ratio below 1
// means that the loop costs less than the one without a framework.
//
// Times say something about the machine, ratios about the loop; nothing is asserted
// on either. In the row with a hop only the loop is sent through the market's
// redirect, which the other cannot follow.
func BenchmarkStep(b *testing.B) {
	url := startScriptServer(b)
	var rows []stepRow
	for _, c := range stepCases {
		row := stepRow{name: c.name}
		b.Run(c.name, func(b *testing.B) { row = benchmarkStep(b, url, c) })
		if row.ours.steps > 0 {
			rows = append(rows, row)
		}
	}
	printSteps(rows)
}

func benchmarkStep(b *testing.B, url string, c stepCase) stepRow {
	ours, floor := newOurs(b, url, c), newFloorLoop(b, url, c)
	runs := c.atOnce
	if runs == 0 {
		runs = max(1, 200/c.script.steps)
	}
	for _, l := range []*stepLoop{ours, floor} {
		// Afterwards connections are open and pools filled.
		if s := l.measure(min(runs, 3), 1); s.err != nil {
			b.Fatal(s.err)
		}
	}
	var row stepRow
	row.name = c.name
	for b.Loop() {
		// Taking turns at being first: who comes second finds warmer caches.
		first, second := ours, floor
		if row.rounds++; row.rounds%2 == 0 {
			first, second = floor, ours
		}
		for _, l := range []*stepLoop{first, second} {
			s := l.measure(runs, max(1, c.atOnce))
			if s.err != nil {
				b.Fatal(s.err)
			}
			if l == ours {
				row.ours.add(s)
			} else {
				row.floor.add(s)
			}
		}
	}
	row.report(b)
	return row
}

// stepLoop is one of the two.
type stepLoop struct {
	run   func(show func(step int, text string)) (string, error)
	c     stepCase
	desk  *desk
	first []time.Duration
}

func newOurs(b testing.TB, url string, c stepCase) *stepLoop {
	catalogue := grid.DefaultCatalogue()
	for _, in := range catalogue.List() {
		in.MaxPriceNanoUSD = 450_000_000
		if err := catalogue.Put(in); err != nil {
			b.Fatal(err)
		}
	}
	client, err := grid.New(grid.Config{APIKey: "a-key", BaseURL: url + c.script.path(), Catalogue: catalogue})
	if err != nil {
		b.Fatal(err)
	}
	l := &stepLoop{c: c, desk: &desk{watched: c.stream}}
	// All limits are on. Those that end a run of this length are wider.
	limits := agent.Limits{}
	if c.script.steps > agent.DefaultSteps {
		limits = agent.Limits{Steps: c.script.steps + 1, ToolCalls: c.script.steps + 1, RunTokens: 1_000_000_000, RunNanoUSD: 1_000_000_000_000}
	}
	a, err := agent.New(agent.Config{Name: "parcel-desk", Instructions: deskInstructions, Market: client, Tools: deskTools(l.desk), Limits: limits})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		a.Shutdown(context.Background())
		client.Shutdown(context.Background())
	})
	l.run = func(show func(step int, text string)) (string, error) {
		if show == nil {
			res, err := agent.Run[string](b.Context(), a, deskTask)
			return res.Text, err
		}
		live := agent.Start[string](b.Context(), a, deskTask)
		for e := range live.Events() {
			if d, ok := e.(agent.TextDelta); ok {
				show(d.Step, d.Text)
			}
		}
		res, err := live.Result()
		return res.Text, err
	}
	return l
}

func newFloorLoop(b testing.TB, url string, c stepCase) *stepLoop {
	s := c.script
	s.hop = false
	cfg := openai.DefaultConfig("a-key")
	cfg.BaseURL = url + s.path()
	// The default transport keeps two connections; what opening thousands costs is
	// not the question here.
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 4096
	cfg.HTTPClient = &http.Client{Transport: transport}
	b.Cleanup(transport.CloseIdleConnections)
	l := &stepLoop{c: c, desk: &desk{watched: c.stream}}
	f := newFloor(cfg, l.desk, c.script.steps)
	l.run = func(show func(step int, text string)) (string, error) { return f.run(b.Context(), deskTask, show) }
	return l
}

// once is one run. It keeps how long each step's first text took, from the return of
// the tool before it.
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

// measure runs a number of runs, so many at once, and counts what they cost this
// process.
func (l *stepLoop) measure(runs, atOnce int) stepSum {
	l.first = l.first[:0]
	errs := make([]error, runs)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	cpu, start := cpuTime(), time.Now()
	if atOnce == 1 {
		for i := range runs {
			errs[i] = l.once()
		}
	} else {
		var all sync.WaitGroup
		for i := range runs {
			all.Go(func() { errs[i] = l.once() })
		}
		all.Wait()
	}
	s := stepSum{cpu: cpuTime() - cpu, wall: time.Since(start), steps: runs * l.c.script.steps, first: slices.Clone(l.first)}
	runtime.ReadMemStats(&after)
	s.allocs, s.bytes = after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
	for _, err := range errs {
		if err != nil {
			s.err = err
		}
	}
	return s
}

// cpuTime is what this process has used, in user and in kernel mode.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type stepSum struct {
	cpu, wall     time.Duration
	allocs, bytes uint64
	steps         int
	first         []time.Duration
	err           error
}

func (s *stepSum) add(t stepSum) {
	s.cpu += t.cpu
	s.wall += t.wall
	s.allocs += t.allocs
	s.bytes += t.bytes
	s.steps += t.steps
	s.first = append(s.first, t.first...)
}

func (s *stepSum) cpuPerStep() float64  { return float64(s.cpu.Microseconds()) / float64(s.steps) }
func (s *stepSum) wallPerStep() float64 { return float64(s.wall.Microseconds()) / float64(s.steps) }
func (s *stepSum) allocsPerStep() float64 {
	return float64(s.allocs) / float64(s.steps)
}
func (s *stepSum) bytesPerStep() float64 { return float64(s.bytes) / float64(s.steps) }

// firstText is the median time to the first text of a step, in microseconds.
func (s *stepSum) firstText() float64 {
	if len(s.first) == 0 {
		return 0
	}
	slices.Sort(s.first)
	return float64(s.first[len(s.first)/2].Microseconds())
}

type stepRow struct {
	name        string
	rounds      int
	ours, floor stepSum
}

func (r *stepRow) report(b *testing.B) {
	b.ReportMetric(0, "ns/op") // an op is both loops: it says nothing
	b.ReportMetric(r.ours.cpuPerStep()/r.floor.cpuPerStep(), "cpu-ratio")
	b.ReportMetric(r.ours.wallPerStep()/r.floor.wallPerStep(), "wall-ratio")
	b.ReportMetric(r.ours.cpuPerStep(), "cpu-us/step")
	b.ReportMetric(r.floor.cpuPerStep(), "floor-cpu-us/step")
	b.ReportMetric(r.ours.allocsPerStep(), "allocs/step")
	b.ReportMetric(r.floor.allocsPerStep(), "floor-allocs/step")
	if r.ours.firstText() > 0 {
		b.ReportMetric(r.ours.firstText()/r.floor.firstText(), "first-text-ratio")
	}
}

// printSteps prints the table.
func printSteps(rows []stepRow) {
	fmt.Println()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, strings.Join([]string{"", "CPU ratio", "CPU µs/step", "by hand", "wall ratio", "allocs/step", "by hand", "KiB/step", "by hand", "first text ratio", ""}, "\t"))
	for _, r := range rows {
		first := "-"
		if f := r.floor.firstText(); f > 0 {
			first = fmt.Sprintf("%.2f", r.ours.firstText()/f)
		}
		fmt.Fprintf(w, "%s\t%.2f\t%.0f\t%.0f\t%.2f\t%.0f\t%.0f\t%.1f\t%.1f\t%s\t\n", r.name,
			r.ours.cpuPerStep()/r.floor.cpuPerStep(), r.ours.cpuPerStep(), r.floor.cpuPerStep(), r.ours.wallPerStep()/r.floor.wallPerStep(),
			r.ours.allocsPerStep(), r.floor.allocsPerStep(), r.ours.bytesPerStep()/1024, r.floor.bytesPerStep()/1024, first)
	}
	w.Flush()
}
