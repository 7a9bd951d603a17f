package tools

import (
	"context"
	"encoding/json"
	"math"
	"regexp"
	"time"
)

const (
	// DefaultTimeout is how long a call may run when [Timeout] says nothing.
	DefaultTimeout = 60 * time.Second
	// NoTimeout given to [Timeout] lets a call run as long as its context.
	NoTimeout = time.Duration(math.MaxInt64)
	// DefaultGrace is how long an ended call is waited for when [Grace] says nothing.
	DefaultGrace = 5 * time.Second
	// DefaultMaxResult is the longest result, in bytes, when [MaxResult] says nothing.
	DefaultMaxResult = 256 << 10
)

// An Option says how a tool may be used. A bad value is reported by [Tool.Err].
type Option func(*definition)

// ReadOnly says that the tool changes nothing, so that the loop may run it
// beside other read-only calls of the same turn.
func ReadOnly() Option {
	return func(d *definition) { d.readOnly = true }
}

// NeedsApproval says that each call waits until a person has allowed it.
func NeedsApproval() Option {
	return func(d *definition) { d.needsApproval = true }
}

// NeedsApprovalFunc decides by the arguments of a call whether it waits for a
// person. The func is given a copy of the arguments, {} when there are none.
// It must return when ctx ends. An error or a panic counts as needed.
func NeedsApprovalFunc(needed func(ctx context.Context, args json.RawMessage) (bool, error)) Option {
	return func(d *definition) {
		if needed == nil {
			d.mistake("the func of NeedsApprovalFunc is nil: give one, or use NeedsApproval")
		}
		d.approval = needed
	}
}

// Timeout ends the context of a call after limit. It must be positive;
// [NoTimeout] removes the default of [DefaultTimeout].
func Timeout(limit time.Duration) Option {
	return func(d *definition) {
		if limit <= 0 {
			d.mistake("timeout %v is not positive: give a duration, or tools.NoTimeout for none", limit)
		}
		d.timeout = limit
	}
}

// EndsRun says that a call that succeeds ends the run, with its result as the
// output of the run.
func EndsRun() Option {
	return func(d *definition) { d.endsRun = true }
}

// Uses says that each call that is carried out uses this much of a meter of the service's own, which caps may
// limit: Uses("emails", 1). A meter is named by lower-case letters, digits, _ and -; the amount is positive.
func Uses(meter string, amount int64) Option {
	return func(d *definition) {
		if !regexp.MustCompile(`^[a-z0-9_-]{1,64}$`).MatchString(meter) {
			d.mistake("the meter %q of Uses does not fit: use 1 to 64 of the characters a-z, 0-9, _ and -", cut(meter, 80))
		}
		if amount <= 0 || amount > maxUse {
			d.mistake("a use of %d is not between 1 and %d: give what one call uses", amount, maxUse)
		}
		if _, twice := d.uses[meter]; twice {
			d.mistake("Uses names the meter %q twice: name it once, with the whole amount", cut(meter, 80))
		}
		if d.uses == nil {
			d.uses = make(map[string]int64, 1)
		}
		d.uses[meter] = amount
	}
}

// maxUse keeps the sums of many calls far from the end of int64.
const maxUse = 1_000_000_000_000

// Grace is how long a call is still waited for after its context has ended,
// before it is reported as abandoned. Zero means not at all.
func Grace(wait time.Duration) Option {
	return func(d *definition) {
		if wait < 0 {
			d.mistake("grace %v is negative: give a duration, or 0 for none", wait)
		}
		d.grace = wait
	}
}

// MaxResult cuts the text of a call to at most this many bytes, plus one
// sentence that tells the model about it. It must be positive; math.MaxInt is no limit.
func MaxResult(bytes int) Option {
	return func(d *definition) {
		if bytes <= 0 {
			d.mistake("a longest result of %d bytes is not positive: give a size, or math.MaxInt for no limit", bytes)
		}
		d.maxResult = bytes
	}
}
