package agent_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/router"
	"github.com/gridloop/gridloop/tools"
)

func quiet(t *testing.T) *grid.Client {
	t.Helper()
	c, err := grid.New(grid.Config{APIKey: "test-key", HTTPClient: &http.Client{Transport: nobody{}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// nobody answers nothing: New must not ask.
type nobody struct{}

func (nobody) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("nobody is there")
}

// refused checks that New fails and names everything that is wrong, and what to do.
func refused(t *testing.T, cfg agent.Config, says ...string) {
	t.Helper()
	a, err := agent.New(cfg)
	if a != nil {
		shut(t, a)
	}
	if err == nil || a != nil {
		t.Fatalf("it was taken, want an error that says %q", says)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("the error does not say %q:\n%v", s, err)
		}
	}
}

func TestBadConfigurationIsRefusedWithFieldAndFix(t *testing.T) {
	t.Setenv("THEGRID_API_KEY", "")
	fn := func(context.Context, empty) (string, error) { return "", nil }
	sub := open(t, nil, agent.Config{Name: "sub", Market: quiet(t)})
	for _, tc := range []struct {
		name string
		cfg  agent.Config
		keep bool // leave Market nil
		says []string
	}{
		{name: "no key", cfg: agent.Config{Name: "a"}, keep: true, says: []string{"THEGRID_API_KEY"}},
		{name: "no name", cfg: agent.Config{}, says: []string{"Name"}},
		{name: "a bad name", cfg: agent.Config{Name: "my desk"}, says: []string{"Name", `"my desk"`, "letters"}},
		{name: "a nil func", cfg: agent.Config{Name: "a", Tools: []tools.Tool{tools.New[empty, string]("look", "Look.", nil)}}, says: []string{`"look"`, "nil"}},
		{name: "a zero tool", cfg: agent.Config{Name: "a", Tools: []tools.Tool{{}}}, says: []string{"tools.New"}},
		{name: "a duplicate tool", cfg: agent.Config{Name: "a", Tools: []tools.Tool{look(), look()}}, says: []string{`"look"`}},
		{name: "an impossible schema", cfg: agent.Config{Name: "a", Tools: []tools.Tool{tools.New("send", "Send.", func(context.Context, struct{ C chan int }) (string, error) { return "", nil })}}, says: []string{`"send"`, "chan int"}},
		{name: "a raw schema that is none", cfg: agent.Config{Name: "a", Tools: []tools.Tool{tools.Raw("send", "Send.", []byte(`{"type":"string"}`), nil)}}, says: []string{`"send"`, "object", "nil"}},
		{name: "a nil sub-agent", cfg: agent.Config{Name: "a", Agents: []*agent.Agent{nil}}, says: []string{"Agents[0]", "nil"}},
		{name: "a sub-agent called as a tool", cfg: agent.Config{Name: "a", Agents: []*agent.Agent{sub}, Tools: []tools.Tool{tools.New("sub", "Look.", fn)}}, says: []string{"Agents[0]", `"sub"`}},
		{name: "negative limits", cfg: agent.Config{Name: "a", Limits: agent.Limits{Steps: -2, Wall: -5, RunNanoUSD: -7}}, says: []string{"Limits.Steps", "Limits.Wall", "Limits.RunNanoUSD", "agent.None"}},
		{name: "no max_tokens", cfg: agent.Config{Name: "a", Limits: agent.Limits{MaxTokens: agent.None}}, says: []string{"Limits.MaxTokens"}},
		{name: "max_tokens without room for an answer", cfg: agent.Config{Name: "a", Limits: agent.Limits{MaxTokens: 10}}, says: []string{"Limits.MaxTokens", "256"}},
		{name: "a negative cap", cfg: agent.Config{Name: "a", Caps: []budget.Cap{{For: budget.Each("run"), Meter: budget.MeterMoney, Limit: -1, Per: budget.Lifetime()}}}, says: []string{"Limit", "-1"}},
		{name: "a zero cap", cfg: agent.Config{Name: "a", Caps: []budget.Cap{{For: budget.Each("run"), Meter: budget.MeterMoney, Per: budget.Lifetime()}}}, says: []string{"Limit", "0"}},
		{name: "a zero Cap", cfg: agent.Config{Name: "a", Caps: []budget.Cap{{}}}, says: []string{"For", "Meter"}},
		{name: "a daily cap in memory", cfg: agent.Config{Name: "a", Caps: []budget.Cap{{For: budget.Account(), Meter: budget.MeterMoney, Limit: 5, Per: budget.Day(nil)}}}, says: []string{"Volatile"}},
		{name: "a daily cap in a memory store", cfg: agent.Config{Name: "a", Store: budget.NewMemory(), Caps: []budget.Cap{{For: budget.Account(), Meter: budget.MeterMoney, Limit: 5, Per: budget.Day(nil)}}}, says: []string{"Volatile"}},
		{name: "a ledger and caps", cfg: agent.Config{Name: "a", Ledger: ledgerOf(t), Caps: []budget.Cap{account()}}, says: []string{"Ledger"}},
		{name: "a router and routes", cfg: agent.Config{Name: "a", Router: router.Default(), File: "f", FS: files("version: 1\nroutes:\n  tools:\n    tier: max\n")}, says: []string{"Router", "routes"}},
		{name: "a kind that is none", cfg: agent.Config{Name: "a", Kind: "poetry"}, says: []string{"Kind", `"poetry"`, "summarize"}},
		{name: "no such file", cfg: agent.Config{Name: "a", File: "nowhere.yaml"}, says: []string{"File", "nowhere.yaml"}},
		{name: "a share of nothing", cfg: agent.Config{Name: "a", Limits: agent.Limits{Carved: true}}, says: []string{"Limits.Carved", "RunNanoUSD", "run_tokens"}},
		{name: "a share without limits", cfg: agent.Config{Name: "a", Limits: agent.Limits{Carved: true, RunNanoUSD: agent.None, RunTokens: agent.None}}, says: []string{"Limits.Carved"}},
		{name: "everything at once", keep: true, cfg: agent.Config{Name: "a b", Tools: []tools.Tool{look(), look()}, Agents: []*agent.Agent{nil}, Limits: agent.Limits{Steps: -3},
			Caps: []budget.Cap{{For: budget.Each("run"), Meter: budget.MeterMoney, Limit: -1, Per: budget.Lifetime()}},
			File: "f", FS: files("version: 1\ninstruments:\n  agent-mega: {max_price: \"$1\"}\nroutes:\n  tools: {tier: huge}\ncaps:\n  - {for: nobody, money: much, per: blue moon}\nlimits: {steps: 4}\n")},
			says: []string{"Name", `"look"`, "Agents[0]", "Limits.Steps", "THEGRID_API_KEY", "agent-mega", "huge", "caps[0].for", "caps[0].money", "caps[0].per", "Limit"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if !tc.keep {
				tc.cfg.Market = quiet(t)
			}
			refused(t, tc.cfg, tc.says...)
		})
	}
}

func TestMarketRefusesBadKeysAndAddresses(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  grid.Config
		says string
	}{
		{"a doubled /v1", grid.Config{APIKey: "k", BaseURL: "https://api.thegrid.ai/v1/v1"}, "/v1"},
		{"no /v1", grid.Config{APIKey: "k", BaseURL: "https://api.thegrid.ai"}, "/v1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := grid.New(tc.cfg); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v", err)
			}
		})
	}
	m := newMarket(t, gridtest.Config{})
	t.Run("a trading key", func(t *testing.T) {
		t.Setenv("THEGRID_API_KEY", m.TradingKey())
		refused(t, agent.Config{Name: "a"}, "trading key", "THEGRID_API_KEY", "consumption key")
	})
	t.Run("a key that the market does not know", func(t *testing.T) {
		a := open(t, m, agent.Config{Market: clientOf(t, m, func(c *grid.Config) { c.APIKey = "an-old-key-of-somebody" })})
		res, err := agent.Run[string](t.Context(), a, "go")
		stands(t, res, err)
		if !errors.Is(err, grid.ErrAuth) || !strings.Contains(err.Error(), "check the key") || strings.Contains(err.Error(), "an-old-key") || chats(m, 1) != 1 || res.Cost.NanoUSD != 0 {
			t.Errorf("%d requests, %v", chats(m, 1), err)
		}
	})
}

