package grid

import "time"

// release lets a line of waiting calls out behind a probe that was served, so that no
// more than are under way when the new tokens are used up are sent in vain.
//
// It goes by stages: two, four, eight ... calls, each stage when the market has let in
// all of the one before. From ReleaseMax on one follows for each that was let in. Where
// the balance ran dry in the middle, it remembers what the lot of tokens had served:
// after the next top-up that many follow in stages, and the one behind them asks alone.
// If it is let in, the lot is a larger one, and the stages begin anew.
//
// The account's mutex guards it.
type release struct {
	most   int // the size of a stage from which on it is steady
	window int // the size of the present stage
	// handed and let count the calls of the present stage that went and that were let
	// in; out are under way. served counts those let in behind this top-up.
	handed, let, out, served int
	stage                    uint64
	quiet                    time.Time // when anything last moved

	lot     int    // calls that the last lot served; 0 is unknown
	counted uint64 // the episode of that lot, whose last calls may still be let in
}

// begin follows a probe that was let in.
func (r *release) begin(most int, now time.Time) {
	r.end()
	r.most, r.window, r.served, r.quiet, r.counted = most, min(2, most), 1, now, 0
}

func (r *release) end() {
	r.stage++
	r.window, r.handed, r.let, r.out = 0, 0, 0, 0
}

// forget is for a balance that had enough for all.
func (r *release) forget() { r.lot = 0 }

// room is how many may go now.
func (r *release) room() int {
	free := r.window - r.handed
	if r.window >= r.most {
		free = r.window - r.out
	}
	if r.lot == 0 {
		return free
	}
	if rest := r.lot - r.served - r.out; rest > 0 {
		return min(free, rest)
	}
	return 1 - r.out
}

// hand counts one that goes, and returns its stage.
func (r *release) hand(now time.Time) (stage uint64) {
	r.handed++
	r.out++
	r.quiet = now
	return r.stage
}

// back takes note of one that has its answer.
func (r *release) back(p *pass) {
	if p.stage == r.stage {
		r.out--
	}
}

// unsent takes note of one that is back without having gone.
func (r *release) unsent(p *pass) {
	if p.stage == r.stage {
		r.handed--
	}
}

// admitted takes note of one that is back and was let in.
func (r *release) admitted(p *pass, now time.Time) {
	r.quiet = now
	if p.stage != r.stage {
		return // it was silent for long, and counted as let in then
	}
	r.let++
	if r.served++; r.lot > 0 && r.served > r.lot {
		r.lot, r.window, r.handed, r.let = 0, min(2, r.most), 0, 0
	}
}

// next begins another stage when the present one has all its answers.
func (r *release) next() {
	if r.out > 0 || r.handed == 0 {
		return
	}
	if r.let == r.handed && r.handed >= r.window {
		r.window = min(2*r.window, r.most)
	}
	r.handed, r.let = 0, 0
	r.stage++
}

// silence takes all that are under way for let in: a market without tokens says so at
// once, and they have no answer for long.
func (r *release) silence() {
	r.served += r.out
	r.window = min(2*r.window, r.most)
	r.handed, r.let, r.out, r.lot = 0, 0, 0, 0
	r.stage++
}

// dry takes note that the balance ran dry in this release.
func (r *release) dry(episode uint64) { r.lot, r.counted = r.served, episode }

// straggler takes note of one of an earlier episode that was let in: it was on its way
// when another heard that the balance is dry, and belongs to the same lot.
func (r *release) straggler(episode uint64) {
	if episode == r.counted {
		r.lot++
	}
}
