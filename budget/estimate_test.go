package budget_test

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
)

var monday = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func estimator(t *testing.T, mode budget.EstimateMode) *budget.Estimator {
	t.Helper()
	e, err := budget.NewEstimator(mode)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// prose is an instrument that makes a token of four bytes.
func prose(e *budget.Estimator, samples int, at time.Time) {
	for range samples {
		e.Observe(budget.Used{Prompt: budget.Prompt{Instrument: "text-prime", Bytes: 8000, Template: 512}, MaxTokens: 100, PromptTokens: 2000, CompletionTokens: 50}, at)
	}
}

func TestEachModeIsTighterThanTheOneBefore(t *testing.T) {
	first := budget.Prompt{Instrument: "text-prime", Bytes: 8000, Template: 512}
	next := budget.Prompt{Instrument: "text-prime", Bytes: 9000, Template: 512, Counted: 2000, CountedBytes: 8000, NewBytes: 1000}
	for _, tc := range []struct {
		mode        budget.EstimateMode
		first, next int64
	}{
		{budget.EstimateStrict, 8512, 9512},
		{budget.EstimateIncremental, 8512, 3000 + 1000},
		{"", 8512, 3000 + 1000},
		{budget.EstimateCalibrated, 2200 + 512, 9000/4*11/10 + 512}, // the whole by density is less than 1.5 x what was counted
	} {
		t.Run(string(tc.mode), func(t *testing.T) {
			e := estimator(t, tc.mode)
			prose(e, 40, monday)
			if got := e.Prompt(first, monday); got != tc.first {
				t.Errorf("a first prompt is bound by %d, want %d", got, tc.first)
			}
			if got := e.Prompt(next, monday); got != tc.next {
				t.Errorf("the next prompt is bound by %d, want %d", got, tc.next)
			}
		})
	}
}

func TestCalibrationWantsSamplesAndForgetsThem(t *testing.T) {
	p := budget.Prompt{Instrument: "text-prime", Bytes: 8000, Template: 512}
	e := estimator(t, budget.EstimateCalibrated)
	prose(e, 31, monday)
	if got := e.Prompt(p, monday); got != 8512 {
		t.Errorf("31 samples are not enough, yet the bound is %d", got)
	}
	prose(e, 1, monday.AddDate(0, 0, 1))
	if got := e.Prompt(p, monday.AddDate(0, 0, 6)); got != 2712 {
		t.Errorf("within the week the bound is %d", got)
	}
	e.Observe(budget.Used{Prompt: p, PromptTokens: 6000}, monday.AddDate(0, 0, 1))
	if got := e.Prompt(p, monday.AddDate(0, 0, 1)); got != 6600+512 {
		t.Errorf("the densest counts, yet the bound is %d", got)
	}
	if got := e.Prompt(p, monday.AddDate(0, 0, 8)); got != 8512 {
		t.Errorf("after a week without samples the bound is %d", got)
	}
	other := p
	other.Instrument = "code-prime"
	if got := e.Prompt(other, monday); got != 8512 {
		t.Errorf("another instrument knows nothing, yet its bound is %d", got)
	}
}

// What exceeded its bound does not exceed it a second time.
func TestAnOverrunRaisesTheFactorItBroke(t *testing.T) {
	first := budget.Prompt{Instrument: "x", Bytes: 1000, Template: 100}
	next := budget.Prompt{Instrument: "x", Bytes: 2000, Template: 100, Counted: 400, CountedBytes: 1000, NewBytes: 1000}
	for _, tc := range []struct {
		name string
		used budget.Used
	}{
		{"more tokens than bytes", budget.Used{Prompt: first, PromptTokens: 3000}},
		{"a supplier that counts thrice", budget.Used{Prompt: next, PromptTokens: 1900}},
		{"max_tokens exceeded", budget.Used{Prompt: first, PromptTokens: 10, MaxTokens: 100, CompletionTokens: 3333}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := estimator(t, "")
			bound := func() int64 { return e.Prompt(tc.used.Prompt, monday) + e.Output("x", tc.used.MaxTokens, monday) }
			if used := tc.used.PromptTokens + tc.used.CompletionTokens; used <= bound() {
				t.Fatalf("%d is no overrun of %d", used, bound())
			}
			e.Observe(tc.used, monday)
			if used := tc.used.PromptTokens + tc.used.CompletionTokens; used > bound() {
				t.Errorf("seen once, %d still exceeds %d", used, bound())
			}
			if was := bound(); bound() != was || was < 0 {
				t.Errorf("the bound moved by being asked: %d", was)
			}
		})
	}
}

