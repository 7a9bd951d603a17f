package gridtest

import (
	"net/http"
	"time"
)

// A Fault is something that goes wrong with a chat request.
//
// A fault counts the requests that reach its hop from the moment it is armed.
// It strikes at request On and the Times-1 behind it, or by chance with Rate.
// Where two faults strike the same request, the one armed first does.
type Fault struct {
	Instrument string  // "": any
	On         int     // the first request it strikes, from 1. Zero: 1
	Times      int     // how many requests it strikes. Zero: 1, with Rate: no end. Negative: no end
	Rate       float64 // chance per request from On on, by the market's seed. Zero: certain
	Kind       Kind

	// Hop is where it strikes: 1, the router, or 2, the supplier behind the
	// redirect. Zero: 1 for Status, 2 for DropConnection, HTML and EmptyBody.
	// The other kinds have a hop of their own.
	Hop int

	Status     int           // for Status: 400 or above; for HTML: zero is 200
	RetryAfter time.Duration // for Status: the header, in whole seconds; zero: none
	Detail     string        // for Status: the error text; zero: the status text

	// Billed bills a Status at hop 2 in full, as if the supplier had done the
	// work and then failed to say so.
	Billed bool

	AfterChunks int  // for CutStream: events sent before the cut
	AfterBytes  int  // for CutStream: bytes sent before the cut, instead of AfterChunks
	CleanEnd    bool // for CutStream: the body ends as if it were whole, instead of a broken connection

	Delay time.Duration // for SlowStream: before each chunk
}

// Kind is what goes wrong.
type Kind int

const (
	Status         Kind = iota // an error status
	CutStream                  // the answer breaks off, also one that is not streamed; billed in full
	DropConnection             // the request is read, then the connection closed; at hop 2 billed in full
	SlowStream                 // Delay before every chunk
	HTML                       // a page of HTML; at hop 2 with a status of 200 billed in full
	EmptyBody                  // status 200 without a body; at hop 2 billed in full
	NoChoices                  // an answer without choices; billed in full
	CreditsEmpty               // the account's credits are gone from here on, until SetCredits
)

// TopUpRun is the documented course of a dry instrument, as faults: the first
// request gets 402, the second 503, the third is served. Balances and credits
// stay as they are; for a real purchase use [Market.SetBalance].
func TopUpRun(instrument string) []Fault {
	return []Fault{
		{Instrument: instrument, On: 1, Status: http.StatusPaymentRequired,
			Detail: "Insufficient USD balance, or no token capacity available for this instrument"},
		{Instrument: instrument, On: 2, Status: http.StatusServiceUnavailable,
			Detail: "Balance replenishment in progress. Retry the request after a short delay."},
	}
}

type armed struct {
	Fault
	index uint64
	seen  int
	hits  int
}

// Fault arms faults. What is wrong with one is reported by [Market.AssertDone].
func (m *Market) Fault(faults ...Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range faults {
		if f.Hop == 0 {
			switch f.Kind {
			case Status, CreditsEmpty:
				f.Hop = 1
			default:
				f.Hop = 2
			}
		}
		switch {
		case f.Kind < Status || f.Kind > CreditsEmpty:
			m.failLocked("fault: there is no kind %d", f.Kind)
		case f.Kind == Status && (f.Status < 400 || f.Status > 599):
			m.failLocked("fault: status %d: it must be 400 to 599", f.Status)
		case f.Kind == HTML && f.Status != 0 && (f.Status < 200 || f.Status > 599):
			m.failLocked("fault: status %d: it must be 200 to 599", f.Status)
		case f.Hop != 1 && f.Hop != 2,
			f.Hop == 1 && (f.Kind == CutStream || f.Kind == SlowStream || f.Kind == NoChoices),
			f.Hop == 2 && f.Kind == CreditsEmpty:
			m.failLocked("fault: kind %d cannot strike at hop %d", f.Kind, f.Hop)
		case f.On < 0 || f.Rate < 0 || f.Rate > 1:
			m.failLocked("fault: On %d, Rate %v: On counts from 1, Rate is 0 to 1", f.On, f.Rate)
		case f.Instrument != "" && m.accountLocked("fault", f.Instrument) == nil:
		default:
			m.faults = append(m.faults, &armed{Fault: f, index: uint64(len(m.faults))})
		}
	}
}

// strikeLocked counts a request at a hop and returns what strikes it, or nil.
func (m *Market) strikeLocked(hop int, instrument string) *Fault {
	var struck *Fault
	for _, f := range m.faults {
		if f.Hop != hop || f.Instrument != "" && f.Instrument != instrument {
			continue
		}
		f.seen++
		if struck == nil && f.strikes(m) {
			f.hits++
			struck = &f.Fault
		}
	}
	return struck
}

func (f *armed) strikes(m *Market) bool {
	if f.seen < f.On {
		return false
	}
	times := f.Times
	if times == 0 && f.Rate == 0 {
		times = 1
	}
	if times > 0 && f.hits >= times {
		return false
	}
	return f.Rate == 0 || m.chance("fault", f.index<<32|uint64(f.seen)) < f.Rate
}

func (f *Fault) refusal() *refusal {
	if f.Detail != "" {
		return &refusal{status: f.Status, detail: f.Detail}
	}
	return &refusal{status: f.Status, detail: http.StatusText(f.Status)}
}