func files(content string) fstest.MapFS { return fstest.MapFS{"f": {Data: []byte(content)}} }

func TestMistakesOfTheFileAreNamedWithTheirPlace(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		says       []string
	}{
		{"empty", "", []string{"empty", "version: 1"}},
		{"only a comment", "# nothing\n", []string{"version"}},
		{"no version", "limits:\n  steps: 4\n", []string{"version"}},
		{"another version", "version: 2\n", []string{"version", "2"}},
		{"no YAML", "version: 1\nlimits: [\n", []string{"line"}},
		{"a tab", "version: 1\nlimits:\n\tsteps: 4\n", []string{"line 3"}},
		{"a list at the root", "- version: 1\n", []string{"line 1"}},
		{"two documents", "version: 1\n---\nversion: 1\nlimits: {steps: 3}\n", []string{"document"}},
		{"an unknown key", "version: 1\nlimit:\n  steps: 4\n", []string{"line 2", "limit"}},
		{"an unknown key below", "version: 1\nlimits:\n  step: 4\n", []string{"line 3", "step"}},
		{"an unknown key of a cap", "version: 1\ncaps:\n  - for: each run\n    dollars: 5\n", []string{"line 4", "dollars"}},
		{"a duplicate key", "version: 1\nlimits: {steps: 4}\nlimits: {steps: 5}\n", []string{"line 3", "limits"}},
		{"a count that is none", "version: 1\nlimits:\n  steps: many\n", []string{"line 3", "many", "none"}},
		{"a count of zero", "version: 1\nlimits:\n  steps: 0\n", []string{"line 3", "none"}},
		{"a negative count", "version: 1\nlimits:\n  tool_calls: -1\n", []string{"line 3", "none"}},
		{"half a count", "version: 1\nlimits:\n  steps: 4.5\n", []string{"line 3", "4.5"}},
		{"a count that says nothing", "version: 1\nlimits:\n  steps:\n", []string{"steps", "none"}},
		{"a duration without a unit", "version: 1\nlimits:\n  wall: 10\n", []string{"line 3", "10m"}},
		{"money that is none", "version: 1\nlimits:\n  run_money: much\n", []string{"line 3", "much", "$1.00"}},
		{"a share of nothing", "version: 1\nlimits: {carved: true}\n", []string{"limits.carved", "run_money"}},
		{"a share of no money", "version: 1\nlimits: {carved: true, run_money: none}\n", []string{"limits.carved", "run_money"}},
		{"a share that is neither yes nor no", "version: 1\nlimits:\n  carved: perhaps\n", []string{"line 3", "`perhaps`", "true or false"}},
		{"a share that says nothing", "version: 1\nlimits:\n  run_money: $1\n  carved:\n", []string{"line 4", "carved"}},
		{"a limit that is a list", "version: 1\nlimits:\n  steps: [4]\n", []string{"line 3"}},
		{"limits that are a list", "version: 1\nlimits: [4]\n", []string{"line 2"}},
		{"no max_tokens", "version: 1\nlimits:\n  max_tokens: none\n", []string{"MaxTokens", "None"}},
		{"an instrument that is none", "version: 1\ninstruments:\n  agent-mega:\n    max_price: $1\n", []string{"agent-mega", "agent-prime"}},
		{"a price that is none", "version: 1\ninstruments:\n  agent-max:\n    max_price: cheap\n", []string{"instruments.agent-max.max_price", "cheap"}},
		{"a negative context", "version: 1\ninstruments:\n  agent-max:\n    context: -1\n", []string{"instruments.agent-max.context", "-1"}},
		{"a tier that is none", "version: 1\nroutes:\n  tools:\n    tier: huge\n", []string{"huge"}},
		{"a route to nowhere", "version: 1\nroutes:\n  tools:\n    instrument: agent-mega\n", []string{"agent-mega"}},
		{"a cap for nobody", "version: 1\ncaps:\n  - for: nobody\n    money: $5\n    per: day UTC\n", []string{"caps[0].for", "nobody"}},
		{"a cap per nothing", "version: 1\ncaps:\n  - for: account\n    money: $5\n    per: moon\n", []string{"caps[0].per", "moon"}},
		{"a cap of nothing", "version: 1\ncaps:\n  - for: account\n    per: day UTC\n", []string{"caps[0]", "money"}},
		{"a cap of zero tokens beside money", "version: 1\ncaps:\n  - for: account\n    money: $5\n    tokens: 0\n    per: day UTC\n", []string{"caps[0]", "0"}},
		{"a cap of no money beside tokens", "version: 1\ncaps:\n  - for: account\n    money: \"\"\n    tokens: 5\n    per: day UTC\n", []string{"caps[0].money"}},
		{"an estimate that is none", "version: 1\nspending:\n  estimate: guess\n", []string{"Estimate", "guess", "calibrated"}},
		{"an overrun policy that is none", "version: 1\nspending:\n  overrun: panic\n", []string{"Spending.Overrun", "panic", "halt_scope"}},
		{"a price policy that is none", "version: 1\nspending:\n  price: pay\n", []string{"Spending.Price", "pay", "reroute"}},
		{"a held policy that is none", "version: 1\nspending:\n  held: shout\n", []string{"Spending.Held", "shout", "wait"}},
		{"a negative cap", "version: 1\ncaps:\n  - for: account\n    tokens: -5\n    per: day UTC\n", []string{"-5"}},
		{"a cap that overflows", "version: 1\ncaps:\n  - for: account\n    tokens: 9_000_000_000_000_000_000\n    per: day UTC\n", []string{"caps[0].tokens", "9000000000000000000 overflows", "or none"}},
		{"a cap of more than a number holds", "version: 1\ncaps:\n  - for: account\n    tokens: 99999999999999999999\n    per: day UTC\n", []string{"caps[0].tokens", "99999999999999999999", "or none"}},
		{"a cap of more money than a number holds", "version: 1\ncaps:\n  - for: account\n    money: $99999999999999\n    per: day UTC\n", []string{"caps[0].money"}},
		{"a cap of half a request", "version: 1\ncaps:\n  - for: account\n    requests: 1.5\n    per: day UTC\n", []string{"caps[0].requests", "1.5", "or none"}},
		{"a cap of a list of tokens", "version: 1\ncaps:\n  - for: account\n    tokens: [5]\n    per: day UTC\n", []string{"line 4"}},
		{"a cap in no zone", "version: 1\ncaps:\n  - for: account\n    money: $5\n    per: day Mars/Olympus\n", []string{"caps[0].per", "Mars/Olympus", "IANA"}},
		{"a cap in an impossible window", "version: 1\ncaps:\n  - for: account\n    money: $5\n    per: rolling 5s\n", []string{"caps[0].per", "5s", "one minute"}},
		{"a cap twice", "version: 1\ncaps:\n  - {for: account, money: $5, per: day UTC}\n  - {for: account, money: $6, per: day}\n", []string{"account money day UTC", "same cap", "keep one"}},
		{"a cap for an unknown kind", "version: 1\ncaps:\n  - for: each galaxy\n    money: $5\n    per: day UTC\n", []string{"caps[0].for", "galaxy", "tenant"}},
		{"a meter that is none", "version: 1\ncaps:\n  - for: account\n    custom: {E-Mails!: 5}\n    per: day UTC\n", []string{"E-Mails!"}},
		{"a cap of zero dollars", "version: 1\ncaps:\n  - for: account\n    money: $0\n    per: day UTC\n", []string{"money"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			refused(t, agent.Config{Name: "a", Market: quiet(t), File: "f", FS: files(tc.file), Store: budget.NewMemory(budget.Volatile())}, tc.says...)
		})
	}
}

