package main

import (
	"strings"
	"testing"
)

func TestFaultsNeverStrikeThreeTimesInARow(t *testing.T) {
	const rate = 0.5
	w := newWeather(nil, rate, 1)
	row, requests, struck := 0, 0, 0
	for ; requests < 10_000; requests++ {
		if w.next("one") == none {
			row = 0
			continue
		}
		struck++
		if row++; row > inARow {
			t.Fatalf("request %d is struck for the time %d in a row", requests, row)
		}
	}
	// Of calls with 0, 1 and 2 faults there are 1/2, 1/4 and 1/4: 3 faults in 7 requests.
	if share := float64(struck) / float64(requests); share < 0.40 || share > 0.46 {
		t.Errorf("%.2f of the requests are struck", share)
	}
	for f := none + 1; f < kinds; f++ {
		if w.drawn[f] < 500 {
			t.Errorf("%s strikes %d times only", f, w.drawn[f])
		}
	}
}

func TestFaultsDependOnTheSeedAlone(t *testing.T) {
	draw := func(seed uint64, before ...string) (all []fault) {
		w := newWeather(nil, 0.5, seed)
		for _, other := range before {
			w.next(other)
		}
		for range 100 {
			all = append(all, w.next("one"))
		}
		return all
	}
	same := func(a, b []fault) bool {
		for i := range a {
			if a[i] != b[i] {
				return false
			}
		}
		return true
	}
	if !same(draw(1), draw(1, "two", "three")) {
		t.Error("what other conversations do changes the faults of this one")
	}
	if same(draw(1), draw(2)) {
		t.Error("another seed gives the same faults")
	}
}

func TestCutPiecesAreTheWhole(t *testing.T) {
	const text = "Flüge nach Zürich – 1.200 € 😀, und noch mehr Text, der geschnitten wird."
	for n := range 200 {
		pieces := cut(text, dice(1, "cuts", "", n))
		if strings.Join(pieces, "") != text {
			t.Fatalf("%q is not the whole", pieces)
		}
		for _, p := range pieces {
			if strings.ToValidUTF8(p, "") != p || p == "" {
				t.Fatalf("%q is no piece", p)
			}
		}
	}
}
