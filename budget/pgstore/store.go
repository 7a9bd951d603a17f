package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/budget/internal/group"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	defaultPrefix  = "budget_"
	defaultTimeout = 5 * time.Second
	defaultKeep    = 1_000_000
	// openTime bounds connecting, and making or migrating the tables.
	openTime = 15 * time.Second
)

// Store is a [budget.Store] in a PostgreSQL database. Safe for concurrent use; any number of Stores, in any number of
// processes, may work on one database. Make it with [At] or [Open].
type Store struct {
	dsn      string
	prefix   string
	schema   string
	timeout  time.Duration
	keep     int64
	existing bool
	releases bool             // only for the test of the test: leases that run out are given back, as others do
	clock    func() time.Time // only for tests, instead of the server's; zero is the server's
	names    *strings.Replacer
	texts    sync.Map // statements with their names put in
	windows  sync.Map // of caps, by what they are written as

	opening chan struct{} // holds a token while nobody opens
	pool    *pgxpool.Pool
	own     bool // the pool is ours to close
	opened  atomic.Bool

	mu       sync.Mutex
	accounts map[string]*account
	closed   bool
}

// Option changes what [At] and [Open] make.
type Option func(*Store)

// Schema sets the schema of the tables, which is made with them if it is not there. Without it they are where the
// connection's search_path says. Lower case letters, digits and underscores.
func Schema(name string) Option { return func(s *Store) { s.schema = name } }

// Prefix sets what the names of the tables begin with. Empty is "budget_". Lower case letters, digits and underscores.
func Prefix(name string) Option { return func(s *Store) { s.prefix = name } }

// Timeout bounds how long a batch of operations may take, with all its waiting for locks and connections. Less than a
// millisecond is 5 s. Operations in a batch that has begun wait for its end, whatever their ctx says.
func Timeout(d time.Duration) Option { return func(s *Store) { s.timeout = d } }

// Keep sets about how many ended reservations each account remembers, for duplicates and receipts that come late. Those
// that would be forgotten first go first, and what is forgotten stays counted. Less than 1 is 1,000,000, about 600 MB.
func Keep(reservations int) Option { return func(s *Store) { s.keep = int64(reservations) } }

// Existing refuses to make tables, with [ErrMissing]: where they should be there, empty ones in their place (another
// database, one that was not restored) would let everything be spent again. It also spares the role the right to make them.
func Existing() Option { return func(s *Store) { s.existing = true } }

func newStore(opts []Option) *Store {
	s := &Store{opening: make(chan struct{}, 1), accounts: map[string]*account{}}
	for _, o := range opts {
		o(s)
	}
	if s.prefix == "" {
		s.prefix = defaultPrefix
	}
	if s.timeout < time.Millisecond {
		s.timeout = defaultTimeout
	}
	if s.keep < 1 {
		s.keep = defaultKeep
	}
	s.names = naming(s.schema, s.prefix)
	s.opening <- struct{}{}
	return s
}

// At is the store in the database at dsn, a URL or key=value words as libpq reads them; the tables are made if they are not
// there. Nothing is connected until the first operation, which reports what is wrong; use [Open] to learn it at once.
func At(dsn string, opts ...Option) *Store {
	s := newStore(opts)
	s.dsn, s.own = dsn, true
	return s
}

// Open is the store in a database that the program is connected to already. It checks the server's settings and makes or
// migrates the tables. It fails with [ErrMissing], a [*SchemaError], a [*SettingError], or what the server says. The pool
// stays the caller's; close the store first. It needs two connections for each account in use.
func Open(ctx context.Context, pool *pgxpool.Pool, opts ...Option) (*Store, error) {
	s := newStore(opts)
	s.pool = pool
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Traits implements [budget.Store]: what is counted outlives the process, and any int64 is exact.
func (s *Store) Traits() budget.Traits { return budget.Traits{} }

// Close waits for operations that were accepted, and ends the connections that [At] made. It is safe to repeat; operations
// afterwards are [ErrClosed].
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	accounts := s.accounts
	s.mu.Unlock()
	for _, a := range accounts { // nobody adds one any more
		a.queue.Close()
	}
	if _, first := <-s.opening; first {
		if s.own && s.pool != nil {
			s.pool.Close()
		}
		close(s.opening)
	}
	return nil
}

// ready connects if nobody has, and checks what the guarantees rest on.
func (s *Store) ready(ctx context.Context) error {
	if s.opened.Load() {
		return nil
	}
	select {
	case _, open := <-s.opening:
		if !open {
			return ErrClosed
		}
	case <-ctx.Done():
		return fmt.Errorf("pgstore: %w", context.Cause(ctx))
	}
	defer func() { s.opening <- struct{}{} }()
	if s.opened.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, max(s.timeout, openTime))
	defer cancel()
	if err := s.open(ctx); err != nil {
		return named(err)
	}
	s.opened.Store(true)
	return nil
}

func (s *Store) open(ctx context.Context) error {
	if !plainName(s.schema) || !plainName(s.prefix) {
		return fmt.Errorf("pgstore: schema %q, prefix %q: use lower case letters, digits and underscores, at most 32", s.schema, s.prefix)
	}
	if s.pool == nil {
		cfg, err := pgxpool.ParseConfig(s.dsn)
		if err != nil {
			return errors.New("pgstore: the address cannot be read: write postgres://user@host/database") // the cause may hold a password
		}
		if s.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
			return err
		}
	}
	if err := s.check(ctx); err != nil {
		return err
	}
	return s.migrate(ctx, migrations)
}

// check refuses a server that may lose what it confirms. That a transaction waits for the disk is asked for in each one.
func (s *Store) check(ctx context.Context) error {
	var fsync string
	var standby bool
	if err := s.pool.QueryRow(ctx, "SELECT current_setting('fsync'), pg_is_in_recovery()").Scan(&fsync, &standby); err != nil {
		return err
	}
	switch {
	case fsync != "on":
		return &SettingError{"fsync", fsync, "turn it on, or a power cut may let everything be spent again"}
	case standby:
		return &SettingError{"pg_is_in_recovery", "true", "connect to the primary"}
	}
	return nil
}

// sql is a statement with the names of the tables in it.
func (s *Store) sql(text string) string {
	if named, ok := s.texts.Load(text); ok {
		return named.(string)
	}
	named := s.names.Replace(text)
	s.texts.Store(text, named)
	return named
}

// said is what a test says the server's clock says, else nil.
func (s *Store) said() *int64 {
	if s.clock == nil {
		return nil
	}
	at := s.clock()
	if at.IsZero() {
		return nil
	}
	now := at.UnixNano()
	return &now
}

// do runs t among others of its account in one transaction and returns when that is committed. An error that is not the
// operation's own means that nobody knows, unless it says that nothing was done.
func (s *Store) do(ctx context.Context, account string, t *task) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	a := s.accounts[account]
	if a == nil {
		a = newAccount(account)
		a.queue.Store, a.queue.Closed = "pgstore", ErrClosed
		a.queue.Batch = func(take func() []*group.Task[*task]) error { return s.batch(a, take) }
		s.accounts[account] = a
	}
	s.mu.Unlock()
	return a.queue.Do(ctx, t.rank, t)
}
