package runview

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func moment(seconds float64) time.Time {
	return time.Unix(0, 0).Add(time.Duration(seconds * float64(time.Second)))
}

func TestTimeNeverRunsBackwardsOnTheAxis(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		span := math.Pow(10, random.Float64()*9-4)
		list := func() (all []interval) {
			for range random.IntN(6) {
				from := random.Float64()*1.4 - 0.2
				all = append(all, interval{moment(from * span), moment((from + random.Float64()*0.7 - 0.1) * span)})
			}
			return all
		}
		s := newScale(moment(0), moment(0), moment(span), 100, 500, list(), list())
		last := math.Inf(-1)
		for i := -5; i <= 105; i++ {
			x := s.x(moment(span * float64(i) / 100))
			if x < last || x < 100-1e-6 || x > 500+1e-6 || math.IsNaN(x) {
				t.Fatalf("%v of %v s is at %v after %v: %+v", i, span, x, last, s.parts)
			}
			last = x
		}
		if first, end := s.x(moment(0)), s.x(moment(span)); math.Abs(first-100) > 1e-6 || math.Abs(end-500) > 1e-6 {
			t.Fatalf("the axis goes from %v to %v: %+v", first, end, s.parts)
		}
		before := math.Inf(-1)
		for _, tick := range s.ticks(60) {
			if tick.x < before || tick.x < 100-1e-6 || tick.x > 500+1e-6 {
				t.Fatalf("tick %q at %v after %v", tick.label, tick.x, before)
			}
			before = tick.x
		}
	}
}

func TestOnlyLongWaitsAreShortened(t *testing.T) {
	for _, row := range []struct {
		name   string
		wait   interval
		broken int
	}{
		{"most of the run", interval{moment(1), moment(90)}, 1},
		{"half of it", interval{moment(1), moment(51)}, 1},
		{"a third", interval{moment(1), moment(34)}, 0},
		{"none", interval{moment(1), moment(1)}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScale(moment(0), moment(0), moment(100), 0, 600, nil, []interval{row.wait})
			broken := 0
			for _, p := range s.parts {
				if p.broken {
					broken++
					if w := p.x1 - p.x0; w > 310 {
						t.Errorf("a break of %v", w)
					}
				}
			}
			if broken != row.broken {
				t.Errorf("%d breaks, want %d", broken, row.broken)
			}
		})
	}
}

func TestARunWithoutDurationHasAnAxis(t *testing.T) {
	s := newScale(moment(5), moment(5), moment(5), 10, 20, nil, nil)
	if x := s.x(moment(5)); x != 10 {
		t.Errorf("its moment is at %v", x)
	}
}
