package ops_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/agent/ops"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "the prompt that nobody may see"

// office is an agent that waits in a tool until it is let go, and a handler on it.
type office struct {
	*agent.Agent
	ledger *budget.Ledger
	market *gridtest.Market
	inside chan struct{} // one for each call that began
	letGo  chan struct{}
	handle http.Handler
}

var eachTenant = budget.Cap{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: budget.USD(5), Per: budget.Lifetime()}

func ann(r *http.Request) (string, error) {
	if r.Header.Get("Authorization") != "Bearer let-me-in" {
		return "mallory", errors.New("a reason that is nobody's business")
	}
	return "ann", nil
}

func newOffice(t *testing.T, authorise func(*http.Request) (string, error), limits ...agent.Limits) *office {
	t.Helper()
	o := &office{market: gridtest.New(gridtest.Config{}), inside: make(chan struct{}, 10), letGo: make(chan struct{})}
	t.Cleanup(o.market.Close)
	o.market.Model(func(turn gridtest.Turn) gridtest.Reply {
		if turn.N == 0 {
			return gridtest.Reply{Text: secret, Calls: []gridtest.ToolCall{gridtest.Call("dig", `{"where":"`+secret+`"}`)}}
		}
		return gridtest.Reply{Text: "done"}
	})
	client, err := grid.New(grid.Config{APIKey: o.market.Key(), HTTPClient: &http.Client{Transport: o.market.Transport()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if o.ledger, err = budget.Open(t.Context(), budget.Config{Store: budget.NewMemory(budget.Volatile()), Caps: []budget.Cap{eachTenant}}); err != nil {
		t.Fatal(err)
	}
	type where struct {
		Where string `json:"where"`
	}
	dig := tools.New("dig", "Dig.", func(ctx context.Context, _ where) (string, error) {
		o.inside <- struct{}{}
		select {
		case <-o.letGo:
		case <-ctx.Done():
		}
		return secret, ctx.Err()
	})
	cfg := agent.Config{Name: "desk", Instructions: secret, Market: client, Ledger: o.ledger, Tools: []tools.Tool{dig}}
	for _, l := range limits {
		cfg.Limits = l
	}
	if o.Agent, err = agent.New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Shutdown(context.Background()) })
	if o.handle, err = ops.Handler(ops.Config{Agents: []*agent.Agent{o.Agent}, Authorise: authorise}); err != nil {
		t.Fatal(err)
	}
	return o
}

// begin starts a run and waits until it is in its tool.
func (o *office) begin(t *testing.T, id string) <-chan error {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		_, err := agent.Run[string](context.Background(), o.Agent, secret, agent.RunID(id), agent.Tenant("acme"), agent.Tags(map[string]string{"team": "x"}))
		ended <- err
	}()
	<-o.inside
	return ended
}

// ask sends a request as ann does, and returns its status and body.
func (o *office) ask(method, path, body string, change ...func(*http.Request)) (int, string) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer let-me-in")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	o.handle.ServeHTTP(w, r)
	b, _ := io.ReadAll(w.Body)
	if h := w.Header(); h.Get("Access-Control-Allow-Origin") != "" {
		return 0, "it allows other origins"
	} else if w.Code != http.StatusNotFound && w.Code != http.StatusMethodNotAllowed && h.Get("Content-Type") != "application/json" {
		return 0, "it answers " + h.Get("Content-Type")
	}
	return w.Code, string(b)
}

func (o *office) get(t *testing.T, path string, into any) string {
	t.Helper()
	code, body := o.ask(http.MethodGet, path, "")
	if code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, code, body)
	}
	if err := json.Unmarshal([]byte(body), into); err != nil {
		t.Fatalf("GET %s: %v in %s", path, err, body)
	}
	return body
}

func (o *office) post(t *testing.T, path, body string) string {
	t.Helper()
	code, answer := o.ask(http.MethodPost, path, body)
	if code != http.StatusOK {
		t.Fatalf("POST %s %s: %d %s", path, body, code, answer)
	}
	return answer
}

