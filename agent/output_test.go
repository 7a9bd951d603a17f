package agent_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/grid/gridtest"
)

type mood string

type verdict struct {
	Refunded bool   `json:"refunded"`
	Why      string `json:"why"`
}

func TestAnswerIsDecodedIntoAnyType(t *testing.T) {
	checkOutput(t, "text", "plain words", "plain words")
	checkOutput(t, "a named string", "sad", mood("sad"))
	checkOutput(t, "a struct", `{"refunded":true,"why":"late"}`, verdict{true, "late"})
	checkOutput(t, "a pointer", `{"refunded":true,"why":"late"}`, &verdict{true, "late"})
	checkOutput(t, "a fenced struct", "```json\n{\"refunded\":true,\"why\":\"late\"}\n```", verdict{true, "late"})
	checkOutput(t, "a fence without a language", "```\n{\"refunded\":true,\"why\":\"late\"}\n```", verdict{true, "late"})
	checkOutput(t, "a fence on one line", "```{\"refunded\":true,\"why\":\"late\"}```", verdict{true, "late"})
	checkOutput(t, "a slice", `{"value":["a","b"]}`, []string{"a", "b"})
	checkOutput(t, "a number", `{"value":7}`, 7)
	checkOutput(t, "a bool", `{"value":true}`, true)
	checkOutput(t, "a map", `{"a":1,"b":2}`, map[string]int{"a": 1, "b": 2})
}

func checkOutput[T any](t *testing.T, name, text string, want T) {
	t.Run(name, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		var sent gridtest.Turn
		m.Model(func(turn gridtest.Turn) gridtest.Reply { sent = turn; return say(text) })
		res, err := agent.Run[T](t.Context(), open(t, m, agent.Config{}), "go")
		stands(t, res, err)
		if err != nil || !reflect.DeepEqual(res.Output, want) || res.Text != text || !res.Final || res.Stop != agent.StopCompleted {
			t.Errorf("%+v from %q, stopped by %s: %v", res.Output, res.Text, res.Stop, err)
		}
		structured := reflect.TypeFor[T]().Kind() != reflect.String
		if strings.Contains(string(sent.Raw), `"response_format"`) != structured {
			t.Errorf("the request is %s", sent.Raw)
		}
	})
}

func TestInvalidAnswerIsMendedOnce(t *testing.T) {
	for _, tc := range []struct {
		name    string
		replies []gridtest.Reply
		limits  agent.Limits
		steps   int
		mended  bool
		text    string
	}{
		{name: "mended", replies: []gridtest.Reply{say("It was refunded."), say(`{"refunded":true,"why":"late"}`)}, steps: 2, mended: true, text: `{"refunded":true,"why":"late"}`},
		{name: "half an object", replies: []gridtest.Reply{say(`{"refunded":true`), say(`{"refunded":true,"why":"late"}`)}, steps: 2, mended: true, text: `{"refunded":true,"why":"late"}`},
		{name: "never mended", replies: []gridtest.Reply{say("no"), say(`{"refunded":"yes"}`), say(`{"refunded":true,"why":"late"}`)}, steps: 2, text: `{"refunded":"yes"}`},
		{name: "mended at the third try", replies: []gridtest.Reply{say("no"), say("no"), say(`{"refunded":true,"why":"late"}`)}, limits: agent.Limits{Repairs: 2}, steps: 3, mended: true, text: `{"refunded":true,"why":"late"}`},
		{name: "without repairs", replies: []gridtest.Reply{say("no"), say(`{"refunded":true,"why":"late"}`)}, limits: agent.Limits{Repairs: agent.None}, steps: 1, text: "no"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newMarket(t, gridtest.Config{})
			turns(m, tc.replies...)
			res, err := agent.Run[verdict](t.Context(), open(t, m, agent.Config{Limits: tc.limits}), "go")
			stands(t, res, err)
			if res.Text != tc.text || len(res.Steps) != tc.steps {
				t.Errorf("%q after %d steps", res.Text, len(res.Steps))
			}
			if tc.mended {
				if err != nil || !res.Output.Refunded || res.Stop != agent.StopCompleted {
					t.Errorf("%+v, stopped by %s: %v", res.Output, res.Stop, err)
				}
				return
			}
			if !errors.Is(err, agent.ErrInvalidOutput) || res.Stop != agent.StopInvalidOutput || res.Final || res.Output != (verdict{}) {
				t.Errorf("%+v, final %t, stopped by %s: %v", res.Output, res.Final, res.Stop, err)
			}
		})
	}
}

// The model is told what to mend, and where.
func TestRepairNamesWhatIsWrong(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	told := ""
	m.Model(func(turn gridtest.Turn) gridtest.Reply {
		if turn.N == 0 {
			return say(`{"refunded":"yes"}`)
		}
		told = turn.Last().Content
		return say(`{"refunded":true,"why":"late"}`)
	})
	res, err := agent.Run[verdict](t.Context(), open(t, m, agent.Config{}), "go")
	stands(t, res, err)
	if err != nil || !strings.Contains(told, "/refunded") || !strings.Contains(told, "why") || strings.Contains(told, "Explain") {
		t.Errorf("the model was told %q: %v", told, err)
	}
}

// A model that calls a tool while it mends its answer is told that there is none.
func TestCallsInARepairAreAnsweredAndNotRun(t *testing.T) {
	m := newMarket(t, gridtest.Config{})
	turns(m, say("no"), gridtest.Reply{Text: `{"refunded":true,"why":"late"}`, Calls: []gridtest.ToolCall{lookCall()}})
	res, err := agent.Run[verdict](t.Context(), open(t, m, agent.Config{}), "go")
	stands(t, res, err)
	if err != nil || !res.Output.Refunded {
		t.Errorf("%+v: %v", res.Output, err)
	}
}
