package grid_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	openai "github.com/sashabaranov/go-openai"

	"github.com/gridloop/gridloop/grid"
)

func TestPriceOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := grid.DefaultCatalogue()
		want := func(nano int64, source string) {
			t.Helper()
			if p := c.Price("agent-prime"); p.NanoUSDPerUnit != nano || p.Source != source {
				t.Errorf("got %+v, want %d from %s", p, nano, source)
			}
		}
		want(0, grid.PriceNone)
		c.ObserveModel(grid.Model{ID: "agent-prime", PriceNanoUSDPerUnit: 201}, time.Now())
		want(252, grid.PriceLive) // 251.25 rounded up
		c.ObserveLot("agent-prime", 300, time.Now())
		c.ObserveLot("agent-prime", 200, time.Now())
		c.ObserveLot("agent-prime", -5, time.Now())
		c.ObserveLot("nobody", 9, time.Now())
		want(300, grid.PriceReceipt)
		time.Sleep(23 * time.Hour)
		c.ObserveLot("agent-prime", 200, time.Now())
		time.Sleep(2 * time.Hour)
		want(200, grid.PriceReceipt)
		time.Sleep(24 * time.Hour)
		want(252, grid.PriceLive)
		in, _ := c.Get("agent-prime")
		in.MaxPriceNanoUSD = 100
		if err := c.Put(in); err != nil {
			t.Fatal(err)
		}
		want(100, grid.PriceMax)
		for i := range int64(200) { // bounded, and the dearest of the recent ones counts
			c.ObserveLot("text-prime", 1000-i, time.Now().Add(time.Duration(i)))
		}
		if p := c.Price("text-prime"); p.NanoUSDPerUnit != 1000-136 {
			t.Errorf("got %+v", p)
		}
		if p := c.Price("nobody"); p.Source != grid.PriceNone {
			t.Errorf("got %+v", p)
		}
	})
}

func TestCatalogueNamesEveryMistake(t *testing.T) {
	_, err := grid.NewCatalogue(
		grid.Instrument{ID: "a", Context: -1, MaxPriceNanoUSD: -2}, grid.Instrument{ID: "b"}, grid.Instrument{ID: "b"},
		grid.Instrument{ID: ""}, grid.Instrument{ID: "c", TokenField: "tokens"})
	for _, part := range []string{"Context", "MaxPriceNanoUSD", `"b" is listed twice`, "ID: it is empty", "TokenField"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
	if n := len(grid.DefaultCatalogue().List()); n != 9 {
		t.Errorf("%d instruments", n)
	}
}

func TestModelsReceiptsAndRefresh(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer consumption-key-1" {
			w.WriteHeader(401)
			return
		}
		fmt.Fprint(w, `{"object":"list","data":[{"id":"agent-prime","object":"model","display_name":"Agent Prime","created":1700000000,"owned_by":"thegrid","context_window":200000,"max_input_tokens":130000,"status":"live","pricing":{"unit_price_usd":"0.20"}},
			{"id":"glm-latest","unit_price_usd":1.5,"max_output_tokens":9},{"id":""},7,{"id":"code-nano","context_length":5}]}`)
	})
	receipts := map[string]string{
		"r1": `{"data":{"request_id":"r1","status":"reconciled","requested_model":"agent-prime","serving_model":"glm","created_at":"2026-09-01T00:00:00Z","usage":{"input_tokens":10,"output_tokens":5,"total_tokens":15},"cost":{"amount":"0.0000030001","currency":"USD","status":"reconciled","effective_price_per_token":"0.0000002","breakdown":[{"acquisition_price_per_token":"0.00000020000000001","tokens":15,"subtotal":"0.000003"}]},"timing":{"ttft_ms":120.5,"tokens_per_second":40,"duration_ms":900}}}`,
		"r2": `{"request_id":"r2","status":"pending","requested_model":"agent-prime","cost":{"amount":null,"status":"pending"}}`,
		"r3": `[]`,
		"r4": `{"request_id":"r4","cost":{"amount":"0","status":"cancelled"}}`,
	}
	mux.HandleFunc("GET /v1/usage/{id}", func(w http.ResponseWriter, r *http.Request) {
		if body, ok := receipts[r.PathValue("id")]; ok {
			fmt.Fprint(w, body)
			return
		}
		w.WriteHeader(404)
		fmt.Fprint(w, `{"errors":{"detail":"Not Found"}}`)
	})
	s := httptest.NewServer(mux)
	defer s.Close()
	c := client(t, s.URL, noRetries)
	if err := c.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	in, _ := c.Catalogue().Get("agent-prime")
	if in.Context != 200000 || in.MaxInput != 130000 || in.MaxOutput != 131072 || in.Status != "live" {
		t.Errorf("%+v", in)
	}
	if p := c.Catalogue().Price("agent-prime"); p.NanoUSDPerUnit != 250_000_000 || p.Source != grid.PriceLive {
		t.Errorf("%+v", p)
	}
	if p := c.Catalogue().Price("glm-latest"); p.NanoUSDPerUnit != 1_875_000_000 {
		t.Errorf("%+v", p)
	}
	if _, ok := c.Catalogue().Get("code-nano"); !ok || len(c.Catalogue().List()) != 11 {
		t.Errorf("%+v", c.Catalogue().List())
	}

	r, err := c.Receipt(t.Context(), "r1")
	if err != nil || r.CostNanoUSD == nil || *r.CostNanoUSD != 3001 || !r.Settled() || r.ServingModel != "glm" || r.TotalTokens != 15 || r.TTFT != 120500*time.Microsecond {
		t.Fatalf("%+v, %v", r, err)
	}
	if want := (grid.Lot{PriceNanoUSDPerUnit: 200_000_001, Tokens: 15, CostNanoUSD: 3000}); len(r.Lots) != 1 || r.Lots[0] != want {
		t.Errorf("%+v", r.Lots)
	}
	if r, err := c.Receipt(t.Context(), "r2"); err != nil || r.CostNanoUSD != nil || r.Settled() {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := c.Receipt(t.Context(), "r3"); !errors.Is(err, grid.ErrMalformed) {
		t.Errorf("%v", err)
	}
	if r, err := c.Receipt(t.Context(), "r4"); err != nil || !r.Settled() {
		t.Errorf("%+v, %v", r, err)
	}
	var e *grid.Error
	if _, err := c.Receipt(t.Context(), "none"); !errors.As(err, &e) || e.Class != grid.ClassNotFound || errors.Is(err, grid.ErrUnknownInstrument) {
		t.Errorf("%v", err)
	}
	for _, id := range []string{"", "..", "../models", "a?b=c", "a b"} {
		if _, err := c.Receipt(t.Context(), id); !errors.As(err, &e) || e.Class != grid.ClassCaller {
			t.Errorf("id %q: %v", id, err)
		}
	}
}

