package agent_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	openai "github.com/sashabaranov/go-openai"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/tools"
)

// echo answers with how many messages it saw, by role.
func echo(m *gridtest.Market) {
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		var roles []string
		for _, msg := range turn.Messages {
			roles = append(roles, msg.Role[:1])
		}
		return say(strings.Join(roles, ""))
	})
}

func TestConversationGoesOnFromAnEarlierRun(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	a := open(t, m, agent.Config{Instructions: "first", Tools: []tools.Tool{look()}})
	b := open(t, m, agent.Config{Name: "other", Instructions: "second"})
	turns(m, calls(lookCall()), say("one"))
	one, err := agent.Run[string](t.Context(), a, "question one")
	stands(t, one, err)
	echo(m)
	two, err := agent.Run[string](t.Context(), b, "question two", agent.Continue(one.Conversation()))
	stands(t, two, err)
	if err != nil || two.Text != "suataua"[:6] && two.Text != "suatau" {
		t.Errorf("the model saw %q: %v", two.Text, err)
	}
	h := two.History()
	if h[0].Content != "second" || h[1].Content != "question one" || h[4].Content != "one" || h[5].Content != "question two" || len(h) != 7 {
		t.Errorf("%+v", h)
	}
	if len(two.Steps) != 1 || two.Usage.ToolCalls != 0 {
		t.Errorf("what was spent before is counted again: %+v", two.Usage)
	}
	three, err := agent.Run[string](t.Context(), a, "", agent.History(one.History()...))
	stands(t, three, err)
	if err != nil || three.Text != "ssuata" {
		t.Errorf("the model saw %q: %v", three.Text, err)
	}
	var none agent.Conversation
	if res, err := agent.Run[string](t.Context(), b, "go", agent.Continue(none)); err != nil || res.Text != "su" {
		t.Errorf("nothing to continue: %v", err)
	}
	if _, err := agent.Run[string](t.Context(), b, "go", agent.Continue(one.Conversation()), agent.History(one.History()...)); err == nil {
		t.Error("Continue and History were both taken")
	}
}

// Also what was paused or cancelled can be gone on from.
func TestConversationGoesOnFromAPausedRun(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	ask := tools.New("ask", "Ask.", func(context.Context, empty) (string, error) { return "", nil }, tools.NeedsApproval())
	a := open(t, m, agent.Config{Tools: []tools.Tool{ask}})
	turns(m, calls(gridtest.Call("ask", "{}")))
	res, err := agent.Run[string](t.Context(), a, "go")
	paused(t, err)
	echo(m)
	res, err = agent.Run[string](t.Context(), a, "never mind", agent.Continue(res.Conversation()))
	stands(t, res, err)
	if err != nil || res.Text != "uatu" {
		t.Errorf("the model saw %q: %v", res.Text, err)
	}
}

func TestHistoryThatCannotBeSentIsRefused(t *testing.T) {
	user := openai.ChatCompletionMessage{Role: "user", Content: "go"}
	call := func(ids ...string) openai.ChatCompletionMessage {
		m := openai.ChatCompletionMessage{Role: "assistant"}
		for _, id := range ids {
			m.ToolCalls = append(m.ToolCalls, openai.ToolCall{ID: id, Type: "function", Function: openai.FunctionCall{Name: "look", Arguments: "{}"}})
		}
		return m
	}
	result := func(id string) openai.ChatCompletionMessage {
		return openai.ChatCompletionMessage{Role: "tool", ToolCallID: id, Content: "seen"}
	}
	m := newMarket(t, gridtest.Config{})
	echo(m)
	a := open(t, m, agent.Config{})
	for _, tc := range []struct {
		name     string
		messages []openai.ChatCompletionMessage
		says     string
	}{
		{"valid", []openai.ChatCompletionMessage{user, call("a", "b"), result("a"), result("b")}, ""},
		{"ids that repeat across messages", []openai.ChatCompletionMessage{user, call("a"), result("a"), call("a"), result("a")}, ""},
		{"a call without an answer", []openai.ChatCompletionMessage{user, call("a", "b"), result("a")}, `"b" has no answer`},
		{"a message in between", []openai.ChatCompletionMessage{user, call("a"), user, result("a")}, "message 2"},
		{"answers out of order", []openai.ChatCompletionMessage{user, call("a", "b"), result("b"), result("a")}, "call order"},
		{"an answer to nothing", []openai.ChatCompletionMessage{user, result("a")}, "message 1"},
		{"an answer too many", []openai.ChatCompletionMessage{user, call("a"), result("a"), result("a")}, "message 3"},
		{"an answer to another call", []openai.ChatCompletionMessage{user, call("a"), result("z")}, `"z"`},
		{"a role that nobody knows", []openai.ChatCompletionMessage{user, {Role: "robot", Content: "beep"}}, `"robot"`},
		{"no role", []openai.ChatCompletionMessage{{Content: "go"}}, "message 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := len(m.Requests())
			res, err := agent.Run[string](t.Context(), a, "go", agent.History(tc.messages...))
			if tc.says == "" {
				stands(t, res, err)
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "History") || res == nil {
				t.Errorf("%v", err)
			}
			if len(m.Requests()) != before {
				t.Error("it was sent")
			}
		})
	}
}

