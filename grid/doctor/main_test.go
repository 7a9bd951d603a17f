package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// see runs the program on a market and returns what it prints.
func see(ctx context.Context, m *gridtest.Market, env map[string]string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	d := doctor{getenv: func(name string) string { return env[name] }, stdin: strings.NewReader(""), stdout: &out, stderr: &errs}
	if m != nil {
		d.transport = m.Transport()
	}
	code = d.run(ctx, args)
	return code, out.String(), errs.String()
}

func credentials(m *gridtest.Market) map[string]string {
	return map[string]string{grid.KeyVariable: m.Key(), grid.TradingKeyVariable: m.TradingKey(), grid.AccessTokenVariable: m.AccessToken()}
}

func TestTheExitCodeSaysWhetherSomethingIsBroken(t *testing.T) {
	for _, row := range []struct {
		name   string
		market gridtest.Config
		args   []string
		want   int
		says   string
	}{
		{"fine", gridtest.Config{}, nil, exitFine, "9 are listed"},
		{"as JSON", gridtest.Config{}, []string{"-json"}, exitFine, `"Subject": "instruments"`},
		{"the redirect too", gridtest.Config{}, []string{"-instrument", "agent-prime"}, exitFine, "go on at the same host"},
		{"no credits", gridtest.Config{Credits: -1}, nil, exitBroken, "-> add credits"},
		{"wrong base URL", gridtest.Config{}, []string{"-base-url", "https://api.thegrid.ai/v1/v1"}, exitBroken, "write /v1 once"},
		{"unknown flag", gridtest.Config{}, []string{"-key", "x"}, exitUsage, "not defined"},
		{"unknown command", gridtest.Config{}, []string{"heal"}, exitUsage, "the only one is advise"},
		{"help", gridtest.Config{}, []string{"-h"}, exitFine, "-probe"},
		{"a ceiling of nothing", gridtest.Config{}, []string{"-probe", "-ceiling", "0"}, exitUsage, "-ceiling 0"},
		{"no requests", gridtest.Config{}, []string{"-probe", "-requests", "0"}, exitUsage, "-requests 0"},
	} {
		t.Run(row.name, func(t *testing.T) {
			m := gridtest.New(row.market)
			defer m.Close()
			code, out, errs := see(t.Context(), m, credentials(m), row.args...)
			if code != row.want || !strings.Contains(out+errs, row.says) {
				t.Errorf("exit %d, want %d and %q:\n%s%s", code, row.want, row.says, out, errs)
			}
			for name, secret := range credentials(m) {
				if strings.Contains(out+errs, secret) {
					t.Errorf("%s is printed", name)
				}
			}
			if m.Bill("") != 0 {
				t.Errorf("looking cost %d", m.Bill(""))
			}
		})
	}
}

func TestAProbeNeedsAKey(t *testing.T) {
	m := gridtest.New(gridtest.Config{})
	defer m.Close()
	code, _, errs := see(t.Context(), m, nil, "-probe")
	if code != exitUsage || !strings.Contains(errs, grid.KeyVariable) || len(m.Requests()) != 0 {
		t.Errorf("exit %d, %d requests: %s", code, len(m.Requests()), errs)
	}
}

// talkative is a market whose streams take their time, as real ones do.
func talkative(cfg gridtest.Config) *gridtest.Market {
	m := gridtest.New(cfg)
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		if turn.Stream {
			return gridtest.Reply{Text: strings.Repeat("one more number\n", 50), DeltaDelay: 100 * time.Millisecond}
		}
		return gridtest.Reply{Text: "ok"}
	})
	return m
}

// unseen are what no probe finds out: nobody's credits are emptied for it, no balance is
// run down, and no lot is waited for.
var unseen = []string{"credits_empty", "overdraft", "no_credits", "lots"}

