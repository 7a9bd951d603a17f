package tools

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDefinitionsSayAllTheirMistakes(t *testing.T) {
	ok := func(context.Context, struct{}) (string, error) { return "", nil }
	for _, row := range []struct {
		name string
		tool Tool
		want []string
	}{
		{"zero", Tool{}, []string{"tools.New or tools.Raw"}},
		{"no name", New("", "X.", ok), []string{"the name does not fit"}},
		{"long name", New(strings.Repeat("x", 65), "X.", ok), []string{"the name does not fit"}},
		{"name with a dot", New("a.b", "X.", ok), []string{"the name does not fit"}},
		{"name with a line", New("a\n", "X.", ok), []string{"the name does not fit"}},
		{"no description", New("x", " ", ok), []string{"the description is empty"}},
		{"nil func", New[struct{}, string]("x", "X.", nil), []string{"the func is nil"}},
		{"nil raw func", Raw("x", "X.", anyObject, nil), []string{"the func is nil"}},
		{"string for arguments", New("x", "X.", func(context.Context, string) (string, error) { return "", nil }), []string{"not a JSON object", "use a struct"}},
		{"list for arguments", New("x", "X.", func(context.Context, []int) (string, error) { return "", nil }), []string{"use a struct"}},
		{"any for arguments", New("x", "X.", func(context.Context, any) (string, error) { return "", nil }), []string{"use a struct"}},
		{"channel in the arguments", New("x", "X.", func(context.Context, struct{ C chan int }) (string, error) { return "", nil }), []string{"chan int"}},
		{"no time", New("x", "X.", ok, Timeout(0)), []string{"tools.NoTimeout"}},
		{"negative time", New("x", "X.", ok, Timeout(-time.Second)), []string{"-1s"}},
		{"negative grace", New("x", "X.", ok, Grace(-1)), []string{"grace"}},
		{"a meter in capitals", New("x", "X.", ok, Uses("Emails", 1)), []string{`"Emails"`, "a-z"}},
		{"a use of nothing", New("x", "X.", ok, Uses("emails", 0)), []string{"a use of 0"}},
		{"a use beyond counting", New("x", "X.", ok, Uses("emails", 1<<60)), []string{"a use of"}},
		{"a meter twice", New("x", "X.", ok, Uses("emails", 1), Uses("emails", 2)), []string{`"emails" twice`}},
		{"no result", New("x", "X.", ok, MaxResult(0)), []string{"0 bytes"}},
		{"nil approval", New("x", "X.", ok, NeedsApprovalFunc(nil)), []string{"NeedsApprovalFunc is nil"}},
		{"nil option", New("x", "X.", ok, nil), []string{"an option is nil"}},
		{"all at once", New[string, string]("a b", "", nil, Timeout(-1), Grace(-1)), []string{"name", "description", "func is nil", "use a struct", "timeout", "grace"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := row.tool.Err()
			if err == nil {
				t.Fatal("no mistake")
			}
			for _, want := range row.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if res := row.tool.Call(t.Context(), json.RawMessage(`{}`)); res.Status != StatusError || res.Err == nil {
				t.Errorf("a call gives %+v", res)
			}
			if row.tool.Check(nil) == nil {
				t.Error("Check finds nothing")
			}
			if set, err := NewSet(row.tool); set != nil || err == nil {
				t.Error("a set takes it")
			}
		})
	}
}

func TestToolSaysWhatItWasDeclaredWith(t *testing.T) {
	plain := refundTool()
	if plain.Name() != "refund" || plain.Description() != "Pay money back." || plain.ReadOnly() || plain.EndsRun() || plain.Timeout() != DefaultTimeout {
		t.Errorf("%+v", plain)
	}
	all := refundTool(ReadOnly(), EndsRun(), Timeout(time.Second), Grace(time.Second), MaxResult(10))
	if !all.ReadOnly() || !all.EndsRun() || all.Timeout() != time.Second || all.Err() != nil {
		t.Errorf("%+v", all)
	}
	if got := refundTool(Timeout(NoTimeout)); got.Timeout() != NoTimeout || got.Err() != nil {
		t.Error(got.Err())
	}
	var zero Tool
	if zero.Name() != "" || zero.Description() != "" || zero.Schema() != nil || zero.ReadOnly() || zero.EndsRun() || zero.Timeout() != 0 {
		t.Error("the zero tool has properties")
	}
}

func TestSetFindsItsTools(t *testing.T) {
	a, b := Raw("a", "", anyObject, echo), Raw("b", "", anyObject, echo)
	set, err := NewSet(b, a)
	if err != nil {
		t.Fatal(err)
	}
	if set.Len() != 2 || !slices.Equal(set.Names(), []string{"b", "a"}) || len(set.All()) != 2 {
		t.Error(set.Names())
	}
	if got, ok := set.Lookup("a"); !ok || got.Name() != "a" {
		t.Error("a is not found")
	}
	if _, ok := set.Lookup("A"); ok {
		t.Error("A is found")
	}
	set.All()[0] = a
	if set.Names()[0] != "b" {
		t.Error("the caller can change the set")
	}
	wantCall(t, set.Call(t.Context(), "a", json.RawMessage(`{"x":1}`)), StatusOK, `{"x":1}`)
}

func TestWhatACallUsesIsTheCallersToKeep(t *testing.T) {
	x := Raw("x", "", anyObject, echo, Uses("emails", 2), Uses("sms", 1))
	x.Uses()["emails"] = 9
	if got := x.Uses(); len(got) != 2 || got["emails"] != 2 || got["sms"] != 1 {
		t.Error(got)
	}
	if Raw("y", "", anyObject, echo).Uses() != nil || (Tool{}).Uses() != nil {
		t.Error("a tool that uses nothing uses something")
	}
}

func TestUnknownToolIsAnsweredWithTheKnownOnes(t *testing.T) {
	set, err := NewSet(Raw("get_weather", "", anyObject, echo), Raw("view", "", anyObject, echo))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"functions.get_weather", "default_api:view", "", "a\xff\x00", strings.Repeat("x", 10_000)} {
		res := set.Call(t.Context(), name, nil)
		wantCall(t, res, StatusUnknownTool, "get_weather, view")
		if len(res.Content) > 300 || res.Done != nil {
			t.Errorf("%q", res.Content)
		}
		if name != "" && strings.Contains(res.Err.Error(), name) {
			t.Error("the error repeats the model")
		}
	}
}

func TestSetsOfNoTools(t *testing.T) {
	empty, err := NewSet()
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range []*Set{nil, empty} {
		if _, ok := set.Lookup("x"); ok || set.Len() != 0 || len(set.Names()) != 0 || len(set.All()) != 0 {
			t.Error("there is a tool")
		}
		wantCall(t, set.Call(t.Context(), "x", nil), StatusUnknownTool, "There are no tools")
	}
}

func TestSetNamesTheToolsThatCollide(t *testing.T) {
	_, err := NewSet(Raw("a", "", anyObject, echo), Raw("b", "", anyObject, echo), Raw("a", "", anyObject, echo), Tool{}, New[struct{}, int]("c", "C.", nil))
	for _, want := range []string{`"a": tools 1 and 3`, "tool 4 of the set", `"c": the func is nil`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}
