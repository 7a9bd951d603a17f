package h1

import (
	"net"
	"strings"
	"sync"
	"time"
)

// target is what a connection leads to.
type target struct {
	secure bool
	host   string // with the port, if it is named
}

// name returns the host without the port.
func (t target) name() string {
	name := t.host
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, ']') {
		name = name[:i]
	}
	return strings.Trim(name, "[]")
}

func (t target) address() string {
	if i := strings.LastIndexByte(t.host, ':'); i > strings.LastIndexByte(t.host, ']') && i < len(t.host)-1 {
		return t.host
	}
	if t.secure {
		return net.JoinHostPort(t.name(), "443")
	}
	return net.JoinHostPort(t.name(), "80")
}

// idle holds the connections that wait for a request. The one that came last goes
// first: it is the least likely to have been closed. One timer for all of them closes
// those that waited too long; it runs only while there are any.
type idle struct {
	mu    sync.Mutex
	conns map[target][]*conn // the oldest first
	timer *time.Timer
	armed bool
}

func (i *idle) take(to target, limit time.Duration) *conn {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := i.conns[to]
	if len(all) == 0 {
		return nil
	}
	c := all[len(all)-1]
	if limit > 0 && time.Since(c.since) >= limit {
		return nil // nor would the older ones do; the timer closes them
	}
	all[len(all)-1] = nil
	i.conns[to] = all[:len(all)-1]
	return c
}

// put takes a connection in, unless there are enough.
func (i *idle) put(c *conn, limit time.Duration, most int) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := i.conns[c.to]
	if most > 0 && len(all) >= most {
		return false
	}
	if i.conns == nil {
		i.conns = make(map[target][]*conn)
	}
	c.since = time.Now()
	i.conns[c.to] = append(all, c)
	if limit > 0 && !i.armed {
		i.armed = true
		if i.timer == nil {
			i.timer = time.AfterFunc(limit, func() { i.sweep(limit) })
		} else {
			i.timer.Reset(limit)
		}
	}
	return true
}

// sweep closes what waited too long, and comes back when the next will have.
func (i *idle) sweep(limit time.Duration) {
	i.mu.Lock()
	var old []*conn
	next := time.Duration(-1)
	for to, all := range i.conns {
		n := 0
		for n < len(all) && time.Since(all[n].since) >= limit {
			n++
		}
		old = append(old, all[:n]...)
		if n == len(all) {
			delete(i.conns, to)
			continue
		}
		i.conns[to] = append([]*conn(nil), all[n:]...)
		if left := limit - time.Since(all[n].since); next < 0 || left < next {
			next = left
		}
	}
	if i.armed = next >= 0; i.armed {
		i.timer.Reset(max(next, time.Millisecond))
	}
	i.mu.Unlock()
	for _, c := range old {
		c.leave()
	}
}

func (i *idle) closeAll() {
	i.mu.Lock()
	conns := i.conns
	i.conns = nil
	if i.timer != nil {
		i.timer.Stop()
	}
	i.armed = false
	i.mu.Unlock()
	for _, all := range conns {
		for _, c := range all {
			c.leave()
		}
	}
}
