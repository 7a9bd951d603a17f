package grid

import "time"

// retryBudget bounds the load that retries add when much fails: first attempts earn a
// share of a retry each, time earns a floor, retries spend. Its owner's lock guards it.
type retryBudget struct {
	level float64
	at    time.Time // zero: not used yet
}

func (b *retryBudget) fill(r *Retry, now time.Time) {
	if b.at.IsZero() {
		b.level = r.BudgetFloor
	} else {
		b.level += r.BudgetFloor * now.Sub(b.at).Minutes()
	}
	b.at = now
	b.level = min(b.level, r.BudgetMax)
}

func (b *retryBudget) earn(r *Retry, now time.Time) {
	b.fill(r, now)
	b.level = min(b.level+r.BudgetRatio, r.BudgetMax)
}

// spend takes cost, or nothing if there is less.
func (b *retryBudget) spend(r *Retry, cost float64, now time.Time) bool {
	if r.BudgetMax < 0 {
		return true
	}
	b.fill(r, now)
	if b.level < cost {
		return false
	}
	b.level -= cost
	return true
}
