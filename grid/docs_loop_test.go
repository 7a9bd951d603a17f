package grid_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid"
)

// documentedLoop asks as the platform's pages advise: five tries at most, with delays
// that double from a second and a little jitter, each caller for itself.
func documentedLoop(ctx context.Context, p *purse, unit time.Duration, text string) bool {
	delay := unit
	for range 5 {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://market.test/v1/chat/completions",
			strings.NewReader(`{"model":"agent-prime","messages":[{"role":"user","content":"`+text+`"}]}`))
		if err != nil {
			return false
		}
		res, err := p.RoundTrip(r)
		if err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if res.StatusCode == http.StatusTemporaryRedirect {
			return rest(ctx, p.thinking) == nil
		}
		if rest(ctx, delay+time.Duration(float64(delay)*(0.1+0.15*rand.Float64()))) != nil {
			return false
		}
		delay *= 2
	}
	return false
}

// drought is what became of 1,000 callers that arrive within two seconds while a
// balance is dry.
type drought struct {
	requests, refused, failed int
	p50, p99                  time.Duration
}

// drive lets them arrive. unit is how long a second lasts.
func drive(t testing.TB, gate bool, topUp, unit time.Duration) drought {
	const callers = 1000
	p := &purse{latency: unit / 50, thinking: unit / 20}
	c := p.client(t, func(cfg *grid.Config) {
		cfg.Retry = grid.Retry{TopUpDelays: []time.Duration{unit, 2 * unit, 4 * unit}, Patience: 5 * unit, DoubtAfter: 90 * unit, ExhaustedDelay: 60 * unit}
	})
	p.filled = time.Now().Add(topUp)
	ctx := context.Background()
	took := make([]time.Duration, callers)
	ok := make([]bool, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			began := time.Now()
			if gate {
				req := ask(fmt.Sprint(i))
				req.Wait = time.Hour
				_, err := c.Chat(ctx, req)
				ok[i] = err == nil
			} else {
				ok[i] = documentedLoop(ctx, p, unit, fmt.Sprint(i))
			}
			took[i] = time.Since(began)
		})
		if i%10 == 9 {
			time.Sleep(unit / 50)
		}
	}
	wg.Wait()
	d := drought{requests: p.requests, refused: p.refused}
	for _, ok := range ok {
		if !ok {
			d.failed++
		}
	}
	slices.Sort(took)
	d.p50, d.p99 = took[callers/2], took[callers*99/100]
	return d
}

func TestGateBesideTheDocumentedLoop(t *testing.T) {
	for _, topUp := range []time.Duration{6 * time.Second, 25 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			loop, gate := drive(t, false, topUp, time.Second), drive(t, true, topUp, time.Second)
			if gate.failed != 0 || gate.requests > 1000+60 || gate.requests > loop.requests/3 {
				t.Errorf("%v: gate %+v, loop %+v", topUp, gate, loop)
			}
			if loop.failed == 0 && gate.p99 > loop.p99+2*time.Second {
				t.Errorf("%v: the gate's slowest took %v, the loop's %v", topUp, gate.p99, loop.p99)
			}
			t.Logf("top-up of %v\nloop %+v\ngate %+v", topUp, loop, gate)
		})
	}
}

// BenchmarkTopUp shows both in real time, a second shrunk to 50 ms.
func BenchmarkTopUp(b *testing.B) {
	const unit = 50 * time.Millisecond
	for _, seconds := range []int{6, 25} {
		for _, row := range []struct {
			name string
			gate bool
		}{{"documented-loop", false}, {"gate", true}} {
			b.Run(fmt.Sprintf("%ds/%s", seconds, row.name), func(b *testing.B) {
				var d drought
				for b.Loop() {
					d = drive(b, row.gate, time.Duration(seconds)*unit, unit)
				}
				b.ReportMetric(float64(d.requests), "requests")
				b.ReportMetric(float64(d.refused), "refused")
				b.ReportMetric(float64(d.failed), "failed")
				b.ReportMetric(float64(d.p50)/float64(unit), "p50-s")
				b.ReportMetric(float64(d.p99)/float64(unit), "p99-s")
			})
		}
	}
}
