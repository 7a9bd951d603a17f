package redisstore

import (
	"strings"
	"sync"
)

// names are the counts of an account that this process has met, by their keys and by their ids. An id is eight bytes that the
// books give to a count when it begins, so that nobody has to say its key again; no other count ever gets it. Books that do
// not know an id (any more) refuse it, and are told the key.
type names struct {
	mu    sync.RWMutex
	byKey map[string]*counted
	byID  map[string]*counted
}

const (
	maxKeys = 20_000
	idSize  = 8
	noID    = "\x00\x00\x00\x00\x00\x00\x00\x00"
)

// read is what a key says.
func (n *names) read(key []byte) (*counted, error) {
	n.mu.RLock()
	c := n.byKey[string(key)]
	n.mu.RUnlock()
	if c != nil {
		return c, nil
	}
	c, ok := parseKey(string(key))
	if !ok {
		return nil, nonsense("the key of a count")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if known := n.byKey[c.key]; known != nil {
		return known, nil
	}
	if n.byKey == nil || len(n.byKey) >= maxKeys {
		n.byKey, n.byID = map[string]*counted{}, map[string]*counted{}
	}
	n.byKey[c.key] = c
	return c, nil
}

// ids appends the ids of counts to p, if all are known.
func (n *names) ids(p packed, counts []*counted) (packed, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, c := range counts {
		if c.id == "" {
			return nil, false
		}
		p = append(p, c.id...)
	}
	return p, true
}

// is remembers the id of a count.
func (n *names) is(c *counted, id string) {
	n.mu.RLock()
	same := c.id == id
	n.mu.RUnlock()
	if same || id == noID {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.byID, c.id)
	c.id = strings.Clone(id)
	n.byID[c.id] = c
}

// forget drops ids that the books do not know.
func (n *names) forget(counts []*counted) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range counts {
		delete(n.byID, c.id)
		c.id = ""
	}
}

// by is the count of an id; nil if this process has not met it.
func (n *names) by(id string) *counted {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.byID[id]
}
