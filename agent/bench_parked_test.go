package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// parkedRuns wait for an answer at the same time.
const parkedRuns = 1000

// parkedOrder asks a new process for runs that stop at their last answer.
type parkedOrder struct {
	URL  string
	Ours bool
}

// parkedSum is what the runs of a process hold while all of them wait.
type parkedSum struct {
	KiB float64 // of resident memory, for each run; 0 where that cannot be read
	Err string
}

var parkedCase = stepCase{name: "parked", script: script{steps: 2, calls: 1, hold: true}, runs: parkedRuns}

func serveParked(in io.Reader, out io.Writer) error {
	var o parkedOrder
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return err
	}
	var s parkedSum
	var err error
	if s.KiB, err = o.measure(context.Background()); err != nil {
		s.Err = err.Error()
	}
	return json.NewEncoder(out).Encode(s)
}

func (o parkedOrder) measure(ctx context.Context) (kib float64, err error) {
	warm, c := parkedCase, parkedCase
	warm.script.hold = false
	loop := func(c stepCase) (*stepLoop, error) {
		if !o.Ours {
			return newFloorLoop(ctx, o.URL, c), nil
		}
		l, _, err := ourLoop(ctx, o.URL, c)
		return l, err
	}
	first, err := loop(warm)
	if err != nil {
		return 0, err
	}
	l, err := loop(c)
	if err != nil {
		return 0, err
	}
	if _, err := first.run(nil); err != nil {
		return 0, err
	}
	before := residentKiB()
	errs := make([]error, c.runs)
	var all sync.WaitGroup
	for i := range c.runs {
		all.Go(func() { errs[i] = l.once() })
	}
	for n := 0; n < c.runs; {
		time.Sleep(50 * time.Millisecond)
		if n, err = o.tell(heldPath); err != nil {
			return 0, err
		}
	}
	after := residentKiB()
	if _, err := o.tell(releasePath); err != nil {
		return 0, err
	}
	all.Wait()
	return float64(after-before) / float64(c.runs), errors.Join(errs...)
}

// tell asks the model about the answers that it holds.
func (o parkedOrder) tell(path string) (n int, err error) {
	res, err := http.Get(o.URL + path)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil {
		n, err = strconv.Atoi(string(b))
	}
	return n, err
}

// residentKiB is what this process has in memory after what is free was given back, by
// the kernel's own count; 0 where there is none to read.
func residentKiB() int {
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var n int
	_, _ = fmt.Sscan(rest, &n)
	return n
}

// parkedRow holds the rounds of the runs that wait.
type parkedRow struct{ ours, floor []float64 }

func benchParked(b *testing.B, url string) (r parkedRow) {
	one := func(ours bool) float64 {
		var s parkedSum
		startProcess(b, roleParked).ask(b, parkedOrder{url, ours}, &s)
		if s.Err != "" {
			b.Fatal(s.Err)
		}
		return s.KiB
	}
	for b.Loop() {
		if len(r.ours) < 3 { // they hardly differ
			r.ours, r.floor = append(r.ours, one(true)), append(r.floor, one(false))
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(r.our(), "RSS-KiB/run")
	b.ReportMetric(r.hand(), "floor-RSS-KiB/run")
	return r
}

func (r parkedRow) our() float64 {
	return median(len(r.ours), func(i int) float64 { return r.ours[i] })
}

func (r parkedRow) hand() float64 {
	return median(len(r.floor), func(i int) float64 { return r.floor[i] })
}

func (r parkedRow) print() {
	if r.hand() > 0 {
		fmt.Printf("\n%d runs that wait for an answer: %.0f KiB of resident memory each, by hand %.0f\n", parkedRuns, r.our(), r.hand())
	}
}
