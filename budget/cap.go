package budget

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// None is the limit of a cap that counts but never denies. It is how "no limit" is written: a limit of zero is an error.
const None int64 = math.MaxInt64

// maxLimit keeps settled + held + requested far from the end of int64.
const maxLimit int64 = 1 << 61

// Cap is a limit on what a target may use of a meter in one turn of a window.
//
// Every scope that an Each target matches has its own count. A cap for one scope replaces the cap for each of the same
// kinds, meter and window for that scope, so that one tenant or run can be given more or less than the rest. Caps that
// differ in kinds, meter or window hold side by side.
type Cap struct {
	For   Target
	Meter Meter
	// Limit in the meter's own unit (nano-USD for money): positive, or None.
	Limit int64
	Per   Window
	// Soft lists the percentages of Limit at which settled spending is announced, once per count; nil is 50, 80 and 95, an
	// empty list is none.
	Soft []int
}

// ID names the cap by target, meter and window: "each tenant money day Europe/Berlin". Limit and Soft may change; a cap
// with another ID is another cap.
func (c Cap) ID() string { return c.For.String() + " " + string(c.Meter) + " " + c.Per.String() }

// Validate reports everything that is wrong with the cap, joined, each as a [*FieldError] that names field and fix.
func (c Cap) Validate() error {
	var errs fieldErrors
	errs.wrap("", c.For.Validate())
	errs.wrap("", c.Meter.Validate())
	errs.wrap("", c.Per.Validate())
	switch {
	case c.Limit == 0:
		errs.add("Limit", "a limit of zero", "write a positive limit, or budget.None for no limit")
	case c.Limit < 0:
		errs.add("Limit", fmt.Sprintf("%d is negative or not a number", c.Limit), "write a positive limit, or budget.None for no limit")
	case c.Limit > maxLimit && c.Limit != None:
		errs.add("Limit", fmt.Sprintf("%d overflows", c.Limit), fmt.Sprintf("write at most %d, or budget.None for no limit", maxLimit))
	}
	for i, p := range c.Soft {
		if p < 1 || p > 100 {
			errs.add("Soft", fmt.Sprintf("%d is no percentage of the limit", p), "write 1 to 100")
		}
		if slices.Contains(c.Soft[:i], p) {
			errs.add("Soft", fmt.Sprintf("%d stands twice", p), "write it once")
		}
	}
	return errs.join()
}

// Thresholds are the percentages of [Cap.Soft] in rising order, the default filled in. A store fires each once per count.
func (c Cap) Thresholds() []int {
	if c.Soft == nil {
		return []int{50, 80, 95}
	}
	return slices.Sorted(slices.Values(c.Soft))
}

// same reports whether d would change nothing in a cap with the same ID.
func (c Cap) same(d Cap) bool {
	return c.Limit == d.Limit && slices.Equal(c.Thresholds(), d.Thresholds())
}

// CapRecord is a cap as it is in force.
type CapRecord struct {
	Cap
	// Version is the account's version at which the cap was last changed, By whom, and At when.
	Version int64
	By      string
	At      time.Time
	// Removed is set, in answers to [Store.Caps] only, on a cap that is gone; only its ID is meaningful then.
	Removed bool
	// Key is [Cap.ID].
	Key string
}

// Change is one entry in the account's record of who changed what.
type Change struct {
	Version int64
	At      time.Time
	By      string
	What    string // "define", "freeze", "unfreeze"
	// Cap, Old and New are set for "define": the cap's ID and its limits; Old is 0 for a cap that was not there.
	Cap      string
	Old, New int64
	// Scope, Reason and Until are set for "freeze", Scope also for "unfreeze".
	Scope  Scope
	Reason string
	Until  time.Time
}

// CapState is where one count of one cap stands.
type CapState struct {
	Cap string // Cap.ID
	// Scope is what the count is kept for; under a target of several conditions it is the foremost of Scopes.
	Scope  Scope
	Scopes []Scope // shared and never changed
	Meter  Meter
	Window string
	// Start and Reset bound this turn of the window; both are zero under a lifetime cap. Under a rolling one Start is zero,
	// and Reset is when the oldest spending leaves, zero if nothing was spent.
	Start, Reset time.Time
	Limit        int64 // None when the cap never denies
	Settled      int64 // spent, with what was charged
	Held         int64 // open reservations
	Unconfirmed  int64 // the part of Settled that was charged at the bound and has no receipt yet
	Overrun      int64 // the part of Settled that came on top of what was reserved
	Left         int64 // what a reservation may still ask for; None without a limit
}

// Crossing says that settled spending reached a soft threshold. Each threshold is reported by exactly one answer per count.
type Crossing struct {
	Cap     string
	Scope   Scope
	Meter   Meter
	Percent int
	Settled int64
	Limit   int64
	Reset   time.Time
}
