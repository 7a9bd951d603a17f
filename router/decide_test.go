package router

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func yes() *bool { b := true; return &b }

func TestDecisions(t *testing.T) {
	opus := Instrument{ID: "claude-opus-latest", Context: 1_000_000, MaxInput: 922_000, MaxOutput: 128_000}
	for _, row := range []struct {
		name      string
		config    Config
		step      Step
		market    Snapshot
		want      string
		reason    string
		requested string
		rule      string
	}{
		{name: "tools go to agent-prime", step: Step{Kind: KindTools, Tools: true}, market: market(100), want: "agent-prime", reason: ReasonDefault},
		{name: "code goes to code-prime", step: Step{Kind: KindCode}, market: market(100), want: "code-prime", reason: ReasonDefault},
		{name: "text goes to text-prime", step: Step{Kind: KindText}, market: market(100), want: "text-prime", reason: ReasonDefault},
		{name: "extraction goes to text-standard", step: Step{Kind: KindExtract, Schema: true}, market: market(100), want: "text-standard", reason: ReasonDefault},
		{name: "summaries go to text-standard", step: Step{Kind: KindSummarize}, market: market(100), want: "text-standard", reason: ReasonDefault},
		{name: "judges go to text-prime", step: Step{Kind: KindJudge}, market: market(100), want: "text-prime", reason: ReasonDefault},
		{name: "no kind with tools is tools", step: Step{Tools: true}, market: market(100), want: "agent-prime", reason: ReasonDefault},
		{name: "an unknown kind is text", step: Step{Kind: "poem"}, market: market(100), want: "text-prime", reason: ReasonDefault},

		{name: "a pin beats everything", step: Step{Pin: "code-max", MinTier: "standard", Escalation: 1}, market: market(3, dry("code-max")), want: "code-max", reason: ReasonPinned},
		{name: "a pin may be of no tier", step: Step{Pin: opus.ID}, market: market(100, with(opus)), want: opus.ID, reason: ReasonPinned},
		{name: "a pin below the minimum tier is the caller's word", step: Step{Pin: "text-standard", MinTier: "max"}, market: market(100), want: "text-standard", reason: ReasonPinned},
		{name: "an unknown pin serves nothing", step: Step{Pin: "agent-ultra"}, market: market(100), reason: ReasonNone, requested: "agent-ultra"},
		{name: "a pin without tool calls serves nothing", step: Step{Pin: "text-prime", Tools: true}, market: market(100, toolless("text-prime")), reason: ReasonNone, requested: "text-prime"},
		{name: "an excluded pin serves nothing", step: Step{Pin: "text-prime", Exclude: []string{"text-prime"}}, market: market(100), reason: ReasonNone, requested: "text-prime"},
		{name: "a denied pin serves nothing", config: Config{Deny: []string{"*-max"}}, step: Step{Pin: "text-max"}, market: market(100), reason: ReasonNone, requested: "text-max"},
		{name: "a pin that is too small serves nothing", step: Step{Pin: "text-prime", PromptTokens: 130_000}, market: market(100), reason: ReasonNone, requested: "text-prime"},
		{name: "a pin never falls back", config: Config{Fallback: Fallback{SameTier}}, step: Step{Pin: "text-prime"}, market: market(100, dry("text-prime")), want: "text-prime", reason: ReasonPinned},

		{name: "a prompt over prime's input goes to max", step: Step{Kind: KindTools, PromptTokens: 120_001}, market: market(100), want: "agent-max", reason: ReasonCapability, requested: "agent-prime"},
		{name: "a prompt at prime's input stays", step: Step{Kind: KindTools, PromptTokens: 120_000}, market: market(100), want: "agent-prime", reason: ReasonDefault},
		{name: "bytes stand in for tokens", step: Step{Kind: KindSummarize, PromptBytes: 360_001}, market: market(100), want: "text-max", reason: ReasonCapability, requested: "text-standard"},
		{name: "a limit outranks a band", step: Step{Kind: KindTools, PromptTokens: 120_001}, market: market(10), want: "agent-max", reason: ReasonCapability, requested: "agent-standard"},
		{name: "a long output leaves standard", step: Step{Kind: KindSummarize, MaxTokens: 100_000}, market: market(100), want: "text-prime", reason: ReasonCapability, requested: "text-standard"},
		{name: "context counts prompt and output", step: Step{Kind: KindText, PromptTokens: 119_000, MaxTokens: 100_000}, market: market(100), want: "text-max", reason: ReasonCapability, requested: "text-prime"},
		{name: "a prompt that nothing holds", step: Step{Kind: KindText, PromptTokens: 922_001}, market: market(100), reason: ReasonNone, requested: "text-prime"},
		{name: "a prompt that overflows", step: Step{Kind: KindText, PromptTokens: math.MaxInt64, MaxTokens: math.MaxInt64}, market: market(100), reason: ReasonNone, requested: "text-prime"},
		{name: "tools need an instrument with tools", step: Step{Kind: KindTools, Tools: true}, market: market(100, toolless("agent-prime")), want: "code-prime", reason: ReasonCapability, requested: "agent-prime"},
		{name: "schemas need an instrument with schemas", step: Step{Kind: KindExtract, Schema: true},
			market: market(100, alter(func(in *Instrument) { in.NoSchema = true }, "text-standard", "agent-standard", "code-standard")), want: "text-prime", reason: ReasonCapability, requested: "text-standard"},
		{name: "an excluded instrument is replaced in its tier", step: Step{Kind: KindTools, Exclude: []string{"agent-prime"}}, market: market(100), want: "code-prime", reason: ReasonCapability, requested: "agent-prime"},
		{name: "an excluded tier goes up", step: Step{Kind: KindText, Exclude: []string{"text-prime", "code-prime", "agent-prime"}}, market: market(100), want: "text-max", reason: ReasonCapability, requested: "text-prime"},
		{name: "an excluded tier goes down under a band", step: Step{Kind: KindText, Exclude: []string{"text-prime", "code-prime", "agent-prime"}}, market: market(40), want: "text-standard", reason: ReasonCapability, requested: "text-prime"},
		{name: "a missing family is replaced", step: Step{Kind: KindCode}, market: market(100, without("code-prime")), want: "agent-prime", reason: ReasonCapability, requested: "code-prime"},
		{name: "an empty market serves nothing", step: Step{Kind: KindCode}, reason: ReasonNone, market: Snapshot{LeftPercent: -1}, requested: "code-prime"},
		{name: "previews can be refused", config: Config{NoPreview: true}, step: Step{Kind: KindTools}, market: market(100), want: "text-prime", reason: ReasonCapability, requested: "agent-prime"},
		{name: "an allow list is obeyed", config: Config{Allow: []string{"text-*"}}, step: Step{Kind: KindTools}, market: market(100), want: "text-prime", reason: ReasonCapability, requested: "agent-prime"},
		{name: "deny beats allow", config: Config{Allow: []string{"text-*"}, Deny: []string{"text-prime", "text-max"}}, step: Step{Kind: KindTools}, market: market(100), want: "text-standard", reason: ReasonCapability, requested: "agent-prime"},

		{name: "a minimum tier lifts", step: Step{Kind: KindExtract, MinTier: "prime"}, market: market(100), want: "text-prime", reason: ReasonCapability, requested: "text-standard"},
		{name: "a minimum tier withstands a band", step: Step{Kind: KindTools, MinTier: "prime"}, market: market(5), want: "agent-prime", reason: ReasonDefault},
		{name: "a minimum tier above the ceiling serves nothing", config: Config{Ceiling: "prime"}, step: Step{MinTier: "max"}, market: market(100), reason: ReasonNone},
		{name: "an unknown minimum tier serves nothing", step: Step{MinTier: "ultra"}, market: market(100), reason: ReasonNone},

		{name: "half left stops max", step: Step{Kind: KindTools, Escalation: 1}, market: market(50), want: "agent-prime", reason: ReasonBudget, requested: "agent-max"},
		{name: "more than half left allows max", step: Step{Kind: KindTools, Escalation: 1}, market: market(51), want: "agent-max", reason: ReasonEscalation, requested: "agent-prime"},
		{name: "a fifth left goes to standard", step: Step{Kind: KindTools}, market: market(20), want: "agent-standard", reason: ReasonBudget, requested: "agent-prime"},
		{name: "21 percent stays on prime", step: Step{Kind: KindTools}, market: market(21), want: "agent-prime", reason: ReasonDefault},
		{name: "the final answer is spared", step: Step{Kind: KindText, Final: true}, market: market(20), want: "text-prime", reason: ReasonDefault},
		{name: "the final answer keeps the upper band", step: Step{Kind: KindText, Final: true, Escalation: 1}, market: market(20), want: "text-prime", reason: ReasonBudget, requested: "text-max"},
		{name: "unknown money changes nothing", step: Step{Kind: KindTools}, market: market(-1), want: "agent-prime", reason: ReasonDefault},
		{name: "a floor withstands a band", config: Config{Tools: Route{Floor: "prime"}}, step: Step{Kind: KindTools}, market: market(0), want: "agent-prime", reason: ReasonDefault},
		{name: "no bands when written empty", config: Config{Bands: []Band{}}, step: Step{Kind: KindTools}, market: market(0), want: "agent-prime", reason: ReasonDefault},

		{name: "escalation goes one up", step: Step{Kind: KindExtract, Escalation: 1}, market: market(100), want: "text-prime", reason: ReasonEscalation, requested: "text-standard"},
		{name: "escalation stops at max", step: Step{Kind: KindExtract, Escalation: 9}, market: market(100), want: "text-max", reason: ReasonEscalation, requested: "text-standard"},
		{name: "escalation stops at the ceiling", config: Config{Extract: Route{Ceiling: "prime"}}, step: Step{Kind: KindExtract, Escalation: 9}, market: market(100), want: "text-prime", reason: ReasonEscalation, requested: "text-standard"},
		{name: "negative escalation is none", step: Step{Kind: KindText, Escalation: -3}, market: market(100), want: "text-prime", reason: ReasonDefault},

		{name: "sticky is off by default", step: Step{Kind: KindCode, Sticky: "agent-prime"}, market: market(100), want: "code-prime", reason: ReasonDefault},
		{name: "sticky keeps the family", config: Config{Code: Route{Sticky: true}}, step: Step{Kind: KindCode, Sticky: "agent-prime"}, market: market(100), want: "agent-prime", reason: ReasonSticky, requested: "code-prime"},
		{name: "sticky never keeps the tier", config: Config{Code: Route{Sticky: true}}, step: Step{Kind: KindCode, Sticky: "agent-max"}, market: market(100), want: "code-prime", reason: ReasonDefault},
		{name: "sticky leaves what is dry", config: Config{Code: Route{Sticky: true}}, step: Step{Kind: KindCode, Sticky: "agent-prime"}, market: market(100, dry("agent-prime")), want: "code-prime", reason: ReasonDefault},

		{name: "dry waits by default", step: Step{Kind: KindTools}, market: market(100, dry("agent-prime")), want: "agent-prime", reason: ReasonDefault},
		{name: "down waits by default", step: Step{Kind: KindTools}, market: market(100, down("agent-prime")), want: "agent-prime", reason: ReasonDefault},
		{name: "same tier takes the next family", config: Config{Fallback: Fallback{SameTier}}, step: Step{Kind: KindTools}, market: market(100, dry("agent-prime")), want: "code-prime", reason: ReasonFallback, requested: "agent-prime"},
		{name: "same tier passes over what is down", config: Config{Fallback: Fallback{SameTier}}, step: Step{Kind: KindTools}, market: market(100, dry("agent-prime"), down("code-prime")), want: "text-prime", reason: ReasonFallback, requested: "agent-prime"},
		{name: "a fallback must be able", config: Config{Fallback: Fallback{SameTier}}, step: Step{Kind: KindTools, Tools: true}, market: market(100, dry("agent-prime"), toolless("code-prime")), want: "text-prime", reason: ReasonFallback, requested: "agent-prime"},
		{name: "all dry waits on the wanted one", config: Config{Fallback: Fallback{SameTier}}, step: Step{Kind: KindTools}, market: market(100, dry("agent-prime", "code-prime", "text-prime")), want: "agent-prime", reason: ReasonDefault},
		{name: "down goes down the family", config: Config{Fallback: Fallback{Down}}, step: Step{Kind: KindTools}, market: market(100, dry("agent-prime")), want: "agent-standard", reason: ReasonFallback, requested: "agent-prime"},
		{name: "down stops at the floor", config: Config{Floor: "prime", Fallback: Fallback{Down}}, step: Step{Kind: KindTools}, market: market(100, dry("agent-prime")), want: "agent-prime", reason: ReasonDefault},
		{name: "down stops at the step's minimum", config: Config{Fallback: Fallback{Down}}, step: Step{Kind: KindTools, MinTier: "prime"}, market: market(100, dry("agent-prime")), want: "agent-prime", reason: ReasonDefault},
		{name: "a list may go up", config: Config{Fallback: Fallback{"agent-max"}}, step: Step{Kind: KindTools}, market: market(100, dry("agent-prime")), want: "agent-max", reason: ReasonFallback, requested: "agent-prime"},
		{name: "a list that goes up keeps the band", config: Config{Fallback: Fallback{"agent-max"}}, step: Step{Kind: KindTools}, market: market(40, dry("agent-prime")), want: "agent-prime", reason: ReasonDefault},
		{name: "a list may name one of no tier", config: Config{Fallback: Fallback{opus.ID}}, step: Step{Kind: KindTools}, market: market(100, dry("agent-prime"), with(opus)), want: opus.ID, reason: ReasonFallback, requested: "agent-prime"},
		{name: "a route can refuse the common fallback", config: Config{Fallback: Fallback{SameTier}, Tools: Route{Fallback: Fallback{NoFallback}}}, step: Step{Kind: KindTools}, market: market(100, dry("agent-prime")), want: "agent-prime", reason: ReasonDefault},

		{name: "a rule by label", config: Config{Rules: []Rule{{ID: "legal", When: Match{Labels: map[string]string{"matter": "legal"}}, Use: Route{Tier: "max"}}}},
			step: Step{Kind: KindText, Labels: map[string]string{"matter": "legal"}}, market: market(100), want: "text-max", reason: ReasonRule, rule: "legal"},
		{name: "a label that is absent is not empty", config: Config{Rules: []Rule{{ID: "legal", When: Match{Labels: map[string]string{"matter": ""}}, Use: Route{Tier: "max"}}}},
			step: Step{Kind: KindText}, market: market(100), want: "text-prime", reason: ReasonDefault},
		{name: "the first rule wins", config: Config{Rules: []Rule{
			{ID: "plan", When: Match{StepBelow: 3}, Use: Route{Tier: "max"}}, {ID: "rest", Use: Route{Tier: "standard"}}}},
			step: Step{Kind: KindTools, Index: 2}, market: market(100), want: "agent-max", reason: ReasonRule, rule: "plan"},
		{name: "a later rule catches the rest", config: Config{Rules: []Rule{
			{ID: "plan", When: Match{StepBelow: 3}, Use: Route{Tier: "max"}}, {ID: "rest", Use: Route{Tier: "standard"}}}},
			step: Step{Kind: KindTools, Index: 3}, market: market(100), want: "agent-standard", reason: ReasonRule, rule: "rest"},
		{name: "a rule meets every condition or none", config: Config{Rules: []Rule{{ID: "all", When: Match{Kinds: []Kind{KindText}, Tools: yes(), Schema: yes(), Final: yes(), PromptAtLeast: 10, StepAtLeast: 2}, Use: Route{Tier: "max"}}}},
			step: Step{Kind: KindText, Tools: true, Schema: true, Final: true, PromptTokens: 9, Index: 2}, market: market(100), want: "text-prime", reason: ReasonDefault},
		{name: "a rule is under the bands", config: Config{Rules: []Rule{{ID: "strong", Use: Route{Tier: "max"}}}}, step: Step{Kind: KindText}, market: market(30), want: "text-prime", reason: ReasonBudget, requested: "text-max", rule: "strong"},
		{name: "a rule's instrument is exact", config: Config{Rules: []Rule{{ID: "opus", Use: Route{Instrument: opus.ID}}}}, step: Step{Kind: KindText, Escalation: 1}, market: market(5, with(opus)), want: opus.ID, reason: ReasonRule, rule: "opus"},
		{name: "a route's instrument is exact", config: Config{Code: Route{Instrument: opus.ID}}, step: Step{Kind: KindCode}, market: market(5, with(opus)), want: opus.ID, reason: ReasonDefault},
		{name: "an exact instrument that is gone serves nothing", config: Config{Rules: []Rule{{ID: "opus", Use: Route{Instrument: opus.ID}}}}, step: Step{Kind: KindText}, market: market(100), reason: ReasonNone, requested: opus.ID, rule: "opus"},
		{name: "an exact instrument that is gone falls back if declared", config: Config{Rules: []Rule{{ID: "opus", Use: Route{Instrument: opus.ID, Fallback: Fallback{"text-max"}}}}}, step: Step{Kind: KindText}, market: market(100), want: "text-max", reason: ReasonCapability, requested: opus.ID, rule: "opus"},
		{name: "an exact instrument that is dry falls back if declared", config: Config{Code: Route{Instrument: "code-max", Fallback: Fallback{Down}}}, step: Step{Kind: KindCode}, market: market(100, dry("code-max")), want: "code-prime", reason: ReasonFallback, requested: "code-max"},
		{name: "an exact instrument holds the minimum tier", config: Config{Code: Route{Instrument: "code-standard"}}, step: Step{Kind: KindCode, MinTier: "prime"}, market: market(100), reason: ReasonNone, requested: "code-standard"},
		{name: "a rule leaves an exact route by tier", config: Config{Code: Route{Instrument: opus.ID}, Rules: []Rule{{ID: "light", Use: Route{Tier: "standard"}}}}, step: Step{Kind: KindCode}, market: market(100, with(opus)), want: "code-standard", reason: ReasonRule, rule: "light"},
		{name: "a foreign family by route", config: Config{Text: Route{Family: "lab"}}, step: Step{Kind: KindText}, market: market(100, with(Instrument{ID: "lab-prime"})), want: "lab-prime", reason: ReasonDefault},
		{name: "a common ceiling moves the defaults", config: Config{Ceiling: "standard"}, step: Step{Kind: KindTools}, market: market(100), want: "agent-standard", reason: ReasonDefault},
		{name: "a common floor moves the defaults", config: Config{Floor: "prime"}, step: Step{Kind: KindExtract}, market: market(5), want: "text-prime", reason: ReasonDefault},
	} {
		t.Run(row.name, func(t *testing.T) {
			table, err := New(row.config)
			if err != nil {
				t.Fatal(err)
			}
			got := table.Decide(row.step, row.market)
			if got.Instrument != row.want || got.Reason != row.reason || got.Requested != row.requested || got.Rule != row.rule {
				t.Errorf("got %q by %q requested %q rule %q (%s), want %q by %q requested %q rule %q",
					got.Instrument, got.Reason, got.Requested, got.Rule, got.Why, row.want, row.reason, row.requested, row.rule)
			}
			sane(t, row.step, row.market, got)
		})
	}
}

