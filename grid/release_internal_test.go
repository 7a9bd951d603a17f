package grid

import (
	"testing"
	"time"
)

// letting drives a release by hand.
type letting struct {
	t   *testing.T
	r   release
	now time.Time
}

// stage lets out as many as may go, of which in are let in and the others' answers say
// nothing, and returns how many went.
func (l *letting) stage(in int) (went int) {
	l.t.Helper()
	var passes []*pass
	for l.r.room() > 0 {
		passes = append(passes, &pass{stage: l.r.hand(l.now)})
	}
	for i, p := range passes {
		l.r.back(p)
		if i < in {
			l.r.admitted(p, l.now)
		}
	}
	l.r.next()
	return len(passes)
}

func (l *letting) want(in int, stages ...int) {
	l.t.Helper()
	for i, n := range stages {
		if got := l.stage(in); got != n {
			l.t.Fatalf("stage %d lets %d out, want %d", i, got, n)
		}
	}
}

const all = 1 << 20

func TestAReleaseGrowsByStagesThatWereLetInWhole(t *testing.T) {
	l := &letting{t: t, now: time.Unix(1000, 0)}
	l.r.begin(16, l.now)
	l.want(all, 2, 4)
	l.want(7, 8) // one met a broken server: that says nothing of a larger stage
	l.want(all, 8, 16, 16)
}

func TestAReleaseRemembersWhatTheLotServed(t *testing.T) {
	l := &letting{t: t, now: time.Unix(1000, 0)}
	l.r.begin(64, l.now)
	l.want(all, 2, 4)
	var passes []*pass
	for range 8 {
		passes = append(passes, &pass{episode: 5, stage: l.r.hand(l.now)})
	}
	for _, p := range passes[:2] {
		l.r.back(p)
		l.r.admitted(p, l.now)
	}
	l.r.dry(5)
	l.r.end()
	l.r.straggler(5) // was let in, and heard of later
	l.r.straggler(4)
	l.r.begin(64, l.now)
	// The probe, two, four and two of the last stage, and the straggler: ten. Then one alone.
	l.want(all, 2, 4, 3, 1)
	// It was let in: this lot is larger.
	l.want(all, 2, 4, 8)
	l.r.forget()
	l.r.begin(64, l.now)
	l.want(all, 2, 4, 8, 16)
}

func TestASilentStageCountsAsLetIn(t *testing.T) {
	l := &letting{t: t, now: time.Unix(1000, 0)}
	l.r.begin(64, l.now)
	var silent []*pass
	for l.r.room() > 0 {
		silent = append(silent, &pass{stage: l.r.hand(l.now)})
	}
	l.r.silence()
	l.want(all, 4)
	for _, p := range silent {
		l.r.back(p)
		l.r.admitted(p, l.now)
	}
	if l.r.out != 0 || l.r.served != 1+2+4 {
		t.Errorf("%+v", l.r)
	}
	l.want(all, 8)
}

func TestOneThatDidNotGoLeavesItsPlace(t *testing.T) {
	l := &letting{t: t, now: time.Unix(1000, 0)}
	l.r.begin(64, l.now)
	p := &pass{stage: l.r.hand(l.now)}
	l.r.back(p)
	l.r.unsent(p)
	l.r.next()
	l.want(all, 2, 4)
}
