package redisstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
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

// atOnce is how many calls are under way for an account at most: while the server does one, answers of another are read
// and the next is written.
const atOnce = 2

// need is which form of the script operations need.
type need uint8

const (
	plain        need = iota // reserves and settlements of which nothing is special
	reservations             // all that is about one reservation
	anything
)

// specials is how many calls go without trying the plainest form of the script, when it was found to be too plain: mostly
// it will be again, as long as something is frozen, say.
const specials = 16

// account is the queue of one account and what its answers have told. An operation that finds no call under way starts one
// at once, on a goroutine that ends when there is nothing for it to do, so an idle store has none.
type account struct {
	store *Store
	name  string
	keys  []string
	names names

	mu        sync.Mutex
	waiting   []*task
	calls     int       // under way
	size      int       // operations in them
	unknown   int       // and those of them that nobody waits for any more
	inspected time.Time // when the server's eviction policy was looked at
	tend      bool      // there is something to forget, which the plainest form of the script leaves to others
	special   int       // calls for which that form is not tried, because it lately was too plain

	memory *memory
}

type task struct {
	rank  rank
	op    packed
	need  need
	alone bool // nobody waits for it any more though it was under way; under the account's mu, like ended
	ended bool
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

func (a *account) do(ctx context.Context, rank rank, op packed, need need) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("redisstore: nothing was done: %w", context.Cause(ctx))
	}
	t := &task{rank: rank, op: op, need: need, done: make(chan struct{})}
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
		a.leave(t)
		return "", fmt.Errorf("redisstore: nobody knows what was done: %w", context.Cause(ctx))
	}
}

// leave notes that the caller of an operation under way goes on without its answer. What it asks for next must not overtake
// that operation, so it goes out only after it.
func (a *account) leave(t *task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !t.ended {
		t.alone = true
		a.unknown++
	}
}

func (a *account) push(t *task) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting = append(a.waiting, t)
	if !a.due() {
		return true
	}
	a.store.mu.Lock()
	closed := a.store.closed
	if !closed {
		a.store.drains.Add(1)
	}
	a.store.mu.Unlock()
	if closed {
		a.waiting = a.waiting[:len(a.waiting)-1]
		return false
	}
	a.calls++
	go a.drain()
	return true
}

// due reports whether what waits is to go out now. A second call must be worth it: small ones cost the server as much as
// large ones.
func (a *account) due() bool {
	switch {
	case len(a.waiting) == 0:
		return false
	case a.calls == 0:
		return true
	}
	return a.calls < atOnce && a.unknown == 0 && len(a.waiting) >= max(a.size, 2)
}

func (a *account) drain() {
	defer a.store.drains.Done()
	for tasks := a.take(nil); tasks != nil; tasks = a.take(tasks) {
		if len(tasks) == 0 { // all of them have left
			continue
		}
		ops, need := make([]packed, len(tasks)), plain
		for i, t := range tasks {
			ops[i], need = t.op, max(need, t.need)
		}
		said, err := a.call(ops, need)
		for i, t := range tasks {
			if t.err = err; err == nil {
				t.said = said[i]
			}
		}
	}
}

// take answers those who waited for a call, and removes the next operations from the queue, in the order in which they are
// to be applied; nil ends the drain.
func (a *account) take(did []*task) []*task {
	a.mu.Lock()
	defer func() {
		a.mu.Unlock()
		for _, t := range did {
			close(t.done)
		}
	}()
	a.calls, a.size = a.calls-1, a.size-len(did)
	for _, t := range did {
		if t.ended = true; t.alone {
			a.unknown--
		}
	}
	if !a.due() {
		return nil
	}
	out, n := []*task{}, 0
	for ; n < len(a.waiting) && len(out) < most; n++ {
		if t := a.waiting[n]; t.state.CompareAndSwap(queued, taken) {
			out = append(out, t)
		}
	}
	a.waiting = slices.Delete(a.waiting, 0, n)
	a.calls, a.size = a.calls+1, a.size+len(out)
	slices.SortStableFunc(out, func(x, y *task) int { return int(x.rank) - int(y.rank) })
	return out
}

// call has the script do ops, and answers what it said to each.
func (a *account) call(ops []packed, need need) ([]string, error) {
	for range 3 {
		said, forgot, err := a.ask(ops, false, need)
		if err != nil || !forgot {
			return said, err
		}
		if err := a.teach(); err != nil {
			return nil, err
		}
	}
	return nil, ErrLearning
}

// What a header of answers may begin with: operations were done, or the plainest form of the script cannot do them and has
// done nothing.
const (
	headDone = "O"
	headMore = "\xd9"
)

// ask is one call of the script. forgot says that the books are not those of the answers before, and nothing was done.
func (a *account) ask(ops []packed, learn bool, need need) (said []string, forgot bool, err error) {
	s := a.store
	known, seen := a.memory.place()
	a.mu.Lock()
	inspect := time.Since(a.inspected) > inspectEach
	tend := a.tend
	if inspect || tend || learn {
		need, a.tend = max(need, reservations), false
	}
	if need == plain && a.special > 0 {
		need, a.special = reservations, a.special-1
	}
	a.mu.Unlock()
	header := packed(nil).bit(inspect).bit(tend).bit(!s.existing).bit(s.releases).bit(learn).byte(schema).double(seen).double(s.keep).
		double(dedup.Microseconds()).double(s.learning.Microseconds()).double(s.ahead.Load()).brief(known).brief(freshEpoch())
	args := make([]any, 0, len(ops)+1)
	args = append(args, []byte(header))
	for _, op := range ops {
		args = append(args, []byte(op))
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	keys := a.keys
	if need == plain {
		keys = keys[:plainParts]
	}
	reply, err := s.eval(ctx, s.scripts[need], keys, args)
	if err == nil && need == plain && reply[0] == headMore {
		a.mu.Lock()
		a.special = specials
		a.mu.Unlock()
		reply, err = s.eval(ctx, s.scripts[reservations], a.keys, args)
	}
	if err != nil {
		return nil, false, err
	}
	u := unpacked{rest: reply[0]}
	if strings.HasPrefix(u.rest, headDone) && len(reply) == len(ops)+1 {
		u.byte()
		tend = u.byte() != 0
		seq, epoch := u.double(), u.brief()
		if u.bad {
			return nil, false, nonsense("a header")
		}
		if inspect || tend {
			a.mu.Lock()
			if a.tend = a.tend || tend; inspect {
				a.inspected = time.Now()
			}
			a.mu.Unlock()
		}
		a.memory.at(known, epoch, seq)
		return reply[1:], false, nil
	}
	u.array()
	switch word := u.text(); {
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