// sane checks what holds for every decision of every table.
func sane(t *testing.T, s Step, m Snapshot, d Decision) {
	t.Helper()
	if d.Why == "" || d.Policy == "" || d.Reason == "" {
		t.Errorf("decision without why, policy or reason: %+v", d)
	}
	if !slices.IsSortedFunc(d.Candidates, func(a, b Candidate) int { return strings.Compare(a.Instrument, b.Instrument) }) {
		t.Error("candidates are not in order")
	}
	if d.Instrument == "" {
		if d.Reason != ReasonNone || d.Probability != 0 {
			t.Errorf("nothing chosen, yet reason %q with probability %v", d.Reason, d.Probability)
		}
		return
	}
	if d.Reason == ReasonNone || d.Probability != 1 || d.Family == "" || d.Tier == "" || d.Requested == d.Instrument {
		t.Errorf("incomplete decision: %+v", d)
	}
	at := slices.IndexFunc(d.Candidates, func(c Candidate) bool { return c.Instrument == d.Instrument })
	if at < 0 || d.Candidates[at].Skipped != "" {
		t.Errorf("%s is chosen and no eligible candidate: %+v", d.Instrument, d.Candidates)
	}
	if slices.Contains(s.Exclude, d.Instrument) {
		t.Errorf("%s is chosen although excluded", d.Instrument)
	}
	if s.Pin != "" && s.Pin != d.Instrument {
		t.Errorf("%s is chosen for pin %s", d.Instrument, s.Pin)
	}
	for _, in := range m.Instruments {
		if in.ID != d.Instrument {
			continue
		}
		prompt := s.promptTokens()
		if s.Tools && in.NoTools || s.Schema && in.NoSchema || in.MaxInput > 0 && prompt > in.MaxInput ||
			in.MaxOutput > 0 && s.MaxTokens > in.MaxOutput || in.Context > 0 && addSaturating(prompt, max(s.MaxTokens, 0)) > in.Context {
			t.Errorf("%s is chosen and cannot serve %+v", in.ID, s)
		}
		if r := rankOf(d.Tier); s.Pin == "" && r != rankNone && r < rankOf(s.MinTier) {
			t.Errorf("%s is chosen below the minimum %s", in.ID, s.MinTier)
		}
		return
	}
	t.Errorf("%s is chosen and not in the market", d.Instrument)
}

