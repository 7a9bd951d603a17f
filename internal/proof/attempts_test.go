package proof

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tracing"
)

// everyFault is each way in which the market of the tests can fail, at each hop.
func everyFault() (all []gridtest.Fault) {
	for _, hop := range []int{1, 2} {
		for _, status := range []int{400, 401, 402, 403, 404, 408, 409, 413, 418, 422, 429, 500, 502, 503, 504, 529} {
			all = append(all, gridtest.Fault{Kind: gridtest.Status, Status: status, Hop: hop})
			if hop == 2 {
				all = append(all, gridtest.Fault{Kind: gridtest.Status, Status: status, Hop: hop, Billed: true})
			}
		}
		all = append(all,
			gridtest.Fault{Kind: gridtest.Status, Status: 429, Hop: hop, RetryAfter: 3 * time.Second},
			gridtest.Fault{Kind: gridtest.DropConnection, Hop: hop},
			gridtest.Fault{Kind: gridtest.DropConnection, Hop: hop, Times: -1},
			gridtest.Fault{Kind: gridtest.HTML, Hop: hop},
			gridtest.Fault{Kind: gridtest.HTML, Hop: hop, Status: 503},
			gridtest.Fault{Kind: gridtest.EmptyBody, Hop: hop},
			gridtest.Fault{Kind: gridtest.Status, Status: 500, Hop: hop, Times: -1},
		)
	}
	return append(all,
		gridtest.Fault{Kind: gridtest.CutStream, AfterChunks: 2}, gridtest.Fault{Kind: gridtest.CutStream, AfterBytes: 30, CleanEnd: true},
		gridtest.Fault{Kind: gridtest.CutStream, AfterChunks: 1, Times: -1},
		gridtest.Fault{Kind: gridtest.SlowStream, Delay: time.Second},
		gridtest.Fault{Kind: gridtest.NoChoices}, gridtest.Fault{Kind: gridtest.CreditsEmpty},
	)
}

// Law 8: whatever fails, attempts in the trace, in the record and at the observer are
// the requests at the first hop, and the second hop never exceeds them.
func TestAttemptsAreRequestsUnderEveryFaultAndProfile(t *testing.T) {
	seen := make(map[gridtest.Kind]bool)
	for _, f := range everyFault() {
		seen[f.Kind] = true
	}
	for k := gridtest.Status; k <= gridtest.CreditsEmpty; k++ {
		if !seen[k] {
			t.Errorf("no fault of kind %d is tried", k)
		}
	}
	for n, p := range gridtest.Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			for i, f := range everyFault() {
				if len(p.Findings) == 1 && i%3 != n%3 && os.Getenv("GRIDLOOP_LONG") == "" {
					continue // all of them as assumed, and with everything otherwise
				}
				for _, stream := range []agent.StreamMode{agent.StreamOff, agent.StreamOn} {
					synctest.Test(t, func(t *testing.T) {
						attemptsUnder(t, p, f, stream, fmt.Sprintf("fault %d (%+v), stream %s", i, f, stream))
					})
				}
			}
		})
	}
}

func attemptsUnder(t *testing.T, p gridtest.Profile, f gridtest.Fault, stream agent.StreamMode, name string) {
	m := gridtest.New(gridtest.Config{Profile: p, Credits: 1e12})
	defer m.Close()
	m.Model(func(gridtest.Turn) gridtest.Reply { return gridtest.Reply{Text: "an answer of some words", Chunks: 4} })
	m.Fault(f)
	client, err := grid.New(grid.Config{APIKey: m.Key(), HTTPClient: &http.Client{Transport: m.Transport()}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r := record(t, tracing.Config{})
	a, err := agent.New(agent.Config{Name: "desk", Market: client, Tracing: r.Tracing, Limits: agent.Limits{Wait: 10 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	if f.Kind == gridtest.CreditsEmpty {
		time.AfterFunc(5*time.Second, func() { m.SetCredits(1e12) })
	}
	res, _ := agent.Run[string](t.Context(), a, "go", agent.Stream(stream))
	synctest.Wait()
	if err := a.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	recorded := 0
	for _, s := range res.Steps {
		recorded += len(s.Attempts)
	}
	var hops [3]int
	for _, req := range m.Requests() {
		hops[req.Hop]++
	}
	spans, resends := 0, map[int64]int{}
	for _, s := range r.spans.Ended() {
		if s.Name() != "POST" {
			continue
		}
		spans++
		for _, kv := range s.Attributes() {
			if kv.Key == attribute.Key("http.request.resend_count") {
				resends[kv.Value.AsInt64()]++
			}
		}
	}
	if spans != hops[1] || recorded != hops[1] || hops[2] > hops[1] || hops[1] == 0 {
		t.Errorf("%s: %d requests at the first hop, %d at the second, %d attempts recorded, %d in the trace", name, hops[1], hops[2], recorded, spans)
	}
	for n, times := range resends {
		if times > 1 && len(res.Steps) == 1 {
			t.Errorf("%s: %d attempts call themselves number %d", name, times, n+1)
		}
	}
}