func TestNewNamesEveryMistake(t *testing.T) {
	t.Setenv(grid.KeyVariable, "")
	for _, row := range []struct {
		name string
		cfg  grid.Config
		want []string
	}{
		{"no key", grid.Config{}, []string{"APIKey", "THEGRID_API_KEY"}},
		{"trading key, PEM", grid.Config{APIKey: "-----BEGIN PRIVATE KEY-----"}, []string{"trading key"}},
		{"trading key, seed", grid.Config{APIKey: "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="}, []string{"trading key"}},
		{"bearer", grid.Config{APIKey: "Bearer abc"}, []string{"Bearer"}},
		{"line end", grid.Config{APIKey: "abc\n"}, []string{"white space"}},
		{"doubled", grid.Config{APIKey: "k", BaseURL: "https://api.thegrid.ai/v1/v1"}, []string{"BaseURL", "/v1 once"}},
		{"endpoint", grid.Config{APIKey: "k", BaseURL: "https://api.thegrid.ai/v1/chat/completions"}, []string{"endpoint"}},
		{"no path", grid.Config{APIKey: "k", BaseURL: "https://api.thegrid.ai"}, []string{"/v1"}},
		{"in the clear", grid.Config{APIKey: "k", BaseURL: "http://api.thegrid.ai/v1"}, []string{"https"}},
		{"query", grid.Config{APIKey: "k", BaseURL: "https://api.thegrid.ai/v1?a=b"}, []string{"query"}},
		{"user", grid.Config{APIKey: "k", BaseURL: "https://u:p@api.thegrid.ai/v1"}, []string{"user"}},
		{"no url", grid.Config{APIKey: "k", BaseURL: "api.thegrid.ai"}, []string{"absolute"}},
		{"all at once", grid.Config{BaseURL: "x", RedirectHosts: []string{"https://a/"}, MaxResponseBytes: -1, MaxHops: -1, Retry: grid.Retry{JitterMin: -1, TopUpDelays: []time.Duration{0}}},
			[]string{"APIKey", "BaseURL", "RedirectHosts", "MaxResponseBytes", "MaxHops", "jitter", "top-up delay"}},
		{"go-openai's default address", grid.Config{OpenAI: ptr(openai.DefaultConfig("abc"))}, []string{"OpenAI", "go-openai's default"}},
		{"azure", grid.Config{OpenAI: ptr(openai.DefaultAzureConfig("abc", "https://x.test/v1"))}, []string{"AZURE"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := grid.New(row.cfg)
			if c != nil || err == nil {
				t.Fatalf("accepted")
			}
			for _, part := range row.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is missing in %v", part, err)
				}
			}
			if row.cfg.APIKey != "" && len(row.cfg.APIKey) > 3 && strings.Contains(err.Error(), row.cfg.APIKey) {
				t.Errorf("the key is in %v", err)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

func TestKeyComesFromTheEnvironment(t *testing.T) {
	t.Setenv(grid.KeyVariable, "from-env")
	var got string
	cfg := grid.Config{HTTPClient: &http.Client{Timeout: time.Minute, Transport: transport(func(r *http.Request) (*http.Response, error) {
		got = r.URL.String() + " " + r.Header.Get("Authorization")
		return served200(answerJSON).RoundTrip(r)
	})}}
	c, err := grid.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Chat(t.Context(), ask("hi")); err != nil || got != "https://api.thegrid.ai/v1/chat/completions Bearer from-env" {
		t.Errorf("%q, %v", got, err)
	}
	if host, port := c.Host(); host != "api.thegrid.ai" || port != 443 {
		t.Errorf("%s:%d", host, port)
	}
}

func TestClientFromGoOpenAIConfig(t *testing.T) {
	var header http.Header
	cfg := openai.DefaultConfig("their-token")
	cfg.BaseURL = "https://market.test/v1/"
	cfg.OrgID = "org-1"
	cfg.HTTPClient = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		header = r.Header
		return served200(answerJSON).RoundTrip(r)
	})}
	c, err := grid.New(grid.Config{OpenAI: &cfg})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Chat(t.Context(), ask("hi")); err != nil {
		t.Fatal(err)
	}
	if header.Get("Authorization") != "Bearer their-token" || header.Get("OpenAI-Organization") != "org-1" {
		t.Errorf("%v", header)
	}
}