func TestRandomStepsAndMarketsGiveSaneRepeatableDecisions(t *testing.T) {
	tables := []*Table{Default()}
	for _, c := range []Config{
		{Fallback: Fallback{SameTier, Down}, Ceiling: "prime"},
		{Fallback: Fallback{"lab-x-latest", "text-max"}, Code: Route{Sticky: true, Floor: "prime"}, Text: Route{Instrument: "text-prime", Fallback: Fallback{Down}}},
		{NoPreview: true, Deny: []string{"*-max"}, Rules: []Rule{{ID: "big", When: Match{PromptAtLeast: 1000}, Use: Route{Instrument: "lab-x-latest"}}}},
	} {
		table, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		tables = append(tables, table)
	}
	r := rand.New(rand.NewPCG(1, 2))
	var served, refused int
	for i := range 5_000 {
		s, m := randomStep(r), randomMarket(r)
		for _, table := range tables {
			before := fmt.Sprintf("%+v %+v", s, m)
			d := table.Decide(s, m)
			if after := fmt.Sprintf("%+v %+v", s, m); after != before {
				t.Fatalf("arguments were changed from %s to %s", before, after)
			}
			shuffled := Snapshot{Instruments: slices.Clone(m.Instruments), LeftPercent: m.LeftPercent}
			r.Shuffle(len(shuffled.Instruments), func(i, j int) {
				shuffled.Instruments[i], shuffled.Instruments[j] = shuffled.Instruments[j], shuffled.Instruments[i]
			})
			if again := table.Decide(s, shuffled); !reflect.DeepEqual(d, again) {
				t.Fatalf("the order of the market changed %+v to %+v", d, again)
			}
			sane(t, s, m, d)
			if d.Instrument == "" {
				refused++
			} else {
				served++
			}
			if t.Failed() {
				t.Fatalf("round %d: step %+v market %+v table %s: %+v", i, s, m, table.Policy(), d)
			}
		}
	}
	if served == 0 || refused == 0 {
		t.Fatalf("one-sided: %d served, %d refused", served, refused)
	}
}