// A count that cannot be true must not make the next bound small.
func TestACountTooSmallIsNotBelieved(t *testing.T) {
	e := estimator(t, "")
	p := budget.Prompt{Instrument: "x", Bytes: 80_100, Counted: 3, CountedBytes: 80_000, NewBytes: 100}
	if got := e.Prompt(p, monday); got < 80_000/8 {
		t.Errorf("the bound is %d", got)
	}
}

func TestMaxTokensIsTheInverseOfOutput(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		e := estimator(t, "")
		e.Observe(budget.Used{Prompt: budget.Prompt{Instrument: "x"}, MaxTokens: 1 + rnd.Int64N(5000), CompletionTokens: rnd.Int64N(20_000)}, monday)
		tokens := rnd.Int64N(100_000)
		n := e.MaxTokens("x", tokens, monday)
		if e.Output("x", n, monday) > tokens || e.Output("x", n+2, monday) <= tokens {
			t.Fatalf("of %d tokens %d are asked for, which may come to %d", tokens, n, e.Output("x", n, monday))
		}
	}
}

func TestAnEstimateNeverWrapsOrPanics(t *testing.T) {
	for _, v := range []int64{math.MinInt64, -1, 0, 1, math.MaxInt64} {
		for _, mode := range []budget.EstimateMode{budget.EstimateStrict, budget.EstimateIncremental, budget.EstimateCalibrated} {
			e := estimator(t, mode)
			p := budget.Prompt{Instrument: "x", Bytes: v, Template: v, Counted: v, CountedBytes: v, NewBytes: v}
			e.Observe(budget.Used{Prompt: p, MaxTokens: v, PromptTokens: v, CompletionTokens: v}, time.Unix(v/2, 0))
			if got := e.Prompt(p, monday) | e.Output("x", v, monday) | e.MaxTokens("x", v, monday); got < 0 {
				t.Errorf("%s: %d gives a negative bound", mode, v)
			}
		}
	}
	if _, err := budget.NewEstimator("guess"); !errors.Is(err, budget.ErrInvalid) {
		t.Errorf("an unknown mode: %v", err)
	}
}

func TestABoundHasAllOfItsPartsAndNoMore(t *testing.T) {
	small := budget.Prompt{Instrument: "x", Bytes: 400, Template: 200, Counted: 100, CountedBytes: 400}
	bare := budget.Prompt{Instrument: "x", Bytes: 400, Counted: 100, CountedBytes: 400}
	next := budget.Prompt{Instrument: "x", Bytes: 2000, Template: 512, Counted: 400, CountedBytes: 1000, NewBytes: 1000}
	roomy := next
	roomy.Bytes = 8000
	mid := budget.Prompt{Instrument: "x", Bytes: 6000, Template: 512, Counted: 1100, CountedBytes: 4000, NewBytes: 100}
	large := budget.Prompt{Instrument: "x", Bytes: 12_000, Template: 512, Counted: 4000, CountedBytes: 10_000, NewBytes: 1000}
	dense := budget.Used{Prompt: budget.Prompt{Instrument: "x", Bytes: 1000}, PromptTokens: 1000}
	for _, tc := range []struct {
		name   string
		mode   budget.EstimateMode
		seen   []budget.Used
		prompt budget.Prompt
		want   int64
	}{
		{"a small prompt has room for another template", "", nil, small, 100 + 200},
		{"also where none is named", "", nil, bare, 100 + 128},
		{"a large prompt has it within the half", "", nil, large, 6000 + 1000},
		{"what is new is no fault of the supplier's", "", []budget.Used{{Prompt: large, PromptTokens: 10_000}}, large, 4000*9/4*11/10 + 1000},
		{"a template seen to be larger", "", []budget.Used{{Prompt: next, PromptTokens: 2400}}, next, 400 + 1100 + 1000},
		{"and what it says of large prompts", "", []budget.Used{{Prompt: next, PromptTokens: 2400}}, large, 6000 + 1000},
		{"of a larger prompt it is the supplier", "", []budget.Used{{Prompt: mid, PromptTokens: 1800}}, large, 6801 + 1000},
		{"no template is that large", "", []budget.Used{{Prompt: roomy, PromptTokens: 4400}}, large, 12_512},
		{"a prompt denser than its bytes is no fault of its template", "", []budget.Used{{Prompt: budget.Prompt{Instrument: "x", Bytes: 1000, Counted: 900, CountedBytes: 100, NewBytes: 900}, PromptTokens: 1001}}, large, 6000 + 1102},
		{"dense text is no denser than its bytes", budget.EstimateCalibrated, slices.Repeat([]budget.Used{dense}, 32), next, 912 + 1000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := estimator(t, tc.mode)
			for _, u := range tc.seen {
				e.Observe(u, monday)
			}
			if got := e.Prompt(tc.prompt, monday); got != tc.want {
				t.Errorf("the bound is %d, want %d", got, tc.want)
			}
		})
	}
}

