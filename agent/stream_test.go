package agent_test

import (
	"testing"
	"testing/synctest"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/grid/gridtest"
	"github.com/gridloop/gridloop/router"
)

// Each step says whether it was streamed and why.
func TestAStepSaysWhyItWasStreamed(t *testing.T) {
	type answer struct {
		N int `json:"n"`
	}
	m := newMarket(t, gridtest.Config{})
	m.Model(func(gridtest.Turn) gridtest.Reply { return say(`{"n":7}`) })
	a := open(t, m, agent.Config{})
	text := func(o ...agent.Option) *agent.Live[string] { return agent.Start[string](t.Context(), a, "go", o...) }
	value := func(o ...agent.Option) *agent.Live[answer] { return agent.Start[answer](t.Context(), a, "go", o...) }
	watched := func(t *testing.T, events func(func(agent.Event) bool)) (rec agent.StepRecord) {
		for e := range events {
			if done, ok := e.(agent.StepDone); ok {
				rec = done.Record
			}
		}
		return rec
	}
	kind := func(k router.Kind, o ...agent.Option) func(t *testing.T) agent.StepRecord {
		return func(t *testing.T) agent.StepRecord {
			return watched(t, agent.Start[string](t.Context(), open(t, m, agent.Config{Kind: k}), "go", o...).Events())
		}
	}
	on, off := agent.Stream(agent.StreamOn), agent.Stream(agent.StreamOff)
	for _, row := range []struct {
		name     string
		record   func(t *testing.T) agent.StepRecord
		streamed bool
		reason   agent.StreamReason
	}{
		{"somebody reads", func(t *testing.T) agent.StepRecord { return watched(t, text().Events()) }, true, agent.StreamRead},
		{"somebody reads what is not to be streamed", func(t *testing.T) agent.StepRecord { return watched(t, text(off).Events()) }, false, agent.StreamDeclined},
		{"the answer is checked first", func(t *testing.T) agent.StepRecord { return watched(t, value().Events()) }, false, agent.StreamChecked},
		{"it is checked first and to be streamed", func(t *testing.T) agent.StepRecord { return watched(t, value(on).Events()) }, true, agent.StreamAsked},
		{"it extracts", kind(router.KindExtract), false, agent.StreamKind},
		{"it judges", kind(router.KindJudge), false, agent.StreamKind},
		{"it summarizes", kind(router.KindSummarize), false, agent.StreamKind},
		{"it summarizes and is to be streamed", kind(router.KindSummarize, on), true, agent.StreamAsked},
		{"it writes code", kind(router.KindCode), true, agent.StreamRead},
		{"nobody reads", func(t *testing.T) agent.StepRecord { return firstStep(t, text()) }, false, agent.StreamUnread},
		{"nobody reads what is to be streamed", func(t *testing.T) agent.StepRecord { return firstStep(t, text(on)) }, true, agent.StreamAsked},
	} {
		t.Run(row.name, func(t *testing.T) {
			if rec := row.record(t); rec.Streamed != row.streamed || rec.StreamReason != row.reason {
				t.Errorf("streamed %t because %q, want %t because %q", rec.Streamed, rec.StreamReason, row.streamed, row.reason)
			}
		})
	}
}

func firstStep[T any](t *testing.T, live *agent.Live[T]) agent.StepRecord {
	t.Helper()
	res, err := live.Result()
	if err != nil {
		t.Fatal(err)
	}
	return res.Steps[0]
}

// An instrument that breaks its streams off is asked without streaming, the reader is
// warned and still sees the text.
func TestTextOfABrittleInstrumentComesInOnePiece(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarket(t, gridtest.Config{})
		m.Model(func(gridtest.Turn) gridtest.Reply { return say("all is well") })
		m.Fault(gridtest.Fault{Kind: gridtest.CutStream, AfterChunks: 2, Times: 3})
		a := open(t, m, agent.Config{})
		if _, err := agent.Run[string](t.Context(), a, "go", agent.Stream(agent.StreamOn)); err == nil {
			t.Fatal("three cuts and no error")
		}
		text, warned := "", false
		var rec agent.StepRecord
		for e := range agent.Start[string](t.Context(), a, "go").Events() {
			switch e := e.(type) {
			case agent.TextDelta:
				text += e.Text
			case agent.Warning:
				warned = true
			case agent.StepDone:
				rec = e.Record
			}
		}
		if text != "all is well" || !warned || rec.Streamed || rec.StreamReason != agent.StreamCuts {
			t.Errorf("%q was seen, warned %t, streamed %t because %q", text, warned, rec.Streamed, rec.StreamReason)
		}
	})
}
