package gridtest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid/gridtest"
)

// behaviour looks at a market from outside and says how it reads a question.
func behaviour(t *testing.T, m *gridtest.Market, question string) string {
	t.Helper()
	client := memoryClient(m)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	send := func(url, key, body string) (*http.Response, string) {
		resp := post(t, client, url, key, body)
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp, string(b)
	}
	first := func(body string) *http.Response {
		resp, _ := send(m.BaseURL()+"/chat/completions", m.Key(), body)
		return resp
	}
	read := func(path, key string) string {
		req, _ := http.NewRequest(http.MethodGet, m.BaseURL()+path, nil)
		if key != "" {
			req.Header.Set("Authorization", "Bearer "+key)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	either := func(is bool, yes, no string) string {
		if is {
			return yes
		}
		return no
	}
	switch question {
	case "models":
		return either(strings.Contains(read("/models", ""), "text-prime"), "open", "keyed")
	case "redirect_host":
		return either(strings.HasPrefix(first(hello).Header.Get("Location"), "https://api.thegrid.ai/"), "same", "other")
	case "redirect_token":
		location := first(hello).Header.Get("Location")
		send(location, "", hello)
		again, _ := send(location, "", hello)
		return either(again.StatusCode == 200, "again", "once")
	case "request_id":
		one := first(hello)
		two, _ := send(one.Header.Get("Location"), "", hello)
		switch a, b := one.Header.Get("x-grid-request-id"), two.Header.Get("x-grid-request-id"); {
		case b == "":
			return "none"
		case a == b:
			return "both_hops"
		case a == "":
			return "second_hop"
		}
		return "two ids"
	case "supplier_error":
		broken := `{"model":"text-prime","messages":[{"role":"tool","tool_call_id":"a","content":"x"}]}`
		_, body := send(first(broken).Header.Get("Location"), "", broken)
		return either(strings.HasPrefix(body, `{"error":{`), "supplier", "market")
	case "dry":
		m.SetBalance("text-prime", 0)
		one, two := first(hello).StatusCode, first(hello).StatusCode
		return either(one == two, either(one == 402, "402", "503"), "402_then_503")
	case "dry_retry_after":
		m.SetBalance("text-prime", 0)
		return either(first(hello).Header.Get("Retry-After") == "2", "given", "none")
	case "credits_empty":
		m.SetBalance("text-prime", 0)
		_, dry := send(m.BaseURL()+"/chat/completions", m.Key(), hello)
		m.SetCredits(0)
		_, empty := send(m.BaseURL()+"/chat/completions", m.Key(), strings.Replace(hello, "prime", "max", 1))
		return either(dry == empty || !strings.Contains(empty, "credits"), "alike", "named")
	case "overdraft":
		m.SetBalance("text-prime", 10)
		return either(first(hello).StatusCode == 307, "allowed", "covered")
	case "no_credits":
		m.SetCredits(0)
		return either(first(hello).StatusCode == 307, "dry", "all")
	case "lots":
		m.SetBalance("text-prime", 0)
		first(hello)
		time.Sleep(time.Minute)
		got := m.Balance("text-prime")
		time.Sleep(5 * time.Hour)
		return either(got > 0 && m.Balance("text-prime") == got, "kept", "expire")
	case "cut":
		m.Fault(gridtest.Fault{Kind: gridtest.CutStream, AfterBytes: 5})
		one := first(hello)
		post(t, client, one.Header.Get("Location"), "", hello).Body.Close()
		synctest.Wait()
		return either(m.Bill("") > 0, "billed", "unbilled")
	case "receipt":
		_, header, _ := chat(t, memoryClient(m), m.BaseURL(), m.Key(), hello)
		id := header.Get("x-grid-request-id")
		if id == "" {
			return "bare"
		}
		return either(strings.HasPrefix(read("/usage/"+id, m.Key()), `{"data":{`), "data", "bare")
	case "balances":
		_, body := signed(t, client, m.BaseURL(), m.TradingKey(), "/consumption-accounts", time.Now(), nil)
		return either(strings.Contains(body, `"available_balance":"1000000000"`), "tokens", "units")
	}
	return ""
}

func TestAMarketBehavesAsItsProfileReads(t *testing.T) {
	for _, p := range gridtest.Profiles() {
		for _, q := range gridtest.Questions() {
			t.Run(p.Name+"/"+q.Name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := gridtest.New(gridtest.Config{Profile: p})
					defer m.Close()
					want := p.Reading(q.Name)
					if q.Name == "dry" && want == "503" {
						m.SetBalance("text-prime", 0)
					}
					if q.Name == "credits_empty" && p.Reading("dry") != "402_then_503" {
						return // a 503 and a 402 differ anyway
					}
					if got := behaviour(t, m, q.Name); got != want {
						t.Errorf("it behaves as %q, its profile reads %q", got, want)
					}
					m.AssertDone(t)
				})
			})
		}
	}
}

func TestAProfileSurvivesItsFile(t *testing.T) {
	for _, p := range gridtest.Profiles() {
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "profile.json")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		back, err := gridtest.LoadProfile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range gridtest.Questions() {
			if back.Reading(q.Name) != p.Reading(q.Name) {
				t.Errorf("%s: %s became %s", p.Name, p.Reading(q.Name), back.Reading(q.Name))
			}
		}
	}
	if _, err := gridtest.LoadProfile(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was read")
	}
}

func TestWhatIsNotVisibleIsReadAsAssumed(t *testing.T) {
	p := gridtest.Profile{Findings: []gridtest.Finding{{Assumption: "A-05", Question: "dry", Reading: "402", State: gridtest.NotVisible}}}
	if got := p.Reading("dry"); got != "402_then_503" {
		t.Errorf("read as %q", got)
	}
	if got := p.Reading("weather"); got != "" {
		t.Errorf("a question that there is none of: %q", got)
	}
}

func TestMistakesInAProfileAreNamedAtOnce(t *testing.T) {
	const wrong = `{"name":"x","findings":[
		{"assumption":"A-05","question":"dry","state":"refuted","reading":"404"},
		{"assumption":"A-05","question":"cut","state":"sure","reading":"billed"},
		{"assumption":"A-05","question":"weather","state":"confirmed","reading":"fine"},
		{"assumption":"A-14","question":"receipt","state":"refuted","reading":"data"},
		{"assumption":"A-14","question":"receipt","state":"refuted","reading":"data"}]}`
	_, err := gridtest.ReadProfile(strings.NewReader(wrong))
	for _, part := range []string{`finding 0: dry is read as "404"`, `finding 1: state "sure"`, `no question "weather"`, "receipt is answered twice"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
	if _, err := gridtest.ReadProfile(strings.NewReader("no")); err == nil {
		t.Error("what is not JSON was read")
	}
	m := gridtest.New(gridtest.Config{
		Profile: gridtest.Profile{Findings: []gridtest.Finding{{Question: "dry", Reading: "404", State: gridtest.Refuted}}},
		Reload:  gridtest.Reload{Amount: -1},
	})
	defer m.Close()
	var f fakeTB
	m.AssertDone(&f)
	if text := strings.Join(f.errors, " "); !strings.Contains(text, "404") || !strings.Contains(text, "reload") {
		t.Errorf("AssertDone reports %q", text)
	}
}