func TestAProbeFindsOutHowTheMarketBehaves(t *testing.T) {
	for _, p := range gridtest.Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := talkative(gridtest.Config{Profile: p, Balance: map[string]int64{"text-max": 0}})
				defer m.Close()
				path := filepath.Join(t.TempDir(), "profile.json")
				code, out, errs := see(t.Context(), m, credentials(m), "-probe", "-dry", "text-max", "-requests", "25", "-instrument", "agent-prime", "-out", path)
				if code != exitFine {
					t.Fatalf("exit %d: %s%s", code, out, errs)
				}
				found, err := gridtest.LoadProfile(path)
				if err != nil {
					t.Fatal(err)
				}
				for _, q := range gridtest.Questions() {
					want := p.Reading(q.Name)
					if slices.Contains(unseen, q.Name) {
						want = q.Assumed
					}
					if got := found.Reading(q.Name); got != want {
						t.Errorf("%s: found %q, the market reads %q:\n%s", q.Name, got, want, out)
					}
					for _, f := range found.Findings {
						if f.Question == q.Name && !slices.Contains(unseen, q.Name) && f.State == gridtest.NotVisible {
							t.Errorf("%s was not visible: %s", q.Name, f.Saw)
						}
					}
				}
				seen := make(map[string]bool)
				for _, f := range found.Findings {
					seen[f.Assumption] = true
					if f.Saw == "" || strings.Contains(f.Saw, "token=") {
						t.Errorf("%s saw %q", f.Assumption, f.Saw)
					}
				}
				for i := 1; i <= 16; i++ {
					if id := fmt.Sprintf("A-%02d", i); !seen[id] {
						t.Errorf("%s is not in the profile", id)
					}
				}
				for _, id := range []string{"A-01", "A-02", "A-03", "A-04", "A-11", "A-12", "A-13", "A-15"} {
					for _, f := range found.Findings {
						if f.Assumption == id && f.Question == "" && f.State != gridtest.Confirmed {
							t.Errorf("%s is %s of a market that behaves so: %s", id, f.State, f.Saw)
						}
					}
				}
				if m.Bill("") == 0 || m.Bill("") > 20_000_000 {
					t.Errorf("the probe cost %d", m.Bill(""))
				}
			})
		})
	}
}

func TestAProbeStaysBelowItsCeilingAndItsRequests(t *testing.T) {
	for _, row := range []struct {
		name     string
		args     []string
		market   gridtest.Config
		requests int
		says     string
	}{
		{"by default", nil, gridtest.Config{}, 20, "confirmed"},
		{"a cent of a cent", []string{"-ceiling", "0.0001"}, gridtest.Config{}, 20, "the ceiling is reached"},
		{"five requests", []string{"-requests", "5"}, gridtest.Config{}, 5, "the limit of -requests is reached"},
		{"one request", []string{"-requests", "1"}, gridtest.Config{}, 1, "the limit of -requests is reached"},
		{"dear", []string{"-max-price", "1000000"}, gridtest.Config{}, 20, "the ceiling is reached"},
		{"no price", nil, gridtest.Config{Instruments: []gridtest.Instrument{{ID: "text-standard"}}}, 20, "no price is known"},
		{"no such instrument", []string{"-instrument", "gpt-5.2"}, gridtest.Config{}, 20, "no price is known"},
		{"no credits", nil, gridtest.Config{Credits: -1}, 20, "take another -instrument"},
		{"a refused key", nil, gridtest.Config{}, 20, "Invalid API key"},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := talkative(row.market)
				defer m.Close()
				env := map[string]string{grid.KeyVariable: m.Key()}
				if row.name == "a refused key" {
					env[grid.KeyVariable] = "grid_test_revoked"
				}
				code, out, errs := see(t.Context(), m, env, append([]string{"-probe"}, row.args...)...)
				synctest.Wait()
				if code != exitFine || !strings.Contains(out, row.says) {
					t.Errorf("exit %d, want %q:\n%s%s", code, row.says, out, errs)
				}
				if n := len(m.Requests()); n > row.requests {
					t.Errorf("%d requests", n)
				}
				ceiling := int64(20_000_000)
				if row.name == "a cent of a cent" {
					ceiling = 100_000
				}
				if m.Bill("") > ceiling {
					t.Errorf("it cost %d", m.Bill(""))
				}
			})
		})
	}
}

func TestAProbeOfAMarketThatDoesNotRedirect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := talkative(gridtest.Config{})
		defer m.Close()
		m.Fault(gridtest.Fault{Kind: gridtest.HTML, Hop: 1, Times: -1})
		_, out, _ := see(t.Context(), m, map[string]string{grid.KeyVariable: m.Key()}, "-probe")
		if !strings.Contains(out, "refuted      A-04: the first hop answers by itself") || !strings.Contains(out, "asking may be paid for") {
			t.Errorf("%s", out)
		}
	})
}

// logged is a decision log: of each instrument a step a second, with one busy minute.
func logged(times bool) string {
	var b strings.Builder
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	write := func(at time.Time, run int, tokens, cost int64, source string) {
		line := map[string]any{
			"run": fmt.Sprintf("r%d", run), "step": 1, "instrument": "agent-prime", "output_tokens": 500, "cost_nano_usd": cost,
			"attempts": []map[string]any{{"billed": "yes", "tokens": tokens, "cost_source": source}, {"billed": "no", "tokens": 99}},
		}
		if times {
			line["time"] = at
		}
		data, _ := json.Marshal(line)
		b.Write(data)
		b.WriteByte('\n')
	}
	for i := range 2000 {
		write(start.Add(time.Duration(i)*10*time.Second), i/4, 1000, 1_000_000, "receipt")
	}
	return b.String()
}