func randomStep(r *rand.Rand) Step {
	s := Step{
		Index: r.IntN(9), Kind: append(kinds[:], "", "other")[r.IntN(len(kinds)+2)],
		PromptTokens: []int64{0, 10, 5_000, 119_000, 130_000, 990_000}[r.IntN(6)], PromptBytes: r.Int64N(1_000_000),
		MaxTokens: []int64{0, 4096, 70_000, 130_000}[r.IntN(4)], Tools: r.IntN(2) == 0, Schema: r.IntN(3) == 0, Final: r.IntN(4) == 0,
		Escalation: r.IntN(4) - 1, MinTier: []string{"", "", "standard", "prime", "max", "odd"}[r.IntN(6)],
		Sticky: []string{"", "agent-prime", "text-max"}[r.IntN(3)], Pin: []string{"", "", "", "code-prime", "gone"}[r.IntN(5)],
	}
	for _, in := range nine() {
		if r.IntN(8) == 0 {
			s.Exclude = append(s.Exclude, in.ID)
		}
	}
	return s
}

func randomMarket(r *rand.Rand) Snapshot {
	m := Snapshot{LeftPercent: r.IntN(102) - 1}
	for _, in := range append(nine(), Instrument{ID: "lab-x-latest"}) {
		if r.IntN(6) == 0 {
			continue
		}
		in.Dry, in.Down, in.NoTools, in.NoSchema = r.IntN(4) == 0, r.IntN(6) == 0, r.IntN(6) == 0, r.IntN(6) == 0
		m.Instruments = append(m.Instruments, in)
	}
	return m
}