func TestRunsAreNamedWithinTheRules(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	a := open(t, m, agent.Config{})
	for _, id := range []string{"a/b", "a#1", "a\nb", strings.Repeat("x", 129)} {
		if res, err := agent.Run[string](t.Context(), a, "go", agent.RunID(id)); err == nil || !strings.Contains(err.Error(), "RunID") || res == nil {
			t.Errorf("%.20q: %v", id, err)
		}
	}
	for _, id := range []string{"order 42", "ünicode", strings.Repeat("x", 128)} {
		if res, err := agent.Run[string](t.Context(), a, "go", agent.RunID(id)); err != nil || res.Run != id {
			t.Errorf("%q: %v", id, err)
		}
	}
	ids := map[string]bool{}
	for range 8 {
		res, err := agent.Run[string](t.Context(), a, "go")
		if err != nil || ids[res.Run] || res.Run == "" {
			t.Errorf("%q: %v", res.Run, err)
		}
		ids[res.Run] = true
	}
	before := chats(m, 1)
	res, err := agent.Run[string](t.Context(), a, "go", agent.RunID("order 42"))
	stands(t, res, err)
	if !errors.Is(err, budget.ErrClosed) || errors.Is(err, agent.ErrClosed) || chats(m, 1) != before {
		t.Errorf("an id was used twice: %v", err)
	}
}

func TestPinServesEveryStep(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		if len(turn.Tools) > 0 {
			return calls(lookCall())
		}
		return say("done")
	})
	a := open(t, m, agent.Config{Tools: []tools.Tool{look()}, Limits: agent.Limits{Steps: 1}})
	res, err := agent.Run[string](t.Context(), a, "go", agent.Pin("code-max"))
	stands(t, res, err)
	var served []string
	for _, s := range res.Steps {
		served = append(served, s.Instrument+" "+s.Reason)
	}
	if want := []string{"code-max pinned", "code-max pinned"}; err != nil || !slices.Equal(served, want) {
		t.Errorf("%q: %v", served, err)
	}
	before := chats(m, 1)
	res, err = agent.Run[string](t.Context(), a, "go", agent.Pin("agent-mega"))
	stands(t, res, err)
	if !errors.Is(err, agent.ErrNoInstrument) || !strings.Contains(err.Error(), "agent-mega") || chats(m, 1) != before {
		t.Errorf("a pin to nothing: %v", err)
	}
}

func TestOptionsThatMakeNoSenseAreRefusedAllAtOnce(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	a := open(t, m, agent.Config{})
	res, err := agent.Run[string](t.Context(), a, "go", agent.Cap(-1), agent.Cap(0), agent.CapTokens(0), agent.RunID("a/b"))
	if res == nil || err == nil || len(m.Requests()) != 0 {
		t.Fatalf("%v, %v", res, err)
	}
	for _, want := range []string{"Cap(-1)", "Cap(0)", "CapTokens(0)", "RunID"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in %v", want, err)
		}
	}
	if res, err := agent.Run[string](t.Context(), a, ""); err == nil || !strings.Contains(err.Error(), "empty") || res == nil {
		t.Errorf("an empty input: %v", err)
	}
	if res, err := agent.Run[chan int](t.Context(), a, "go"); err == nil || !strings.Contains(err.Error(), "chan int") || res == nil {
		t.Errorf("an output type without a schema: %v", err)
	}
	for range agent.Start[string](t.Context(), a, "").Events() {
		t.Error("a run that cannot begin has events")
	}
}

// Two runs of the same input on the same market leave the same records.
func TestIdenticalRunsLeaveIdenticalRecords(t *testing.T) {
	record := func(t *testing.T) string {
		m := newMarket(t, gridtest.Config{Seed: 7})
		m.Fault(gridtest.Fault{Kind: gridtest.Status, Status: 500, On: 2, RetryAfter: 0})
		turns(m, calls(lookCall(), gridtest.Call("nowhere", "{}")), calls(lookCall()), say("no"), say(`{"refunded":true,"why":"late"}`))
		a := open(t, m, agent.Config{Tools: []tools.Tool{look()}})
		res, err := agent.Run[verdict](t.Context(), a, "go", agent.RunID("same"))
		if err != nil {
			t.Fatal(err)
		}
		for i := range res.Steps {
			s := &res.Steps[i]
			s.PriceAge, s.Waited, s.RetryWait = 0, 0, 0 // times
			for j := range s.Attempts {
				id := &s.Attempts[j].Reservation
				parts := strings.Split(*id, "/")
				parts[len(parts)-2] = "incarnation" // never the same twice
				*id = strings.Join(parts, "/")
			}
		}
		return fmt.Sprintf("%+v\n%+v", res.Steps, res.History())
	}
	var records []string
	for range 2 {
		synctest.Test(t, func(t *testing.T) { records = append(records, record(t)) })
	}
	if records[0] != records[1] {
		t.Errorf("the records differ:\n%s\n%s", records[0], records[1])
	}
}
