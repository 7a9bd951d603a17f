package sqlitestore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/group"
)

const (
	defaultBusy = 5 * time.Second
	defaultKeep = 1_000_000
)

// Store is a [budget.Store] in one SQLite file. Safe for concurrent use; any number of Stores, in any number of processes on
// one machine, may work on one file. Make it with [At] or [Open].
type Store struct {
	path     string
	busyTime time.Duration
	keep     int64
	existing bool
	clock    func() time.Time
	releases bool // only for the test of the test: leases that run out are given back, as others do

	queue  group.Queue[func(*books) error]
	writer *books                      // owned by whoever drains the queue
	file   atomic.Pointer[os.FileInfo] // of the file that was opened first: no other will do

	reading chan struct{} // holds a token while nobody reads
	reader  *reader

	closing sync.Once
	closed  error
}

// Option changes what [At] and [Open] make.
type Option func(*Store)

// Keep sets how many ended reservations each account remembers, for duplicates and receipts that come late. Those that
// would be forgotten first go first, and what is forgotten stays counted. Less than 1 is 1,000,000, about 400 MB.
func Keep(reservations int) Option { return func(s *Store) { s.keep = int64(reservations) } }

// Busy sets how long an operation waits while other processes hold the file's lock, before it fails with [ErrBusy]. Less
// than a millisecond is 5 s.
func Busy(d time.Duration) Option { return func(s *Store) { s.busyTime = d } }

// Existing refuses to make a new file, with [ErrMissing]: where the file should be there, an empty one in its place (a
// volume that was not mounted) would let everything be spent again.
func Existing() Option { return func(s *Store) { s.existing = true } }

// At is the store in the file at path, made if it is not there. Nothing is opened until the first operation, which reports
// what is wrong with the file; use [Open] to learn it at once.
func At(path string, opts ...Option) *Store {
	s := &Store{clock: time.Now, reading: make(chan struct{}, 1)}
	for _, o := range opts {
		o(s)
	}
	if s.keep < 1 {
		s.keep = defaultKeep
	}
	if s.busyTime < time.Millisecond {
		s.busyTime = defaultBusy
	}
	if path != "" {
		if abs, err := filepath.Abs(path); err == nil { // a later Chdir changes nothing
			path = abs
		}
	}
	s.path = path
	s.queue.Batch, s.queue.Store, s.queue.Closed = s.batch, "sqlitestore", ErrClosed
	s.reading <- struct{}{}
	return s
}

// Open is [At] with the file opened, checked and, if it is of an older schema, migrated. It fails with [ErrMissing],
// [ErrBusy], [ErrDamaged], a [*SchemaError], or what SQLite says.
func Open(ctx context.Context, path string, opts ...Option) (*Store, error) {
	s := At(path, opts...)
	if err := s.ready(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Traits implements [budget.Store]: what is counted outlives the process, and any int64 is exact.
func (s *Store) Traits() budget.Traits { return budget.Traits{} }

// Close waits for operations that were accepted, and closes the file. It is safe to repeat; operations afterwards are
// [ErrClosed].
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.queue.Close()
		<-s.reading
		if s.reader != nil {
			s.closed = s.reader.conn.close()
			s.reader = nil
		}
		if s.writer != nil {
			s.closed = errors.Join(s.closed, s.writer.conn.close())
			s.writer = nil
		}
		close(s.reading)
	})
	return s.closed
}

// ready opens the file if nobody has.
func (s *Store) ready(ctx context.Context) error {
	if s.file.Load() != nil {
		return nil
	}
	return s.do(ctx, group.Reserving, func(*books) error { return nil })
}

// do runs f among others in one transaction and returns when that is on the disk. An error that is not f's own means that
// nobody knows, unless ctx ended while f was still waiting: then nothing was done.
func (s *Store) do(ctx context.Context, rank group.Rank, f func(b *books) error) error {
	return s.queue.Do(ctx, rank, f)
}

// batch is one transaction: whatever take answers once the lock is held is applied, and told only after the commit.
func (s *Store) batch(take func() []*group.Task[func(*books) error]) error {
	b, err := s.begin()
	if err != nil {
		return err
	}
	tasks := take()
	for _, t := range tasks {
		t.Err = t.What(b)
		if b.broken != nil {
			break
		}
	}
	err = b.broken
	if err == nil {
		err = b.commit()
	}
	if err != nil {
		err = named(err)
		s.drop()
		for _, t := range tasks {
			t.Err = err
		}
	}
	for _, t := range tasks {
		t.Finish()
	}
	return nil
}

// drop closes the writer after a failure; the next batch opens the file anew and believes nothing it had read.
func (s *Store) drop() {
	if s.writer != nil {
		_ = s.writer.conn.close() // rolls back
		s.writer = nil
	}
}

// begin takes the file's write lock. Waiting is done here and not by SQLite, whose waits grow to 100 ms while a commit
// takes a fraction of one; and before operations are taken from the queue, so that callers may still leave.
func (s *Store) begin() (*books, error) {
	deadline := time.Now().Add(s.busyTime)
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 2*time.Millisecond) {
		err := s.tryBegin()
		if err == nil {
			return s.writer, nil
		}
		if !busy(err) {
			s.drop()
			return nil, named(err)
		}
		if !time.Now().Before(deadline) {
			return nil, fmt.Errorf("%w (waited %v)", ErrBusy, s.busyTime)
		}
		time.Sleep(pause/2 + rand.N(pause))
	}
}

func (s *Store) tryBegin() error {
	if s.writer == nil {
		b, err := s.openWriter()
		if err != nil {
			return err
		}
		s.writer = b
	}
	if err := s.same(); err != nil {
		return err
	}
	return s.writer.begin()
}

// same makes sure that the path still leads to the file that was opened.
func (s *Store) same() error {
	now, err := os.Stat(s.path)
	if first := s.file.Load(); err != nil || !os.SameFile(now, *first) {
		return ErrReplaced
	}
	return nil
}

func (s *Store) openWriter() (*books, error) {
	if s.path == "" {
		return nil, fmt.Errorf("no path: %w", os.ErrInvalid)
	}
	before, err := os.Stat(s.path)
	switch {
	case err == nil && before.IsDir():
		return nil, fmt.Errorf("%s is a directory: name a file", s.path)
	case s.file.Load() != nil:
		if err := s.same(); err != nil {
			return nil, err
		}
	case errors.Is(err, os.ErrNotExist) && s.existing:
		return nil, ErrMissing
	}
	c, err := dial(s.path)
	if err != nil {
		return nil, err
	}
	b := newBooks(c, s)
	if err := b.prepareFile(); err != nil {
		return nil, errors.Join(err, c.close())
	}
	now, err := os.Stat(s.path)
	if err != nil {
		return nil, errors.Join(err, c.close())
	}
	s.file.CompareAndSwap(nil, &now)
	return b, nil
}