// A run's share stands among its reservations, with what was taken from it; the sums count neither twice.
func TestTheShareOfARunIsShown(t *testing.T) {
	o := newOffice(t, nil, agent.Limits{RunNanoUSD: budget.USD(0.5), Carved: true})
	ended := o.begin(t, "r1")
	var run struct {
		Run      ops.Run
		Standing []ops.Standing
		Open     []ops.Reservation
	}
	body := o.get(t, "/runs/r1", &run)
	if len(run.Open) != 2 {
		t.Fatalf("a run: %s", body)
	}
	answer, share := run.Open[0], run.Open[1]
	spent := run.Run.SpentNanoUSD
	if !share.Idle || share.Reserved.NanoUSD != budget.USD(0.5) || share.Drawn.NanoUSD != answer.Reserved.NanoUSD+spent || spent == 0 || !answer.Drawn.IsZero() ||
		strings.Count(body, `"drawn"`) != 1 {
		t.Errorf("of %v, %v are drawn, %v by the answer, %d are spent: %s", share.Reserved, share.Drawn, answer.Reserved, spent, body)
	}
	var top struct{ Rows []ops.Top }
	o.get(t, "/top?by=tenant", &top)
	if len(top.Rows) != 1 || top.Rows[0].Held != budget.USD(0.5)-spent || top.Rows[0].Settled != spent {
		t.Errorf("top: %+v", top)
	}
	close(o.letGo)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestTheReadingHalfShowsAllAndNoContent(t *testing.T) {
	o := newOffice(t, nil)
	ended := o.begin(t, "r1")
	if err := o.ledger.Freeze(t.Context(), budget.Scope{Kind: "tenant", Name: "beta"}, "too fast", time.Now().Add(time.Hour), "bob"); err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	var live struct{ Runs []ops.Run }
	all.WriteString(o.get(t, "/live", &live))
	if len(live.Runs) != 1 || live.Runs[0].ID != "r1" || live.Runs[0].Tenant != "acme" || live.Runs[0].Tags["team"] != "x" || live.Runs[0].SpentNanoUSD <= 0 ||
		len(live.Runs[0].Doing) != 1 || live.Runs[0].Doing[0].What != "tool" || live.Runs[0].Doing[0].Name != "dig" {
		t.Errorf("live: %+v", live)
	}
	var top struct{ Rows []ops.Top }
	all.WriteString(o.get(t, "/top?by=tenant&for=10m&limit=5", &top))
	if len(top.Rows) != 1 || top.Rows[0].Scope != "tenant acme" || top.Rows[0].Settled != live.Runs[0].SpentNanoUSD || top.Rows[0].RunwaySeconds == nil || top.Rows[0].Cap != eachTenant.ID() {
		t.Errorf("top: %+v", top)
	}
	var caps struct{ Caps []ops.Cap }
	all.WriteString(o.get(t, "/caps", &caps))
	if len(caps.Caps) == 0 || caps.Caps[0].By == "" {
		t.Errorf("caps: %+v", caps)
	}
	var standing struct{ Standing []ops.Standing }
	all.WriteString(o.get(t, "/standing?scope=tenant+acme", &standing))
	if len(standing.Standing) != 1 || standing.Standing[0].Settled != live.Runs[0].SpentNanoUSD || *standing.Standing[0].Limit != eachTenant.Limit || standing.Standing[0].Reset != nil {
		t.Errorf("standing: %+v", standing)
	}
	var freezes struct{ Freezes []ops.Freeze }
	all.WriteString(o.get(t, "/freezes", &freezes))
	if len(freezes.Freezes) != 1 || freezes.Freezes[0].Reason != "too fast" || freezes.Freezes[0].Until == nil {
		t.Errorf("freezes: %+v", freezes)
	}
	var changes struct{ Changes []ops.Change }
	all.WriteString(o.get(t, "/changes", &changes))
	if n := len(changes.Changes); n < 2 || changes.Changes[n-1].By != "bob" || changes.Changes[n-1].Scope != "tenant beta" {
		t.Errorf("changes: %+v", changes)
	}
	var run struct {
		Run      ops.Run
		Standing []ops.Standing
		Open     []ops.Reservation
		Freezes  []ops.Freeze
	}
	all.WriteString(o.get(t, "/runs/r1", &run))
	if run.Run.ID != "r1" || len(run.Standing) < 2 || len(run.Open) != 1 || !run.Open[0].Idle || len(run.Freezes) != 0 {
		t.Errorf("a run: %+v", run)
	}
	var audit struct {
		OK    bool
		Audit agent.AuditReport
	}
	all.WriteString(o.get(t, "/audit", &audit))
	if !audit.OK || len(audit.Audit.Hours) != 1 || audit.Audit.Hours[0].Market.Requests != 1 {
		t.Errorf("audit: %+v", audit)
	}
	var explain struct{ Agents []string }
	all.WriteString(o.get(t, "/explain", &explain))
	if len(explain.Agents) != 1 || !strings.Contains(explain.Agents[0], "agent desk") {
		t.Errorf("explain: %+v", explain)
	}
	if strings.Contains(all.String(), secret) || strings.Contains(all.String(), o.market.Key()) {
		t.Error("content or a key is shown")
	}
	close(o.letGo)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	o.get(t, "/live", &live)
	if len(live.Runs) != 0 {
		t.Errorf("an ended run is live: %+v", live)
	}
	// Without an authorise func nothing can be changed.
	for _, path := range []string{"/freeze", "/unfreeze", "/caps", "/runs/r1/cancel"} {
		if code, body := o.ask(http.MethodPost, path, "{}"); code != http.StatusMethodNotAllowed && code != http.StatusNotFound {
			t.Errorf("POST %s: %d %s", path, code, body)
		}
	}
}

func TestAnOperatorChangesWhatIsInForce(t *testing.T) {
	o := newOffice(t, ann)
	ended := o.begin(t, "r1")
	o.post(t, "/freeze", `{"scope":"tenant acme","reason":"the bill looks odd"}`)
	close(o.letGo)
	err := <-ended
	var p *agent.Paused
	if !errors.As(err, &p) || p.Reason != agent.PauseFrozen || !strings.Contains(p.Detail, "the bill looks odd") {
		t.Fatalf("frozen, but %v", err)
	}
	if body := o.post(t, "/unfreeze", `{"scope":"tenant acme"}`); !strings.Contains(body, `"freezes":[]`) {
		t.Error(body)
	}
	if _, err := agent.Resume[string](t.Context(), o.Agent, p.Token); err != nil {
		t.Error(err)
	}
	// Lowering below what is spent is legal, and seen.
	if body := o.post(t, "/caps", `{"for":"each tenant","meter":"money","per":"lifetime","limit":"$0.00001"}`); !strings.Contains(body, `"old":5000000000`) || !strings.Contains(body, `"new":10000`) {
		t.Error(body)
	}
	states, err := o.ledger.Snapshot(t.Context(), budget.Scope{Kind: "tenant", Name: "acme"})
	if err != nil || len(states) != 1 || states[0].Settled <= states[0].Limit || states[0].Left != 0 {
		t.Errorf("%+v, %v", states, err)
	}
	o.post(t, "/caps", `{"for":"each tenant","meter":"money","per":"lifetime","limit":"none"}`)
	o.post(t, "/caps", `{"for":"instrument agent-max","meter":"tokens","per":"day Europe/Berlin","limit":"1000","soft":[50]}`)
	var got []string
	changes, err := o.ledger.Changes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		if c.By == "ann" {
			got = append(got, fmt.Sprint(c.What, " ", c.Old, ">", c.New))
		}
	}
	if want := fmt.Sprintf("[freeze 0>0 unfreeze 0>0 define 5000000000>10000 define 10000>%d define 0>1000]", int64(budget.None)); fmt.Sprint(got) != want {
		t.Errorf("ann did %v, want %s", got, want)
	}
}

