package ops

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// FreezeRequest is the body of POST freeze. A second freeze of a scope replaces the first.
type FreezeRequest struct {
	Scope  string     `json:"scope"` // "tenant acme", "account"
	Reason string     `json:"reason"`
	Until  *time.Time `json:"until,omitempty"` // none: until it is unfrozen
}

// UnfreezeRequest is the body of POST unfreeze.
type UnfreezeRequest struct {
	Scope string `json:"scope"`
}

// CapRequest is the body of POST caps: a new cap, or another limit for one that is there.
type CapRequest struct {
	For   string `json:"for"`   // "each tenant", "instrument agent-max"
	Meter string `json:"meter"` // "money", "tokens", ...
	Per   string `json:"per"`   // "day Europe/Berlin", "lifetime"
	Limit string `json:"limit"` // "$5.00" for money, else a whole number; or "none"
	Soft  []int  `json:"soft,omitempty"`
}

// CancelRequest is the body of POST runs/{id}/cancel.
type CancelRequest struct {
	Reason string `json:"reason"`
}

// CanceledError is the cause of a run that an operator ended.
type CanceledError struct{ By, Reason string }

func (e *CanceledError) Error() string {
	if e.Reason == "" {
		return "ops: the run was cancelled by " + e.By
	}
	return "ops: the run was cancelled by " + e.By + ": " + e.Reason
}

const maxReason = 512

func reason(text string) error {
	if len(text) > maxReason {
		return bad("a reason of %d bytes: write at most %d", len(text), maxReason)
	}
	return nil
}

func (s *server) freeze(r *http.Request, who string) (any, error) {
	var in FreezeRequest
	if err := read(r, &in); err != nil {
		return nil, err
	}
	scope, err := scopeOf(in.Scope)
	if err == nil {
		err = reason(in.Reason)
	}
	if err != nil {
		return nil, err
	}
	var until time.Time
	if in.Until != nil {
		if until = *in.Until; !until.After(time.Now()) {
			return nil, bad("until is over already: leave it out, or write a time to come")
		}
	}
	if err := s.ledger.Freeze(r.Context(), scope, in.Reason, until, who); err != nil {
		return nil, err
	}
	return s.freezes(r)
}

func (s *server) unfreeze(r *http.Request, who string) (any, error) {
	var in UnfreezeRequest
	if err := read(r, &in); err != nil {
		return nil, err
	}
	scope, err := scopeOf(in.Scope)
	if err != nil {
		return nil, err
	}
	if err := s.ledger.Unfreeze(r.Context(), scope, who); err != nil {
		return nil, err
	}
	return s.freezes(r)
}

func (s *server) setCap(r *http.Request, who string) (any, error) {
	var in CapRequest
	if err := read(r, &in); err != nil {
		return nil, err
	}
	c := budget.Cap{Meter: budget.Meter(in.Meter), Soft: in.Soft}
	var err error
	if c.For, err = budget.ParseTarget(in.For); err != nil {
		return nil, err
	}
	if c.Per, err = budget.ParseWindow(in.Per); err != nil {
		return nil, err
	}
	switch {
	case in.Limit == "none":
		c.Limit = budget.None
	case c.Meter == budget.MeterMoney:
		c.Limit, err = budget.ParseUSD(in.Limit)
	default:
		if c.Limit, err = strconv.ParseInt(in.Limit, 10, 64); err != nil {
			err = bad("limit %q: write a whole number, or none", in.Limit)
		}
	}
	if err != nil {
		return nil, err
	}
	var old *budget.CapRecord
	caps, err := s.ledger.Caps(r.Context())
	if err != nil {
		return nil, err
	}
	for i := range caps {
		if caps[i].ID() == c.ID() {
			old = &caps[i]
		}
	}
	out := struct {
		Cap string `json:"cap"`
		New *int64 `json:"new"`
		Old *int64 `json:"old"`
		Was bool   `json:"was_there"`
	}{Cap: c.ID(), New: limitOf(c.Limit)}
	if old != nil {
		out.Was, out.Old = true, limitOf(old.Limit)
		if in.Soft == nil {
			c.Soft = old.Soft
		}
	}
	if err := s.ledger.Define(r.Context(), who, c); err != nil {
		return nil, err
	}
	return out, nil
}

func (s *server) cancel(r *http.Request, who string) (any, error) {
	var in CancelRequest
	if err := read(r, &in); err != nil {
		return nil, err
	}
	if err := reason(in.Reason); err != nil {
		return nil, err
	}
	l, err := s.find(r)
	if err != nil {
		return nil, err
	}
	if l.Parent != "" {
		return nil, &problem{http.StatusConflict, "has_parent", fmt.Sprintf("run %s was called by run %s: cancel that one, they end together", l.ID, l.Parent)}
	}
	l.Cancel(&CanceledError{By: who, Reason: in.Reason})
	return map[string]any{"cancelled": l.ID}, nil
}