func TestNoneIsWritten(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	a := open(t, m, agent.Config{File: "f", FS: files("version: 1\nlimits: {steps: none, tool_calls: none, wall: none, wait: none, run_money: none, run_tokens: 5_000_000, parallel: none, repairs: none}\n")})
	text := a.Explain()
	for _, want := range []string{"steps        none", "tool calls   none", "parallel     none", "repairs      0", "wall         none", "wait         none", "5000000 tokens"} {
		if !strings.Contains(text, want) {
			t.Errorf("Explain does not say %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "$1.00 per") {
		t.Errorf("the default cap holds all the same:\n%s", text)
	}
}

func TestLimitsSetTwiceDifferentlyAreRefused(t *testing.T) {
	f := files("version: 1\nlimits: {steps: 4}\n")
	refused(t, agent.Config{Name: "a", Market: quiet(t), File: "f", FS: f, Limits: agent.Limits{Steps: 5}}, "Limits.Steps", "limits.steps")
	open(t, nil, agent.Config{Name: "a", Market: quiet(t), File: "f", FS: f, Limits: agent.Limits{Steps: 4}})
	whole := files("version: 1\nlimits: {run_money: $0.50, carved: false}\n")
	refused(t, agent.Config{Name: "a", Market: quiet(t), File: "f", FS: whole, Limits: agent.Limits{Carved: true}}, "Limits.Carved", "limits.carved")
	open(t, nil, agent.Config{Name: "a", Market: quiet(t), File: "f", FS: whole})
}

// What the file and the code say of a share is put together, and shown; what has no limit of its own is not kept.
func TestASharesAmountsComeFromFileAndCode(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		limits     agent.Limits
		says       string
	}{
		{"all in the file", "run_money: $0.50, run_tokens: 90000, carved: true", agent.Limits{}, "$0.50 and 90000 tokens kept"},
		{"the amount in code", "carved: true", agent.Limits{RunNanoUSD: budget.USD(0.25)}, "carved       $0.25 kept"},
		{"the switch in code", "run_tokens: 5000", agent.Limits{Carved: true}, "carved       5000 tokens kept"},
		{"no money", "run_tokens: 5000, run_money: none", agent.Limits{Carved: true}, "carved       5000 tokens kept"},
		{"not carved", "run_money: $0.50, carved: false", agent.Limits{}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := open(t, nil, agent.Config{Name: "a", Market: quiet(t), File: "f", FS: files("version: 1\nlimits: {" + tc.file + "}\n"), Limits: tc.limits})
			boss := open(t, nil, agent.Config{Name: "boss", Market: quiet(t), Agents: []*agent.Agent{a}})
			if text := a.Explain(); !strings.Contains(text, tc.says) || strings.Contains(text, "carved") != (tc.says != "") {
				t.Errorf("Explain does not say %q:\n%s", tc.says, text)
			}
			if text := boss.Explain(); strings.Contains(text, "kept for each") != (tc.says != "") {
				t.Errorf("Explain of the caller says:\n%s", text)
			}
		})
	}
}

