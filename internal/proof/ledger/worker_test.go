package ledger

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// The test binary, started again, is a process of its own that spends what it can get.
const workerEnv = "LEDGER_PROOF_WORKER"

var softCaps = []budget.Cap{
	{For: budget.Account(), Meter: budget.MeterMoney, Limit: 1000, Per: budget.Lifetime()},
	{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: 700, Per: budget.Rolling(24 * time.Hour), Soft: []int{10, 33, 90, 100}},
	{For: budget.Account(), Meter: budget.MeterTokens, Limit: 1000, Per: budget.Fixed(1000*time.Hour, time.Time{}), Soft: []int{1, 2, 3, 4, 5, 50}},
}

// work reserves and settles until the cap is spent, and writes down every threshold that it is told of.
func work(what string) int {
	name, rest, _ := strings.Cut(what, " ")
	worker, address, _ := strings.Cut(rest, " ")
	for _, k := range kinds {
		if k.name != name {
			continue
		}
		if err := spend(k.open(address), worker); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	return 2
}

func spend(s budget.Store, worker string) error {
	ctx := context.Background()
	l, err := budget.Open(ctx, budget.Config{Store: s, Caps: softCaps})
	if err != nil {
		return err
	}
	tell := func(crossed []budget.Crossing) {
		for _, c := range crossed {
			fmt.Printf("%d%% of %s for %s\n", c.Percent, c.Cap, c.Scope)
		}
	}
	for n := 0; ; n++ {
		id := fmt.Sprintf("%s/%d", worker, n)
		r := budget.Request{ID: id, Scopes: tenant(fmt.Sprint("t", n%2)), Amounts: budget.Amounts{NanoUSD: 5, Tokens: 4}}
		if n%5 == 4 {
			r.Lease = time.Millisecond // charged when somebody sweeps it, who hears of the threshold
		}
		g, err := l.Reserve(ctx, r)
		tell(g.Crossed)
		var d *budget.DeniedError
		switch {
		case errors.As(err, &d):
			if tell(d.Crossed); errors.Is(err, budget.ErrSpent) {
				return s.Close()
			}
			time.Sleep(time.Millisecond)
			continue
		case err != nil:
			return err
		case n%5 == 4:
			continue
		}
		settled, err := l.Settle(ctx, id, r.Amounts)
		if err != nil {
			return err
		}
		tell(settled.Crossed)
	}
}

// Each threshold is announced once, to one of four processes.
func TestThresholdsFireOnceAcrossProcesses(t *testing.T) {
	each(t, shared(), false, func(t *testing.T, k kind) {
		address := k.place(t)
		l, err := budget.Open(t.Context(), budget.Config{Store: k.replica(t, address), Caps: softCaps})
		must(t, err)
		type report struct {
			lines []string
			err   error
		}
		reports := make(chan report)
		for worker := range 4 {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", workerEnv, k.name, worker, address))
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			must(t, err)
			must(t, cmd.Start())
			go func() {
				var r report
				for scan := bufio.NewScanner(out); scan.Scan(); {
					r.lines = append(r.lines, scan.Text())
				}
				r.err = cmd.Wait()
				reports <- r
			}()
		}
		fired := map[string]int{}
		spoke := 0
		for range 4 {
			r := <-reports
			if r.err != nil {
				t.Error(r.err)
			}
			if len(r.lines) > 0 {
				spoke++
			}
			for _, line := range r.lines {
				fired[line]++
			}
		}
		swept, err := l.Sweep(t.Context(), 1000)
		must(t, err)
		for _, c := range swept.Crossed {
			fired[fmt.Sprintf("%d%% of %s for %s", c.Percent, c.Cap, c.Scope)]++
		}
		states, err := l.Snapshot(t.Context(), append(tenant("t0"), tenant("t1")...)...)
		must(t, err)
		expected := 0
		for _, s := range states {
			for _, c := range softCaps {
				if c.ID() != s.Cap {
					continue
				}
				for _, percent := range c.Thresholds() {
					line, reached := fmt.Sprintf("%d%% of %s for %s", percent, s.Cap, s.Scope), s.Settled*100 >= c.Limit*int64(percent)
					if reached {
						expected++
					}
					if got := fired[line]; got > 1 || (got == 1) != reached {
						t.Errorf("%s was announced %d times, at %d settled", line, got, s.Settled)
					}
				}
			}
			if s.Settled > s.Limit {
				t.Errorf("passed the cap: %+v", s)
			}
		}
		if expected < 10 || len(fired) != expected {
			t.Errorf("%d thresholds were reached and %d announced: %v", expected, len(fired), fired)
		}
		t.Logf("%d thresholds, told to %d of 4 processes", expected, spoke)
	})
}
