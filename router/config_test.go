package router

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestDefaultIsValid(t *testing.T) {
	table, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"routes default@1",
		"tools     -> agent-prime (standard..max), while dry or down: wait",
		"code      -> code-prime (standard..max), while dry or down: wait",
		"text      -> text-prime (standard..max), while dry or down: wait",
		"extract   -> text-standard (standard..max), while dry or down: wait",
		"summarize -> text-standard (standard..max), while dry or down: wait",
		"judge     -> text-prime (standard..max), while dry or down: wait",
		"at 20 % left or less: standard at most, save the final answer",
		"at 50 % left or less: prime at most",
	}
	for _, got := range [][]string{table.Explain(), Default().Explain()} {
		if !slices.Equal(got, want) {
			t.Errorf("the default table reads\n%s", strings.Join(got, "\n"))
		}
	}
	if err := Default().Check(nine()); err != nil {
		t.Error(err)
	}
	if err := Default().Check(nil); err != nil {
		t.Errorf("defaults need no catalogue: %v", err)
	}
}

func TestEveryMistakeIsNamedWithFieldAndFix(t *testing.T) {
	for _, row := range []struct {
		name   string
		config Config
		fields []string
	}{
		{"a typo in a tier", Config{Extract: Route{Tier: "primo"}}, []string{"routes.extract.tier"}},
		{"all at once, in order", Config{Floor: "low", Ceiling: "high", Text: Route{Tier: "x"}, Code: Route{Floor: "y"}},
			[]string{"routes.floor", "routes.ceiling", "routes.code.floor", "routes.text.tier"}},
		{"crossed bounds", Config{Floor: "max", Ceiling: "standard"}, []string{"routes.floor"}},
		{"crossed bounds in a route", Config{Text: Route{Floor: "max", Ceiling: "prime"}}, []string{"routes.text.floor"}},
		{"a bound that crosses the common one", Config{Ceiling: "prime", Text: Route{Floor: "max"}}, []string{"routes.text"}},
		{"a tier above its ceiling", Config{Text: Route{Tier: "max", Ceiling: "prime"}}, []string{"routes.text.tier"}},
		{"a tier below the common floor", Config{Floor: "prime", Text: Route{Tier: "standard"}}, []string{"routes.text.tier"}},
		{"an instrument beside a tier", Config{Text: Route{Instrument: "text-max", Tier: "max"}}, []string{"routes.text.instrument"}},
		{"spaces in names", Config{Name: "a b", Version: "1@2", Text: Route{Family: "te xt"}}, []string{"routes.name", "routes.version", "routes.text.family"}},
		{"words of a fallback", Config{Fallback: Fallback{"none", "down", "up", "sideways", "", "down"}}, []string{"routes.fallback[0]", "routes.fallback[2]", "routes.fallback[3]", "routes.fallback[4]", "routes.fallback[5]"}},
		{"a fallback under the floor", Config{Tools: Route{Floor: "prime", Fallback: Fallback{"agent-standard"}}}, []string{"routes.tools.fallback[0]"}},
		{"a fallback by tier for one of no tier", Config{Tools: Route{Instrument: "a-b-latest", Fallback: Fallback{Down}}}, []string{"routes.tools.fallback"}},
		{"bands", Config{Bands: []Band{{AtOrBelow: 101, Ceiling: "max"}, {AtOrBelow: 5}, {AtOrBelow: 5, Ceiling: "prime"}, {AtOrBelow: -1, Ceiling: "max"}}},
			[]string{"routes.bands[0].at_or_below", "routes.bands[1].ceiling", "routes.bands[2].at_or_below", "routes.bands[3].at_or_below"}},
		{"patterns", Config{Allow: []string{"text-["}, Deny: []string{""}}, []string{"routes.allow[0]", "routes.deny[0]"}},
		{"an allow list that allows nothing", Config{Allow: []string{}}, []string{"routes.allow"}},
		{"rules", Config{Rules: []Rule{
			{Use: Route{Tier: "max"}},
			{ID: "a", When: Match{Kinds: []Kind{"x"}, PromptAtLeast: -1, StepAtLeast: -1, StepBelow: -1}, Use: Route{Tier: "max"}},
			{ID: "a", When: Match{StepAtLeast: 3, StepBelow: 3}},
			{ID: "b", Use: Route{Tier: "huge"}},
		}}, []string{"routes.rules[0].id", "routes.rules[0].when", "routes.rules[1].when.kinds[0]", "routes.rules[1].when.prompt_at_least", "routes.rules[1].when.step_at_least", "routes.rules[1].when.step_below",
			"routes.rules[2].id", "routes.rules[2].when.step_below", "routes.rules[2].use", "routes.rules[3].use.tier"}},
		{"a rule above the ceiling of a kind it meets", Config{Text: Route{Ceiling: "prime"}, Rules: []Rule{{ID: "a", Use: Route{Tier: "max"}}}}, []string{"routes.rules[0].use.tier"}},
		{"a rule whose floor crosses a kind's ceiling", Config{Text: Route{Ceiling: "prime"}, Rules: []Rule{{ID: "a", Use: Route{Floor: "max"}}}}, []string{"routes.rules[0].use"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			table, err := New(row.config)
			if err == nil || table != nil {
				t.Fatalf("accepted: %+v", row.config)
			}
			got := fieldsOf(t, err)
			if !slices.Equal(got, row.fields) {
				t.Errorf("mistakes at %q, want %q\n%v", got, row.fields, err)
			}
		})
	}
}