func TestAnOperatorCancelsARun(t *testing.T) {
	o := newOffice(t, ann)
	ended := o.begin(t, "r2")
	o.post(t, "/runs/r2/cancel", `{"reason":"enough"}`)
	err := <-ended
	var c *ops.CanceledError
	if !errors.As(err, &c) || c.By != "ann" || c.Reason != "enough" {
		t.Errorf("the run ended with %v", err)
	}
	if code, body := o.ask(http.MethodPost, "/runs/r2/cancel", `{}`); code != http.StatusNotFound || !strings.Contains(body, "not_found") {
		t.Errorf("a run that ended: %d %s", code, body)
	}
}

func TestARunThatAnotherCalledIsCancelledWithItsCaller(t *testing.T) {
	o := newOffice(t, ann)
	o.market.Model(func(turn gridtest.Turn) gridtest.Reply {
		switch {
		case turn.N > 0:
			return gridtest.Reply{Text: "done"}
		case turn.Tools[0] == "desk":
			return gridtest.Reply{Calls: []gridtest.ToolCall{gridtest.Call("desk", `{"task":"dig"}`)}}
		}
		return gridtest.Reply{Calls: []gridtest.ToolCall{gridtest.Call("dig", `{"where":"here"}`)}}
	})
	client, err := grid.New(grid.Config{APIKey: o.market.Key(), HTTPClient: &http.Client{Transport: o.market.Transport()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	boss, err := agent.New(agent.Config{Name: "boss", Market: client, Ledger: o.ledger, Agents: []*agent.Agent{o.Agent}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = boss.Shutdown(context.Background()) })
	if o.handle, err = ops.Handler(ops.Config{Agents: []*agent.Agent{boss, o.Agent}, Authorise: ann}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := agent.Run[string](context.Background(), boss, "go", agent.RunID("top"), agent.Tenant("acme"))
		ended <- err
	}()
	<-o.inside
	var live struct{ Runs []ops.Run }
	o.get(t, "/live", &live)
	if len(live.Runs) != 2 || live.Runs[1].Parent != "top" {
		t.Fatalf("live: %+v", live.Runs)
	}
	if code, body := o.ask(http.MethodPost, "/runs/"+live.Runs[1].ID+"/cancel", `{}`); code != http.StatusConflict || !strings.Contains(body, `"has_parent"`) || !strings.Contains(body, "run top") {
		t.Errorf("%d %s", code, body)
	}
	select {
	case err := <-ended:
		t.Fatalf("the caller ended with %v", err)
	default:
	}
	o.post(t, "/runs/top/cancel", `{}`)
	var c *ops.CanceledError
	if err := <-ended; !errors.As(err, &c) {
		t.Errorf("the caller ended with %v", err)
	}
}

// An audit compares the keys that it is given, and counts the requests of others.
func TestAnAuditComparesTheKeysThatAreNamed(t *testing.T) {
	o := newOffice(t, nil)
	ended := o.begin(t, "r1")
	close(o.letGo)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	type audit struct {
		OK    bool
		Audit agent.AuditReport
	}
	of := func(query string) (a audit, requests int64) {
		o.get(t, "/audit"+query, &a)
		for _, h := range a.Audit.Hours {
			requests += h.Market.Requests
		}
		return a, requests
	}
	own, n := of("")
	if len(own.Audit.Keys) != 1 || own.Audit.Others != 0 || n != 2 {
		t.Fatalf("%+v", own)
	}
	if same, n := of("?key=" + own.Audit.Keys[0]); n != 2 || same.Audit.Others != 0 {
		t.Errorf("named, the key of its own gives %+v", same.Audit)
	}
	other, n := of("?key=somebody-elses")
	if len(other.Audit.Keys) != 1 || other.Audit.Keys[0] != "somebody-elses" || other.Audit.Others != 2 || n != 0 {
		t.Errorf("%+v", other.Audit)
	}
	if both, n := of("?key=somebody-elses&key=" + own.Audit.Keys[0]); len(both.Audit.Keys) != 2 || both.Audit.Others != 0 || n != 2 {
		t.Errorf("%+v", both.Audit)
	}
}

func TestTopOfToolsCountsTheirCalls(t *testing.T) {
	o := newOffice(t, ann)
	o.post(t, "/caps", `{"for":"each tool","meter":"tool_calls","per":"day UTC","limit":"none"}`)
	ended := o.begin(t, "r1")
	close(o.letGo)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	var top struct {
		Meter string
		Rows  []ops.Top
	}
	o.get(t, "/top?by=tool", &top)
	if top.Meter != "tool_calls" || len(top.Rows) != 1 || top.Rows[0].Scope != "tool dig" || top.Rows[0].Settled != 1 {
		t.Errorf("%+v", top)
	}
	// A tool is frozen by its name like any scope.
	if body := o.post(t, "/freeze", `{"scope":"tool dig"}`); !strings.Contains(body, `"tool dig"`) {
		t.Error(body)
	}
}

func TestWhoIsNotAuthorisedSeesNothing(t *testing.T) {
	o := newOffice(t, ann)
	stranger := func(r *http.Request) { r.Header.Del("Authorization") }
	guess := func(r *http.Request) { r.Header.Set("Authorization", "Bearer let-me-out") }
	nobody := newOffice(t, func(*http.Request) (string, error) { return "", nil })
	for _, try := range [][2]string{{"GET", "/live"}, {"GET", "/top"}, {"GET", "/caps"}, {"GET", "/standing"}, {"GET", "/freezes"}, {"GET", "/changes"},
		{"GET", "/runs/r1"}, {"GET", "/audit"}, {"GET", "/explain"}, {"POST", "/freeze"}, {"POST", "/unfreeze"}, {"POST", "/caps"}, {"POST", "/runs/r1/cancel"}} {
		for who, ask := range map[string]func() (int, string){
			"without a token":        func() (int, string) { return o.ask(try[0], try[1], `{"scope":"account"}`, stranger) },
			"with a wrong one":       func() (int, string) { return o.ask(try[0], try[1], `{"scope":"account"}`, guess) },
			"who is known to nobody": func() (int, string) { return nobody.ask(try[0], try[1], `{"scope":"account"}`) },
		} {
			if code, body := ask(); code != http.StatusForbidden || body != `{"error":{"code":"forbidden","message":"not authorised"}}`+"\n" {
				t.Errorf("%s: %v: %d %s", who, try, code, body)
			}
		}
	}
	code, body := o.ask(http.MethodPost, "/freeze", `{"scope":"account"}`, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") })
	if code != http.StatusForbidden || !strings.Contains(body, "cross_origin") {
		t.Errorf("from another page: %d %s", code, body)
	}
	if f, err := o.ledger.Freezes(t.Context()); err != nil || len(f) != 0 {
		t.Errorf("something was frozen: %v, %v", f, err)
	}
}

func TestRequestsAreReadStrictly(t *testing.T) {
	o := newOffice(t, ann)
	for _, tc := range []struct {
		name, method, path, body string
		change                   func(*http.Request)
		code                     int
		says                     string
	}{
		{"no JSON type", "POST", "/freeze", `{"scope":"account"}`, func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415, "Content-Type"},
		{"an unknown field", "POST", "/freeze", `{"scope":"account","forever":true}`, nil, 400, "forever"},
		{"two values", "POST", "/freeze", `{"scope":"account"}{}`, nil, 400, "more than one"},
		{"no JSON", "POST", "/freeze", `scope=account`, nil, 400, "body"},
		{"too large", "POST", "/freeze", `{"reason":"` + strings.Repeat("x", 20<<10) + `"}`, nil, 413, "bytes"},
		{"no scope", "POST", "/freeze", `{}`, nil, 400, ""},
		{"each of a kind", "POST", "/freeze", `{"scope":"each tenant"}`, nil, 400, "not one scope"},
		{"two scopes", "POST", "/freeze", `{"scope":"tenant a and user b"}`, nil, 400, "not one scope"},
		{"until the past", "POST", "/freeze", `{"scope":"account","until":"2001-01-01T00:00:00Z"}`, nil, 400, "until"},
		{"a long reason", "POST", "/freeze", `{"scope":"account","reason":"` + strings.Repeat("x", 600) + `"}`, nil, 400, "reason"},
		{"a limit of zero", "POST", "/caps", `{"for":"account","meter":"money","per":"lifetime","limit":"$0"}`, nil, 400, "Limit"},
		{"a limit in words", "POST", "/caps", `{"for":"account","meter":"tokens","per":"lifetime","limit":"many"}`, nil, 400, "whole number"},
		{"a negative limit", "POST", "/caps", `{"for":"account","meter":"tokens","per":"lifetime","limit":"-5"}`, nil, 400, "Limit"},
		{"an unknown meter", "POST", "/caps", `{"for":"account","meter":"stars","per":"lifetime","limit":"5"}`, nil, 400, "meter"},
		{"an unknown zone", "POST", "/caps", `{"for":"account","meter":"money","per":"day Mars/Olympus","limit":"$5"}`, nil, 400, "Mars"},
		{"an unknown run", "GET", "/runs/nobody", "", nil, 404, "not_found"},
		{"an unknown kind", "GET", "/top?by=galaxy", "", nil, 400, "galaxy"},
		{"an unknown parameter", "GET", "/top?bye=tenant", "", nil, 400, "bye"},
		{"a window in words", "GET", "/top?for=long", "", nil, 400, "duration"},
		{"no limit at all", "GET", "/top?limit=0", "", nil, 400, "limit"},
		{"a time in words", "GET", "/audit?from=monday", "", nil, 400, "from"},
		{"an audit backwards", "GET", "/audit?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", "", nil, 400, "To is not after From"},
		{"an audit of too long", "GET", "/audit?from=2001-01-01T00:00:00Z", "", nil, 400, "31 days"},
		{"an audit of no key", "GET", "/audit?key=", "", nil, 400, "empty id"},
		{"an audit until no time", "GET", "/audit?to=noon", "", nil, 400, "to="},
		{"an unknown parameter of audit", "GET", "/audit?keys=a", "", nil, 400, "keys"},
		{"no such route", "GET", "/secrets", "", nil, 404, ""},
		{"the wrong method", "DELETE", "/caps", "", nil, 405, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			change := tc.change
			if change == nil {
				change = func(*http.Request) {}
			}
			code, body := o.ask(tc.method, tc.path, tc.body, change)
			if code != tc.code || !strings.Contains(body, tc.says) {
				t.Errorf("%d %s, want %d and %q", code, body, tc.code, tc.says)
			}
		})
	}
	if f, err := o.ledger.Freezes(t.Context()); err != nil || len(f) != 0 {
		t.Errorf("something was frozen: %v, %v", f, err)
	}
}

func TestAHandlerThatCannotWorkIsRefused(t *testing.T) {
	a, b := newOffice(t, nil), newOffice(t, nil)
	for name, cfg := range map[string]ops.Config{
		"nothing": {}, "a nil agent": {Agents: []*agent.Agent{nil}}, "two ledgers": {Agents: []*agent.Agent{a.Agent, b.Agent}},
	} {
		if h, err := ops.Handler(cfg); err == nil || h != nil {
			t.Errorf("%s: no error", name)
		}
	}
	h, err := ops.Handler(ops.Config{Ledger: a.ledger})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/live", nil))
	if w.Code != 200 || w.Body.String() != "{\"runs\":[]}\n" {
		t.Errorf("a ledger alone: %d %s", w.Code, w.Body)
	}
}

// What a run is shown under is all that can stop it: its labels, its instrument, the account.
func TestTheFreezesOfARunAreShown(t *testing.T) {
	o := newOffice(t, ann)
	ended := o.begin(t, "r1")
	for _, scope := range []string{"tenant acme", "tenant other", "tag:team x", "account"} {
		o.post(t, "/freeze", `{"scope":"`+scope+`","reason":"look"}`)
	}
	var run struct {
		Freezes []ops.Freeze
	}
	o.get(t, "/runs/r1", &run)
	var scopes []string
	for _, f := range run.Freezes {
		scopes = append(scopes, f.Scope)
	}
	if got := strings.Join(scopes, ", "); strings.Contains(got, "other") || !strings.Contains(got, "tenant acme") || !strings.Contains(got, "tag:team x") || !strings.Contains(got, "account") {
		t.Errorf("stopped by %s", got)
	}
	for _, scope := range []string{"tenant acme", "tag:team x", "account"} {
		o.post(t, "/unfreeze", `{"scope":"`+scope+`"}`)
	}
	close(o.letGo)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A new limit leaves thresholds as they are, a limit of none is shown as null, and the record says what was.
func TestALimitIsChangedAndItsThresholdsStay(t *testing.T) {
	o := newOffice(t, ann)
	o.post(t, "/caps", `{"for":"each user","meter":"tokens","per":"lifetime","limit":"100","soft":[7]}`)
	o.post(t, "/caps", `{"for":"each user","meter":"tokens","per":"lifetime","limit":"200"}`)
	o.post(t, "/caps", `{"for":"each user","meter":"requests","per":"lifetime","limit":"none"}`)
	var caps struct{ Caps []ops.Cap }
	o.get(t, "/caps", &caps)
	seen := 0
	for _, c := range caps.Caps {
		switch c.ID {
		case "each user tokens lifetime":
			seen++
			if c.Limit == nil || *c.Limit != 200 || fmt.Sprint(c.Soft) != "[7]" || c.By != "ann" {
				t.Errorf("%+v", c)
			}
		case "each user requests lifetime":
			seen++
			if c.Limit != nil {
				t.Errorf("%+v", c)
			}
		}
	}
	var standing struct{ Standing []ops.Standing }
	o.get(t, "/standing?scope=user%20ann&scope=account", &standing)
	for _, s := range standing.Standing {
		if s.Cap == "each user tokens lifetime" && (s.Left == nil || *s.Left != 200) || s.Cap == "each user requests lifetime" && (s.Left != nil || s.Limit != nil) {
			t.Errorf("%+v", s)
		}
	}
	var changes struct{ Changes []ops.Change }
	o.get(t, "/changes", &changes)
	raised := false
	for _, c := range changes.Changes {
		raised = raised || c.Cap == "each user tokens lifetime" && c.Old != nil && *c.Old == 100 && c.New != nil && *c.New == 200
	}
	if seen != 2 || len(standing.Standing) != 2 || !raised {
		t.Errorf("%d caps, %d standing, %+v", seen, len(standing.Standing), changes.Changes)
	}
	var top struct{ Meter string }
	if o.get(t, "/top", &top); top.Meter != "money" {
		t.Errorf("the top is of %s", top.Meter)
	}
}

// A ledger that was shut down is a conflict, and no failure of somebody else.
func TestWritingToAClosedLedgerIsAConflict(t *testing.T) {
	o := newOffice(t, ann)
	if err := o.ledger.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for path, body := range map[string]string{"/freeze": `{"scope":"account","reason":"x"}`, "/unfreeze": `{"scope":"account"}`, "/caps": `{"for":"account","meter":"tokens","per":"lifetime","limit":"5"}`} {
		if code, answer := o.ask(http.MethodPost, path, body); code != http.StatusConflict || !strings.Contains(answer, `"closed"`) {
			t.Errorf("%s: %d %s", path, code, answer)
		}
	}
}