func TestMarketIsMadeAnewOnlyWhenSomethingChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := grid.DefaultCatalogue()
		last := c.Market()
		for _, step := range []struct {
			name  string
			do    func()
			same  bool
			price int64
		}{
			{"nothing", func() {}, true, 0},
			{"a live price", func() { c.ObserveModel(grid.Model{ID: "agent-prime", PriceNanoUSDPerUnit: 100}, time.Now()) }, false, 125},
			{"a lot", func() { c.ObserveLot("agent-prime", 300, time.Now()) }, false, 300},
			{"a reading", func() { c.Get("agent-prime"); c.List(); c.Price("text-prime") }, true, 300},
			{"nearly a day", func() { time.Sleep(24*time.Hour - time.Second) }, true, 300},
			{"the end of a lot's day", func() { time.Sleep(time.Second) }, false, 125},
			{"another week", func() { time.Sleep(7 * 24 * time.Hour) }, true, 125},
			{"the operator's ceiling", func() {
				if err := c.Put(grid.Instrument{ID: "agent-prime", MaxPriceNanoUSD: 9}); err != nil {
					t.Fatal(err)
				}
			}, false, 9},
		} {
			step.do()
			now := c.Market()
			if (now == last) != step.same {
				t.Errorf("after %s: the same market: %t, want %t", step.name, now == last, step.same)
			}
			offer, ok := now.Find("agent-prime")
			if !ok || offer.Price != c.Price("agent-prime") || offer.Price.NanoUSDPerUnit != step.price {
				t.Errorf("after %s: %+v, want a price of %d", step.name, offer, step.price)
			}
			last = now
		}
		if offer, ok := last.Find("nobody"); ok || offer.Price.Source != grid.PriceNone {
			t.Errorf("an unknown instrument is offered: %+v", offer)
		}
		if got := c.List(); len(got) != len(last.Offers) || got[0].ID != last.Offers[0].ID {
			t.Errorf("%d offers of %d instruments", len(last.Offers), len(got))
		}
	})
}

func TestTheMarketNeverRaisesWhatTheOperatorLowered(t *testing.T) {
	c := grid.DefaultCatalogue()
	in, _ := c.Get("agent-max")
	in.MaxInput = 50_000
	if err := c.Put(in); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ says, want int64 }{{922_000, 50_000}, {30_000, 30_000}, {80_000, 50_000}} {
		c.ObserveModel(grid.Model{ID: "agent-max", Context: 2_000_000, MaxInput: row.says}, time.Now())
		if in, _ := c.Get("agent-max"); in.MaxInput != row.want || in.Context != 2_000_000 {
			t.Errorf("the market says %d: max input is %d, context %d", row.says, in.MaxInput, in.Context)
		}
	}
}