func fieldsOf(t *testing.T, err error) []string {
	t.Helper()
	var fields []string
	for _, one := range err.(interface{ Unwrap() []error }).Unwrap() {
		mistake, ok := errors.AsType[*FieldError](one)
		if !ok || mistake.Problem == "" || mistake.Fix == "" || !strings.HasPrefix(one.Error(), "router: "+mistake.Field+": ") {
			t.Errorf("no field, problem or fix in %v", one)
			continue
		}
		fields = append(fields, mistake.Field)
	}
	return fields
}

func TestARuleLimitedToOtherKindsMayPassACeiling(t *testing.T) {
	_, err := New(Config{Text: Route{Ceiling: "prime"}, Rules: []Rule{{ID: "a", When: Match{Kinds: []Kind{KindCode}}, Use: Route{Tier: "max"}}}})
	if err != nil {
		t.Error(err)
	}
}

func TestCheckFindsNamesThatTheCatalogueLacks(t *testing.T) {
	table, err := New(Config{
		Text: Route{Family: "txt"}, Code: Route{Instrument: "gone-latest", Fallback: Fallback{"code-ultra", Down + "-x"}},
		Rules: []Rule{{ID: "a", When: Match{Final: yes()}, Use: Route{Instrument: "lost-latest"}}, {ID: "b", Use: Route{Family: "agnet"}}},
		Allow: []string{"text-*", "cod-*"},
		Deny:  []string{"nothing"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"routes.code.instrument", "routes.code.fallback[0]", "routes.code.fallback[1]", "routes.text", "routes.rules[0].use.instrument", "routes.rules[1].use", "routes.allow[1]", "routes.deny[0]"}
	slices.Sort(want)
	got := fieldsOf(t, table.Check(nine()))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func TestAChangedTableHasAChangedVersion(t *testing.T) {
	seen := map[string]int{}
	for i, c := range []Config{
		{}, {Ceiling: "prime"}, {Floor: "prime"}, {Fallback: Fallback{Down}}, {NoPreview: true}, {Bands: []Band{}}, {Deny: []string{"x"}},
		{Rules: []Rule{{ID: "a", When: Match{Labels: map[string]string{"a": "b", "c": "d"}}, Use: Route{Sticky: true}}}},
		{Rules: []Rule{{ID: "a", When: Match{Labels: map[string]string{"a": "b", "c": "e"}}, Use: Route{Sticky: true}}}},
		{Rules: []Rule{{ID: "a", When: Match{Kinds: kinds[:2], Tools: yes(), StepAtLeast: 1, StepBelow: 9, PromptAtLeast: 5}, Use: Route{Instrument: "a-b"}}}},
		{Name: "mine", Version: "7"},
	} {
		first, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := New(c)
		if first.Policy() != again.Policy() {
			t.Errorf("one configuration, two versions: %s and %s", first.Policy(), again.Policy())
		}
		if other, twice := seen[first.Policy()]; twice {
			t.Errorf("configurations %d and %d share %s", other, i, first.Policy())
		}
		seen[first.Policy()] = i
	}
	if _, ok := seen["mine@7"]; !ok {
		t.Errorf("a written name and version are not kept: %v", seen)
	}
}

func TestTheTableKeepsNothingOfItsConfig(t *testing.T) {
	c := Config{
		Allow: []string{"text-*"}, Fallback: Fallback{SameTier}, Bands: []Band{{AtOrBelow: 10, Ceiling: "standard"}},
		Rules: []Rule{{ID: "a", When: Match{Kinds: []Kind{KindCode}, Final: yes(), Labels: map[string]string{"k": "v"}}, Use: Route{Fallback: Fallback{Down}}}},
	}
	table, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	before := strings.Join(table.Explain(), "\n")
	c.Allow[0], c.Fallback[0], c.Bands[0].Ceiling, c.Rules[0].When.Kinds[0] = "x", "x", "max", KindText
	*c.Rules[0].When.Final, c.Rules[0].When.Labels["k"], c.Rules[0].Use.Fallback[0] = false, "w", "x"
	if after := strings.Join(table.Explain(), "\n"); after != before {
		t.Errorf("the table changed from\n%s\nto\n%s", before, after)
	}
}

func TestAFallbackIsReadFromAWordOrAList(t *testing.T) {
	for _, row := range []struct {
		name string
		file any
		want Fallback
	}{
		{"a word", "same_tier", Fallback{SameTier}},
		{"a list", []string{Down, "text-max"}, Fallback{Down, "text-max"}},
		{"a number", 3, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			var f Fallback
			err := f.UnmarshalYAML(func(into any) error {
				switch into := into.(type) {
				case *string:
					if word, ok := row.file.(string); ok {
						*into = word
						return nil
					}
				case *[]string:
					if list, ok := row.file.([]string); ok {
						*into = list
						return nil
					}
				}
				return errors.ErrUnsupported
			})
			if (err == nil) != (row.want != nil) || !slices.Equal(f, row.want) {
				t.Errorf("got %q, %v, want %q", f, err, row.want)
			}
		})
	}
}
