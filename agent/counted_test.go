package agent

import (
	"slices"
	"testing"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
)

// goesOn is a run whose first two messages the market has counted, and its third step.
func goesOn() (*run, *ModelIn) {
	refs := []*MessageRef{{Hash: "a", Bytes: 499}, {Hash: "b", Bytes: 299}, {Hash: "c", Bytes: 99}}
	return &run{counted: counted{refs: slices.Clone(refs[:2]), body: 1000, tokens: 240}, format: []byte("{}")}, &ModelIn{Messages: refs}
}

// With the model's own fields a transcript is another text, so the count of one says nothing of the other.
func TestACountHoldsForTheTranscriptThatWasCounted(t *testing.T) {
	for _, tc := range []struct {
		name            string
		counted, served bool // with the model's own fields
		known           bool
	}{{"portable", false, false, true}, {"with its own fields", true, true, true}, {"its own fields are new", false, true, false}, {"its own fields are gone", true, false, false}} {
		t.Run(tc.name, func(t *testing.T) {
			r, in := goesOn()
			r.counted.echo = tc.counted
			instrument := grid.Instrument{ID: "agent-prime", Echo: tc.served}
			call := &modelCall{r: r, in: in, instrument: instrument}
			p := call.promptOf(&grid.Attempt{Instrument: "agent-prime", MessageBytes: 1150})
			want := budget.Prompt{Instrument: "agent-prime", Bytes: 1150, Template: 512}
			if tc.known { // the body grew by more than the messages did
				want.Counted, want.CountedBytes, want.NewBytes = 240, 1000, 150
			}
			if p != want {
				t.Errorf("a step's prompt is %+v, want %+v", p, want)
			}
			want = budget.Prompt{Instrument: "agent-prime", Bytes: 500 + 300 + 100 + 2 + 64, Template: 512}
			if tc.known {
				want.Counted, want.CountedBytes, want.NewBytes = 240, 1000, 100+64
			}
			if p := r.answerPrompt(in, instrument, 64); p != want {
				t.Errorf("the answer's prompt is %+v, want %+v", p, want)
			}
		})
	}
}

// Another history than the one that was counted is bounded as a whole.
func TestACountSaysNothingOfAnotherHistory(t *testing.T) {
	r, in := goesOn()
	in.Messages[1] = &MessageRef{Hash: "other", Bytes: 10}
	if p := r.answerPrompt(in, grid.Instrument{}, 0); p.Counted != 0 || p.NewBytes != 0 {
		t.Errorf("%+v", p)
	}
	r.counted.refs = r.counted.refs[:1]
	if p := r.answerPrompt(in, grid.Instrument{}, 0); p.Counted != 240 || p.NewBytes != 11+100 {
		t.Errorf("%+v", p)
	}
}
