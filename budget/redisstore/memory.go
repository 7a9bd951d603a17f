package redisstore

import (
	"maps"
	"strings"
	"sync"
	"time"
)

// memory is what this process could tell books that forgot: their caps, the highest sums it has seen, and what it has
// reserved and not ended.
type memory struct {
	mu     sync.Mutex
	epoch  string
	seq    int64
	caps   map[string]packed
	counts map[string]sums
	holds  map[string]*hold
	lent   map[string]lent // by the id of an allowance
	prune  int             // holds are looked through when there are this many
}

// sums are in the meter's unit, times in microseconds. ends is when they are of no use any more, 0 never; at is when those
// of a rolling count were seen, 0 for other windows.
type sums struct{ settled, unconfirmed, overrun, ends, at int64 }

// hold is a reservation as it was asked for.
type hold struct {
	id, swap, from, scopes, bound string
	taken                         string // of what from names
	idle                          bool
	again                         bool // it was reserved before, perhaps for other counts
	lease                         time.Duration
	counts                        []*counted
	ends                          time.Time // by this machine's clock, and only to bound the memory
}

// lent is what was drawn from an allowance as of a change of the books.
type lent struct {
	drawn string
	seq   int64
}

const (
	maxCounts = 50_000
	maxLent   = 10_000
	minPrune  = 4096
)

func newMemory() *memory {
	return &memory{caps: map[string]packed{}, counts: map[string]sums{}, holds: map[string]*hold{}, lent: map[string]lent{}, prune: minPrune}
}

// place is the epoch of the books and the number of the last change that this process has an answer for.
func (m *memory) place() (string, int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.epoch, m.seq
}

// at notes an answer to a call that knew the books as known. Of two calls under way at once the later answer may be the older,
// and what another has found out about new books stands.
func (m *memory) at(known, epoch string, seq int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch m.epoch {
	case epoch:
		m.seq = max(m.seq, seq)
	case known:
		m.epoch, m.seq = epoch, seq
	}
}

func (m *memory) cap(id string, op packed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.caps[id] = op
}

// forgetCap drops caps that are gone.
func (m *memory) forgetCap(gone func(id string) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.caps, func(id string, _ packed) bool { return gone(id) })
}

// forgetRun drops the counts of a run.
func (m *memory) forgetRun(run string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.counts, func(key string, _ sums) bool {
		lines := strings.Split(key, "\n")
		for _, line := range lines[2 : len(lines)-2] {
			if line == run {
				return true
			}
		}
		return false
	})
}

// hold remembers a reservation that was granted.
func (m *memory) hold(h *hold) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.holds) >= m.prune {
		maps.DeleteFunc(m.holds, func(_ string, h *hold) bool { return now.After(h.ends) })
		m.prune = max(minPrune, 2*len(m.holds))
	}
	h.ends = now.Add(h.lease)
	m.holds[h.id] = h
}

func (m *memory) renew(id string, lease time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.holds[id]; ok {
		h.ends = time.Now().Add(lease)
	}
}

func (m *memory) end(ids ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		if h := m.holds[id]; h != nil && h.idle {
			delete(m.lent, id)
		}
		delete(m.holds, id)
	}
}

// held is a reservation that this process has open, nil if it has not.
func (m *memory) held(id string) *hold {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.holds[id]
}

// lend remembers what was drawn from an allowance: the latest that was said, and of what one change did in several steps the
// most, which lets nobody draw what is not there.
func (m *memory) lend(id, drawn string, seq int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, known := m.lent[id]
	switch {
	case !known && len(m.lent) >= maxLent:
		maps.DeleteFunc(m.lent, func(id string, _ lent) bool { return m.holds[id] == nil })
	case old.seq > seq, old.seq == seq && !exceeds(drawn, old.drawn):
		return
	}
	m.lent[strings.Clone(id)] = lent{strings.Clone(drawn), seq}
}

// exceeds reports whether amounts are above others of any meter.
func exceeds(drawn, old string) bool {
	a, errA := parseAmounts(drawn)
	b, errB := parseAmounts(old)
	return errA == nil && errB == nil && !above(a, b).IsZero()
}

// count remembers sums; the highest, because answers may be read in another order than they were made. Those of a rolling
// count go down as time passes, so of them it is the latest, and the highest of one instant.
func (m *memory) count(key string, s sums) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old, known := m.counts[key]
	if !known {
		if s.settled == 0 {
			return
		}
		if len(m.counts) >= maxCounts {
			now := time.Now().UnixMicro()
			maps.DeleteFunc(m.counts, func(_ string, s sums) bool { return s.ends > 0 && s.ends < now })
			if len(m.counts) >= maxCounts {
				return
			}
		}
		key = strings.Clone(key)
	}
	if s.at < old.at {
		return
	}
	if s.at > old.at {
		m.counts[key] = s
		return
	}
	s.settled, s.unconfirmed, s.overrun = max(s.settled, old.settled), max(s.unconfirmed, old.unconfirmed), max(s.overrun, old.overrun)
	m.counts[key] = s
}

// declarations are everything that is known, a hundred rows to an operation.
func (m *memory) declarations() []packed {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rows [4][]packed
	for _, c := range m.caps {
		rows[0] = append(rows[0], c)
	}
	for key, s := range m.counts {
		ends := s.ends
		if s.at > 0 {
			ends = 0
		}
		rows[1] = append(rows[1], packed(nil).array(6).text(key).int(s.settled).int(s.unconfirmed).int(s.overrun).int(ends).int(s.at))
	}
	for _, h := range m.holds {
		rows[2] = append(rows[2], h.pack(0, false))
	}
	for id, l := range m.lent {
		rows[3] = append(rows[3], packed(nil).array(3).text(id).text(l.drawn).int(l.seq))
	}
	var out []packed
	for len(rows[0])+len(rows[1])+len(rows[2])+len(rows[3]) > 0 {
		op := packed(nil).array(5).text("declare")
		for i := range rows {
			n := min(len(rows[i]), 100)
			op = op.array(n)
			for _, row := range rows[i][:n] {
				op = append(op, row...)
			}
			rows[i] = rows[i][n:]
		}
		out = append(out, op)
	}
	return out
}

// teach tells books that forgot what this process knows. Until then, and for a while after, they reserve nothing new.
func (a *account) teach() error {
	ops := a.memory.declarations()
	if _, _, err := a.ask(nil, true, anything); err != nil {
		return err
	}
	for _, op := range ops {
		if _, forgot, err := a.ask([]packed{op}, false, anything); err != nil || forgot {
			return err // forgotten again: the next call finds out and begins anew
		}
	}
	return nil
}
