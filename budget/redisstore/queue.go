package redisstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// most is how many operations share one call.
const most = 128

// rank orders operations inside a call: those that give money back go before those that ask for it.
type rank uint8

const (
	settling rank = iota
	reserving
)

// account is the queue of one account and what its answers have told. An operation that finds no call under way starts one
// at once, on a goroutine that ends when the queue is empty, so an idle store has none.
type account struct {
	store *Store
	name  string
	keys  []string
	names names

	mu       sync.Mutex
	waiting  []*task
	draining bool

	memory    *memory
	inspected time.Time // by whoever drains
}

type task struct {
	rank  rank
	op    packed
	rare  bool // not only about a reservation
	said  string
	err   error
	state atomic.Uint32
	done  chan struct{}
}

const (
	queued uint32 = iota
	taken
	left
)

func (a *account) do(ctx context.Context, rank rank, op packed, rare bool) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("redisstore: nothing was done: %w", context.Cause(ctx))
	}
	t := &task{rank: rank, op: op, rare: rare, done: make(chan struct{})}
	if !a.push(t) {
		return "", ErrClosed
	}
	select {
	case <-t.done:
		return t.said, t.err
	case <-ctx.Done():
		if t.state.CompareAndSwap(queued, left) {
			return "", fmt.Errorf("redisstore: nothing was done: %w", context.Cause(ctx))
		}
		return "", fmt.Errorf("redisstore: nobody knows what was done: %w", context.Cause(ctx))
	}
}

func (a *account) push(t *task) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.draining {
		a.store.mu.Lock()
		closed := a.store.closed
		if !closed {
			a.store.drains.Add(1)
		}
		a.store.mu.Unlock()
		if closed {
			return false
		}
		a.draining = true
		go a.drain()
	}
	a.waiting = append(a.waiting, t)
	return true
}

func (a *account) drain() {
	defer a.store.drains.Done()
	for {
		tasks := a.take()
		if tasks == nil {
			return
		}
		if len(tasks) == 0 { // all of them have left
			continue
		}
		ops, rare := make([]packed, len(tasks)), false
		for i, t := range tasks {
			ops[i], rare = t.op, rare || t.rare
		}
		said, err := a.call(ops, rare)
		for i, t := range tasks {
			if t.err = err; err == nil {
				t.said = said[i]
			}
			close(t.done)
		}
	}
}

// take removes the next operations from the queue, in the order in which they are to be applied; nil ends the drain.
func (a *account) take() []*task {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) == 0 {
		a.draining = false
		return nil
	}
	out, n := []*task{}, 0
	for ; n < len(a.waiting) && len(out) < most; n++ {
		if t := a.waiting[n]; t.state.CompareAndSwap(queued, taken) {
			out = append(out, t)
		}
	}
	a.waiting = slices.Delete(a.waiting, 0, n)
	slices.SortStableFunc(out, func(x, y *task) int { return int(x.rank) - int(y.rank) })
	return out
}

// call has the script do ops, and answers what it said to each. Only one is under way for an account.
func (a *account) call(ops []packed, rare bool) ([]string, error) {
	for range 3 {
		said, forgot, err := a.ask(ops, false, rare)
		if err != nil || !forgot {
			return said, err
		}
		if err := a.teach(); err != nil {
			return nil, err
		}
	}
	return nil, ErrLearning
}

// ask is one call of the script. forgot says that the books are not those of the answers before, and nothing was done.
func (a *account) ask(ops []packed, learn, rare bool) (said []string, forgot bool, err error) {
	s := a.store
	epoch, seq := a.memory.place()
	inspect := time.Since(a.inspected) > inspectEach
	header := packed(nil).array(12).int(schema).text(epoch).int(seq).text(freshEpoch()).flag(inspect).flag(!s.existing).int(s.keep).flag(s.releases).
		int(dedup.Microseconds()).flag(learn).int(s.learning.Microseconds()).
		int(s.ahead.Load())
	args := make([]any, 0, len(ops)+1)
	args = append(args, []byte(header))
	for _, op := range ops {
		args = append(args, []byte(op))
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	script := s.few
	if rare {
		script = s.all
	}
	reply, err := s.eval(ctx, script, a.keys, args)
	if err != nil {
		return nil, false, err
	}
	u := unpacked{rest: reply[0]}
	u.array()
	switch word := u.text(); {
	case word == "ok" && len(reply) == len(ops)+1:
		u.int()
		epoch, seq = u.text(), u.int()
		if u.bad {
			return nil, false, nonsense("a header")
		}
		if inspect {
			a.inspected = time.Now()
		}
		a.memory.at(epoch, seq)
		return reply[1:], false, nil
	case word == "forgot":
		return nil, true, nil
	case word == "missing":
		return nil, false, ErrMissing
	case word == "evicts":
		return nil, false, &EvictionError{Policy: u.text()}
	case word == "schema":
		return nil, false, &SchemaError{Have: int(u.int()), Want: schema}
	}
	return nil, false, nonsense("a header")
}