func TestCostRoundsUpAndSaturates(t *testing.T) {
	for _, row := range []struct {
		name                string
		tokens, price, want int64
	}{
		{"a token rounds up", 1, 1, 1},
		{"exact", 2_000_000, 900_000_000, 1_800_000_000},
		{"128 bits", 1 << 40, 1 << 40, 1208925819614629175},
		{"saturates", math.MaxInt64, math.MaxInt64, math.MaxInt64},
		{"just over", math.MaxInt64, 1_000_001, math.MaxInt64},
		{"unknown price", 100, 0, 0},
		{"nonsense", -1, -1, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := costNanoUSD(row.tokens, row.price); got != row.want {
				t.Errorf("cost of %d at %d: %d, want %d", row.tokens, row.price, got, row.want)
			}
		})
	}
	d := Default().Decide(Step{Kind: KindTools, PromptTokens: 1000, MaxTokens: 24}, market(100))
	for _, c := range d.Candidates {
		if c.Instrument == "agent-prime" && c.Cost != 921_600 {
			t.Errorf("agent-prime is estimated at %d nano-USD, want 921600", c.Cost)
		}
	}
}

func TestWhyHoldsNoTextOfUsers(t *testing.T) {
	const canary = "CANARY"
	s := Step{Kind: canary, Run: canary, Pin: canary, MinTier: canary, Sticky: canary, Exclude: []string{canary}, Labels: map[string]string{canary: canary}}
	for _, step := range []Step{s, {Kind: canary, Pin: canary}, {Kind: canary, Labels: s.Labels, Sticky: canary, Exclude: s.Exclude}} {
		d := Default().Decide(step, market(100))
		if strings.Contains(d.Why+d.Rule+d.Reason+fmt.Sprint(d.Candidates), canary) {
			t.Errorf("a step's text stands in %+v", d)
		}
	}
}