func TestAdviceFollowsFromTheLog(t *testing.T) {
	run := func(input string, args ...string) (int, string) {
		var out, errs bytes.Buffer
		d := doctor{getenv: func(string) string { return "" }, stdin: strings.NewReader(input), stdout: &out, stderr: &errs}
		return d.run(t.Context(), append([]string{"advise"}, args...)), out.String() + errs.String()
	}
	code, out := run(logged(true), "-lead", "10m")
	for _, part := range []string{
		"2000 steps of 500 runs in 5h33m10s",
		"trigger            100000 tokens", // 60 steps of 1,000 in ten minutes, a quarter on top
		"quantity          1000000 tokens", // 360 steps in an hour
		"max_tokens            768",
		"run               $0.0080", // four steps of a tenth of a cent, doubled
		"run                 10000 tokens",
		"day               $3.0000",
		"threshold         $0.4500", // 360 steps in an hour, a quarter on top
		"a whole day",
		"what else the account's keys spend",
	} {
		if code != exitFine || !strings.Contains(out, part) {
			t.Errorf("exit %d, %q is missing:\n%s", code, part, out)
		}
	}
	if strings.Contains(out, "no receipt has settled") || strings.Contains(out, "99th percentile") {
		t.Errorf("it complains of what is there:\n%s", out)
	}

	code, out = run(logged(false) + "\nnot JSON\n{\"level\":\"info\"}\n")
	if code != exitFine || !strings.Contains(out, "need a time on each line") || strings.Contains(out, "trigger  ") || !strings.Contains(out, "2 lines that are no steps") {
		t.Errorf("without times: exit %d\n%s", code, out)
	}

	wrapped := `{"time":"2026-11-01T00:00:00Z","msg":"step","record":{"run":"a","instrument":"text-max","waited":7000000000,"cost_nano_usd":5,"attempts":[{"billed":"maybe","tokens":10,"cost_source":"bound"}]}}
{"time":"2026-11-03T00:00:00Z","msg":"step","record":{"run":"b","instrument":"text-max","cost_nano_usd":-5,"attempts":[{"billed":"yes","tokens":9223372036854775807},{"billed":"yes","tokens":9223372036854775807}]}}`
	code, out = run(wrapped)
	for _, part := range []string{"2 steps of 2 runs in 48h0m0s", "3 of 3 attempts", "text-max has 2 steps", "for 7s at most"} {
		if code != exitFine || !strings.Contains(out, part) {
			t.Errorf("exit %d, %q is missing:\n%s", code, part, out)
		}
	}

	path := filepath.Join(t.TempDir(), "log.jsonl")
	if err := os.WriteFile(path, []byte(logged(true)), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := run("", path); code != exitFine || !strings.Contains(out, "2000 steps") {
		t.Errorf("from a file: exit %d\n%s", code, out)
	}
	for name, args := range map[string][]string{"nothing to read": nil, "no file": {filepath.Join(t.TempDir(), "none")}, "no lead": {"-lead", "0s"}, "two logs": {path, path}, "a flag that there is none of": {"-x"}} {
		if code, out := run("", args...); code != exitUsage {
			t.Errorf("%s: exit %d\n%s", name, code, out)
		}
	}
}

func FuzzDecisions(f *testing.F) {
	f.Add(`{"run":"a","instrument":"b","start":"2026-11-01T00:00:00Z"}` + "\n" + `{"run":"a","instrument":"b","start":"0001-01-02T00:00:00Z"}`)
	f.Add(`{"record":{"record":{"run":"x"}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var out, errs bytes.Buffer
		d := doctor{stdin: strings.NewReader(text), stdout: &out, stderr: &errs}
		if code := d.run(t.Context(), []string{"advise", "-lead", "1s"}); code != exitFine && code != exitUsage || out.Len()+errs.Len() == 0 {
			t.Errorf("exit %d for %q", code, text)
		}
	})
}

// What advise needs of a record is where records have it: the test of the agent that
// writes them reads the same file.
func TestAdviseReadsTheRecordsOfAnAgent(t *testing.T) {
	f, err := os.Open(filepath.Join("testdata", "step.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := readDecisions(f)
	if err != nil || len(all.steps) != 1 || all.unreadable+all.untimed+all.estimated != 0 || all.attempts != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	s := all.steps[0]
	if s.Run != "r1" || s.Instrument != "agent-prime" || s.CostNanoUSD != 732750 || s.Output != 77 || s.Waited != 2500*time.Millisecond ||
		s.tokens != 977 || !s.when().Equal(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)) || s.Attempts[0].RequestID != "req_1" {
		t.Errorf("%+v", s)
	}
}