// suppliersInTurn count prompts of ten thousand bytes that each go on from the one before.
func suppliersInTurn(e *budget.Estimator, pairs int, tokens ...int64) {
	for i := range pairs {
		p := budget.Prompt{Instrument: "x", Bytes: 10_000, Template: 512, Counted: tokens[i%len(tokens)], CountedBytes: 9000, NewBytes: 1000}
		e.Observe(budget.Used{Prompt: p, PromptTokens: tokens[(i+1)%len(tokens)]}, monday)
	}
}

// Where suppliers were seen to count alike, the half that they might differ by is not kept.
func TestCalibrationLearnsHowFarApartSuppliersAre(t *testing.T) {
	next := budget.Prompt{Instrument: "x", Bytes: 10_000, Template: 512, Counted: 2500, CountedBytes: 9000, NewBytes: 1000}
	small := budget.Prompt{Instrument: "x", Bytes: 2000, Template: 512, Counted: 500, CountedBytes: 1900, NewBytes: 100}
	for _, tc := range []struct {
		name   string
		mode   budget.EstimateMode
		pairs  int
		tokens []int64
		prompt budget.Prompt
		want   int64
	}{
		{"alike", budget.EstimateCalibrated, 40, []int64{2500}, next, (2500 + 250) * 11 / 10},
		{"a fifth apart", budget.EstimateCalibrated, 40, []int64{2500, 3000}, next, 3302}, // (2500 + 1000 x 0.3) x 3000/2800 x 1.10, rounded up each time
		{"too few pairs", budget.EstimateCalibrated, 20, []int64{2500}, next, 3750 + 1000},
		{"a small prompt has room for another template", budget.EstimateCalibrated, 40, []int64{2500}, small, 500 + 512 + 28},
		{"incremental keeps the half", budget.EstimateIncremental, 40, []int64{2500}, next, 3750 + 1000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := estimator(t, tc.mode)
			suppliersInTurn(e, tc.pairs, tc.tokens...)
			if got := e.Prompt(tc.prompt, monday); got != tc.want {
				t.Errorf("the bound is %d, want %d", got, tc.want)
			}
		})
	}
}

func TestSmallPromptsDoNotSayHowFarApartSuppliersAre(t *testing.T) {
	small := budget.Prompt{Instrument: "x", Bytes: 2000, Template: 512, Counted: 500, CountedBytes: 1900, NewBytes: 100}
	next := budget.Prompt{Instrument: "x", Bytes: 10_000, Template: 512, Counted: 2500, CountedBytes: 9000, NewBytes: 1000}
	e := estimator(t, budget.EstimateCalibrated)
	for range 40 {
		e.Observe(budget.Used{Prompt: small, PromptTokens: 500}, monday)
	}
	if got := e.Prompt(next, monday); got != 2750+512 { // all of it by density
		t.Errorf("the bound is %d", got)
	}
}

func TestWhatRaisedABoundIsForgottenAfterAWeek(t *testing.T) {
	e := estimator(t, "")
	e.Observe(budget.Used{Prompt: budget.Prompt{Instrument: "x"}, MaxTokens: 100, CompletionTokens: 200}, monday)
	for day, want := range map[int]int64{0: 220, 6: 220, 7: 100, 14: 100} {
		if got := e.Output("x", 100, monday.AddDate(0, 0, day)); got != want {
			t.Errorf("after %d days 100 tokens are bound by %d, want %d", day, got, want)
		}
	}
}