func TestASnapshotWithoutOrderOrCareIsRead(t *testing.T) {
	m := Snapshot{LeftPercent: 100, Instruments: []Instrument{{}, {ID: "agent-prime"}, {ID: "agent-prime", Dry: true}, {ID: "x-prime", Family: "agent", Tier: "prime"}, {ID: "nodash"}}}
	d := Default().Decide(Step{Kind: KindTools}, m)
	if d.Instrument != "agent-prime" || len(d.Candidates) != 3 || strings.Contains(d.Why, "topped up") {
		t.Errorf("got %+v", d)
	}
	d = Default().Decide(Step{Kind: KindTools, Exclude: []string{"agent-prime"}}, m)
	if d.Instrument != "x-prime" || d.Reason != ReasonCapability || d.Requested != "agent-prime" {
		t.Errorf("another instrument of the same family and tier did not stand in: %+v", d)
	}
}

func TestFuncIsARouter(t *testing.T) {
	var r Router = Func(func(s Step, _ Snapshot) Decision { return Decision{Instrument: s.Pin} })
	if got := r.Decide(Step{Pin: "x"}, Snapshot{}); got.Instrument != "x" {
		t.Errorf("got %+v", got)
	}
}

func BenchmarkDecide(b *testing.B) {
	table, m := Default(), market(100)
	s := Step{Kind: KindTools, PromptTokens: 1000, MaxTokens: 4096, Tools: true}
	b.ReportAllocs()
	for b.Loop() {
		table.Decide(s, m)
	}
}
