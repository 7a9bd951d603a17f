package grid

import (
	"errors"
	"io"
	"sync"
)

// metered watches an answer go by and ends its attempt once, when it was read to its
// end, broke off or was closed. Like any answer it may be closed while it is read.
type metered struct {
	io.ReadCloser
	mu     sync.Mutex // of what follows
	ans    answer
	end    func(*metered)
	ended  bool
	over   bool  // its end was read, or it broke off
	broken error // of reading the bytes
	odd    error // of understanding them
}

func (m *metered) Read(b []byte) (int, error) {
	n, err := m.ReadCloser.Read(b)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.odd == nil && !m.ended {
		m.odd = m.ans.feed(b[:n])
	}
	if err != nil && !m.ended {
		m.over = true
		if err != io.EOF {
			m.broken = err
		}
		m.finish()
	}
	return n, err
}

func (m *metered) Close() error {
	m.mu.Lock()
	m.finish()
	m.mu.Unlock()
	return m.ReadCloser.Close()
}

func (m *metered) finish() {
	if !m.ended {
		m.ended = true
		m.end(m)
	}
}

func (m *metered) verdict(v *Verdict) {
	err := m.odd
	if err == nil {
		err = m.ans.conclude(m.broken != nil)
	}
	v.Usage = readUsage(m.ans.usage)
	v.ResponseID, v.Model, v.FinishReason, v.FirstDelta = m.ans.id, m.ans.model, m.ans.assembly.finish, m.ans.first
	switch {
	case err == nil:
		v.Billed, v.Class = BilledYes, ""
	case err == errFault:
		v.Class, v.Err = classifyInner(*m.ans.failure).class, err
	case errors.Is(err, ErrCut):
		v.Class, v.Err = ClassCut, err
	default:
		v.Class, v.Err = ClassMalformed, err
	}
}
