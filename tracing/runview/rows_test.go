package runview

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestFoldingLosesNoStepAndKeepsTheWorst(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		steps := make([]*step, random.IntN(300))
		for i := range steps {
			steps[i] = &step{index: int64(i)}
			if random.IntN(20) == 0 {
				steps[i].tools = []*tool{{failed: "error"}}
			}
		}
		if n := len(steps); n > 30 {
			steps[n/2].calls = []*call{{failed: "402", waits: []wait{{start: moment(0), end: moment(9)}}}}
		}
		most := 4 + random.IntN(20)
		next, shown := int64(0), 0
		for _, p := range fold(steps, most) {
			all := p.folded
			if p.one != nil {
				all = []*step{p.one}
				shown++
			} else if len(all) <= 4 {
				t.Fatalf("%d steps are folded, which saves nothing", len(all))
			}
			for _, s := range all {
				if s.index != next {
					t.Fatalf("step %d where %d should be", s.index, next)
				}
				next++
				if p.one == nil && len(s.calls) > 0 {
					t.Fatal("the worst step is folded")
				}
			}
		}
		if next != int64(len(steps)) {
			t.Fatalf("%d of %d steps", next, len(steps))
		}
		if limit := most*5 + 4; shown > limit {
			t.Fatalf("%d steps are shown of %d, with most %d", shown, len(steps), most)
		}
	}
}

func TestManyToolsAreFoldedAndTheFailedOnesShown(t *testing.T) {
	s := &step{}
	for i := range 40 {
		s.tools = append(s.tools, &tool{name: "t", index: int64(i), start: moment(0), end: moment(1)})
	}
	s.tools[33].failed = "panic"
	shown, rest := chosen(s.tools)
	if len(shown)+len(rest) != 40 || len(shown) != mostTools-1 || shown[len(shown)-1] != s.tools[33] {
		t.Errorf("%d shown, %d folded", len(shown), len(rest))
	}
}

func TestTroublesAreThoseOfTheAgentsBelow(t *testing.T) {
	sub := &run{stop: "error", steps: []*step{{calls: []*call{{failed: "500", attempts: []tried{{failed: "500", status: 500}}, waits: []wait{{start: moment(0), end: moment(2)}}}}}}}
	s := &step{tools: []*tool{{failed: "error", runs: []*run{sub}}}, notes: []note{{bad: true}}}
	got := s.troubles()
	if want := (troubles{refused: 1, failedCalls: 1, failedTools: 1, notes: 2, waited: 2 * time.Second}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got.String() != "1 failed attempt, 2.00 s waiting for a top-up, 1 failed call, 1 failed tool, 2 warnings" {
		t.Errorf("in words: %s", got)
	}
}