// What a store cannot count exactly is refused wherever it is written.
func TestALimitThatTheStoreCannotCountIsRefused(t *testing.T) {
	const over = 1<<53 + 1
	refused(t, agent.Config{Name: "a", Market: quiet(t), Store: doubles{budget.NewMemory(budget.Volatile())},
		Caps: []budget.Cap{{For: budget.Account(), Meter: budget.MeterTokens, Limit: over, Per: budget.Day(nil)}}}, "Limit", "9007199254740993", "9007199254740992")
	refused(t, agent.Config{Name: "a", Market: quiet(t), Store: doubles{budget.NewMemory(budget.Volatile())}, File: "f",
		FS: files("version: 1\ncaps:\n  - {for: account, money: $10000000, per: day}\n")}, "Limit", "9007199254740992")
}

// doubles counts as a store does that knows no larger whole numbers than a float64.
type doubles struct{ budget.Store }

func (doubles) Traits() budget.Traits { return budget.Traits{MaxLimit: 1 << 53} }

// A cap without a limit counts, whatever its meter.
func TestNoneIsWrittenForEveryMeterOfACap(t *testing.T) {
	a := open(t, nil, agent.Config{Name: "a", Market: quiet(t), Store: budget.NewMemory(budget.Volatile()), File: "f",
		FS: files("version: 1\ncaps:\n  - {for: each tenant, money: none, tokens: none, requests: none, tool_calls: none, custom: {mails: none}, per: day}\n  - {for: account, tokens: 5_000, requests: 40, per: day}\n")})
	want := map[string]int64{"account tokens day UTC": 5000, "account requests day UTC": 40}
	for _, meter := range []string{"money", "tokens", "requests", "tool_calls", "custom:mails"} {
		want["each tenant "+meter+" day UTC"] = budget.None
	}
	caps, err := a.Ledger().Caps(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range caps {
		if limit, ok := want[c.ID()]; ok && limit == c.Limit {
			delete(want, c.ID())
		}
	}
	if len(want) > 0 {
		t.Errorf("%v are missing in %v", want, caps)
	}
}
