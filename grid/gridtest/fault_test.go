package gridtest_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid/gridtest"
)

// outcome asks once and tells the status, or the error of a connection that
// gave none, and what of the body could be read.
func outcome(t *testing.T, m *gridtest.Market, client *http.Client, base, body string) (status int, header http.Header, got string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+m.Key())
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(b), err
}

func TestFaultsStrikeOnceAndAreBilledAsDocumented(t *testing.T) {
	stream := strings.Replace(hello, "{", `{"stream":true,`, 1)
	for _, row := range []struct {
		name       string
		fault      gridtest.Fault
		body       string
		wantStatus int // zero: the connection ends without an answer
		wantCut    bool
		wantBody   string // part of it; "" is an empty body
		wantRetry  string
		wantBilled bool
		wantHops   int
	}{
		{"429 at the router", gridtest.Fault{Status: 429, RetryAfter: 1500 * time.Millisecond}, hello, 429, false, `{"errors":{"detail":"Too Many Requests"}}`, "2", false, 1},
		{"500 at the supplier", gridtest.Fault{Status: 500, Hop: 2, Detail: "upstream"}, hello, 500, false, `{"error":{"message":"upstream"`, "", false, 2},
		{"502 that is billed", gridtest.Fault{Status: 502, Hop: 2, Billed: true}, hello, 502, false, `Bad Gateway`, "", true, 2},
		{"503 at the router", gridtest.Fault{Status: 503}, hello, 503, false, `Service Unavailable`, "", false, 1},
		{"504 at the supplier", gridtest.Fault{Status: 504, Hop: 2}, hello, 504, false, `Gateway Timeout`, "", false, 2},
		{"stream cut before its first chunk", gridtest.Fault{Kind: gridtest.CutStream}, stream, 200, true, "", "", true, 2},
		{"stream cut after chunks", gridtest.Fault{Kind: gridtest.CutStream, AfterChunks: 2}, stream, 200, true, `"content":"Hello from the s"`, "", true, 2},
		{"stream cut after bytes", gridtest.Fault{Kind: gridtest.CutStream, AfterBytes: 7}, stream, 200, true, `data: {`, "", true, 2},
		{"stream with a clean end and no finish", gridtest.Fault{Kind: gridtest.CutStream, AfterChunks: 2, CleanEnd: true}, stream, 200, false, `"content":"Hello from the s"`, "", true, 2},
		{"whole answer cut", gridtest.Fault{Kind: gridtest.CutStream, AfterBytes: 20}, hello, 200, true, `{"id":"chatcmpl-`, "", true, 2},
		{"connection dropped by the router", gridtest.Fault{Kind: gridtest.DropConnection, Hop: 1}, hello, 0, false, "", "", false, 1},
		{"connection dropped by the supplier", gridtest.Fault{Kind: gridtest.DropConnection}, hello, 0, false, "", "", true, 2},
		{"HTML with 200", gridtest.Fault{Kind: gridtest.HTML}, hello, 200, false, "<!DOCTYPE html>", "", true, 2},
		{"HTML with 503 at the router", gridtest.Fault{Kind: gridtest.HTML, Status: 503, Hop: 1}, hello, 503, false, "<!DOCTYPE html>", "", false, 1},
		{"HTML with 502 at the supplier", gridtest.Fault{Kind: gridtest.HTML, Status: 502}, hello, 502, false, "<!DOCTYPE html>", "", false, 2},
		{"empty body", gridtest.Fault{Kind: gridtest.EmptyBody}, hello, 200, false, "", "", true, 2},
		{"no choices", gridtest.Fault{Kind: gridtest.NoChoices}, hello, 200, false, `"choices":[]`, "", true, 2},
		{"no choices in a stream", gridtest.Fault{Kind: gridtest.NoChoices}, stream, 200, false, "data: [DONE]\n\n", "", true, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			ways(t, gridtest.Config{}, func(t *testing.T, m *gridtest.Market, client *http.Client, base string) {
				row.fault.Instrument = "text-prime"
				row.fault.On = 2
				m.Fault(row.fault)
				outcome(t, m, client, base, strings.Replace(hello, "text-prime", "text-max", 1)) // does not count
				if status, _, _, err := outcome(t, m, client, base, row.body); status != 200 || err != nil {
					t.Fatalf("struck too soon: %d, %v", status, err)
				}
				before, hops := m.Bill(""), len(m.Requests())
				status, header, body, err := outcome(t, m, client, base, row.body)
				switch {
				case status != row.wantStatus:
					t.Errorf("status %d (%v), want %d", status, err, row.wantStatus)
				case row.wantStatus == 0 && !errors.Is(err, io.EOF):
					t.Errorf("error %v, want io.EOF", err)
				case row.wantStatus != 0 && errors.Is(err, io.ErrUnexpectedEOF) != row.wantCut:
					t.Errorf("error %v, want a cut: %v", err, row.wantCut)
				}
				if !strings.Contains(body, row.wantBody) || row.wantBody == "" && body != "" {
					t.Errorf("body %q, want %q in it", body, row.wantBody)
				}
				if row.wantCut && strings.Contains(body, "[DONE]") {
					t.Errorf("a cut stream is done: %q", body)
				}
				if got := header.Get("Retry-After"); got != row.wantRetry {
					t.Errorf("Retry-After %q, want %q", got, row.wantRetry)
				}
				if got := m.Bill("") > before; got != row.wantBilled {
					t.Errorf("billed %v, want %v", got, row.wantBilled)
				}
				if got := len(m.Requests()) - hops; got != row.wantHops {
					t.Errorf("%d requests, want %d", got, row.wantHops)
				}
				if status, _, _, err := outcome(t, m, client, base, row.body); status != 200 || err != nil {
					t.Errorf("struck twice: %d, %v", status, err)
				}
				m.AssertDone(t)
			})
		})
	}
}

func TestSlowStreamsTakeTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{Latency: 3 * time.Second})
		defer m.Close()
		m.Fault(gridtest.Fault{Kind: gridtest.SlowStream, Delay: 2 * time.Second})
		m.Model(func(gridtest.Turn) gridtest.Reply {
			return gridtest.Reply{Text: "abcd", Chunks: 2, Delay: time.Second, DeltaDelay: time.Minute}
		})
		start := time.Now()
		chat(t, memoryClient(m), m.BaseURL(), m.Key(), strings.Replace(hello, "{", `{"stream":true,`, 1))
		// role, two pieces, finish, [DONE]
		if got, want := time.Since(start), 4*time.Second+5*2*time.Second; got != want {
			t.Errorf("the slow stream took %v, want %v", got, want)
		}
		start = time.Now()
		chat(t, memoryClient(m), m.BaseURL(), m.Key(), strings.Replace(hello, "{", `{"stream":true,`, 1))
		if got, want := time.Since(start), 4*time.Second+4*time.Minute; got != want {
			t.Errorf("the next stream took %v, want %v", got, want)
		}
	})
}

func TestTopUpRunIs402Then503Then200(t *testing.T) {
	m := gridtest.New(gridtest.Config{})
	defer m.Close()
	m.Fault(gridtest.TopUpRun("text-prime")...)
	for _, want := range []int{402, 503, 200, 200} {
		if status, _, _, _ := outcome(t, m, memoryClient(m), m.BaseURL(), hello); status != want {
			t.Errorf("status %d, want %d", status, want)
		}
	}
}

func TestEmptyCreditsRefuseEveryInstrument(t *testing.T) {
	m := gridtest.New(gridtest.Config{})
	defer m.Close()
	m.Fault(gridtest.Fault{On: 2, Kind: gridtest.CreditsEmpty})
	for i, want := range []int{200, 402, 402, 402} {
		body := strings.Replace(hello, "text-prime", []string{"text-prime", "text-prime", "agent-max", "code-standard"}[i], 1)
		if status, _, _, _ := outcome(t, m, memoryClient(m), m.BaseURL(), body); status != want {
			t.Errorf("request %d: %d, want %d", i+1, status, want)
		}
	}
	m.SetCredits(1)
	if status, _, _, _ := outcome(t, m, memoryClient(m), m.BaseURL(), hello); status != 200 {
		t.Errorf("after a deposit: %d", status)
	}
}

func TestFaultsByChanceFollowTheSeed(t *testing.T) {
	run := func(seed uint64) (pattern string) {
		m := gridtest.New(gridtest.Config{Seed: seed})
		defer m.Close()
		m.Fault(gridtest.Fault{Status: 500, Rate: 0.3, Times: 20})
		for range 100 {
			status, _, _, _ := outcome(t, m, memoryClient(m), m.BaseURL(), hello)
			pattern += map[int]string{200: ".", 500: "x"}[status]
		}
		return pattern
	}
	one, again, other := run(1), run(1), run(2)
	if one != again {
		t.Errorf("the same seed gave\n%s and\n%s", one, again)
	}
	if one == other {
		t.Error("two seeds gave the same faults")
	}
	if n := strings.Count(one, "x"); n < 10 || n > 20 {
		t.Errorf("%d faults in 100 at a rate of 0.3, at most 20", n)
	}
}

func TestTimesIsHowOftenAFaultStrikes(t *testing.T) {
	m := gridtest.New(gridtest.Config{})
	defer m.Close()
	m.Fault(gridtest.Fault{On: 2, Times: 2, Status: 429}, gridtest.Fault{On: 4, Times: -1, Status: 500})
	for i, want := range []int{200, 429, 429, 500, 500, 500} {
		if status, _, _, _ := outcome(t, m, memoryClient(m), m.BaseURL(), hello); status != want {
			t.Errorf("request %d: %d, want %d", i+1, status, want)
		}
	}
}
