package redisstore

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/redis/go-redis/v9"
)

//go:embed books/*.lua
var books embed.FS

// chapters are the files of the script, in their order.
var chapters = []string{"books", "counts", "rows", "rolling", "moves", "due", "reserve", "operations", "account", "batch"}

// lua is a script and the name by which servers know it.
type lua struct{ text, sha string }

func newLua(text string) lua { return lua{text, redis.NewScript(text).Hash()} }

// compile writes the constants of the script into it, and answers its three forms: for every operation, for those on
// reservations, and for the plainest of them.
func compile() (all, few, plain lua) {
	var b strings.Builder
	for _, name := range chapters {
		text, _ := books.ReadFile("books/" + name + ".lua") // what is embedded is there
		b.Write(text)
	}
	whole := b.String()
	values, constant := map[string]string{}, regexp.MustCompile(`\w+ (?:'[^']*'|\d+|\w+\[\d+\])`)
	for line := range strings.Lines(whole) {
		if constants, ok := strings.CutPrefix(line, "--= "); ok {
			for _, c := range constant.FindAllString(constants, -1) {
				name, value, _ := strings.Cut(c, " ")
				values[name] = value
			}
		}
	}
	text := regexp.MustCompile(`\b[A-Z][A-Z_]*\b`).ReplaceAllStringFunc(whole, func(name string) string {
		if value, ok := values[name]; ok {
			return value
		}
		return name
	})
	all = newLua(text)
	text = regexp.MustCompile(`(?ms)^--<$.*?^-->$`).ReplaceAllString(text, "")
	few = newLua(text)
	text = regexp.MustCompile(`(?ms)^--\($.*?^--\)$`).ReplaceAllString(text, "")
	plain = newLua(regexp.MustCompile(`(?m)^--! `).ReplaceAllString(text, ""))
	return all, few, plain
}

// schema is the form in which books are kept. Those of 1 to 3 are brought to it row by row, as rows are touched.
const schema = 4

const (
	defaultTimeout = 5 * time.Second
	defaultKeep    = 100_000
	// inspectEach is how often the server's eviction policy is looked at again.
	inspectEach = time.Minute
	dedup       = 24 * time.Hour
)

// Client is what the store needs of a connection: [redis.Client], [redis.ClusterClient], [redis.Ring], or anything that
// wraps one. It may repeat a call whose answer was lost.
type Client interface {
	EvalSha(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd
	Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd
}

// Store is a [budget.Store] on a Redis or Valkey server. Safe for concurrent use; any number of Stores in any number of
// processes may share a server. Make it with [New] or [Open].
type Store struct {
	client   Client
	scripts  [3]lua // by need
	prefix   string
	timeout  time.Duration
	learning time.Duration
	keep     int64
	existing bool
	releases bool         // only for the test of the test: leases that run out are given back, as others do
	ahead    atomic.Int64 // only for tests: how far the clock is put forward, in microseconds

	mu       sync.Mutex
	accounts map[string]*account
	closed   bool
	drains   sync.WaitGroup
}

// Option changes what [New] and [Open] make.
type Option func(*Store)

// Prefix sets how every key begins; empty is "gridloop". Stores of one prefix share their accounts.
func Prefix(p string) Option { return func(s *Store) { s.prefix = p } }

// Timeout sets how long one call to the server may take; less than a millisecond is 5 s. When it is over nobody knows what
// happened, and everything may be asked again with the same ids.
func Timeout(d time.Duration) Option { return func(s *Store) { s.timeout = d } }

// Learning sets how long nothing new is reserved after the server forgot something, while processes tell it what they
// know; less than a millisecond is [budget.DefaultLease]. It should be the longest lease in use.
func Learning(d time.Duration) Option { return func(s *Store) { s.learning = d } }

// Keep sets how many ended reservations each account remembers, for duplicates and receipts that come late. Those that
// would be forgotten first go first, and what is forgotten stays counted. Less than 1 is 100,000, about 80 MB.
func Keep(reservations int) Option { return func(s *Store) { s.keep = int64(reservations) } }

// Existing refuses to begin an account that has no books, with [ErrMissing]: where there should be some, empty ones in
// their place (a server that lost everything) would let everything be spent again.
func Existing() Option { return func(s *Store) { s.existing = true } }

// New is a store on the server that client talks to. Nothing is asked until the first operation, which reports what is
// wrong; use [Open] to learn it at once. The client stays the caller's to close, after the store.
func New(client Client, opts ...Option) *Store {
	s := &Store{client: client, accounts: map[string]*account{}}
	for _, o := range opts {
		o(s)
	}
	if s.prefix == "" {
		s.prefix = "gridloop"
	}
	if s.timeout < time.Millisecond {
		s.timeout = defaultTimeout
	}
	if s.learning < time.Millisecond {
		s.learning = budget.DefaultLease
	}
	if s.keep < 1 {
		s.keep = defaultKeep
	}
	s.scripts[anything], s.scripts[reservations], s.scripts[plain] = compile()
	return s
}

// Open is [New] with the server asked whether it will do, and the account named "default" begun if it is not there. It
// fails with an [*EvictionError], a [*SchemaError], [ErrMissing], or what the connection says.
func Open(ctx context.Context, client Client, opts ...Option) (*Store, error) {
	s := New(client, opts...)
	if _, err := s.do(ctx, "default", reserving, packed(nil).array(1).text("freezes")); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Traits implements [budget.Store].
func (s *Store) Traits() budget.Traits { return budget.Traits{MaxLimit: MaxLimit} }

// Close waits for operations that were accepted. It is safe to repeat; operations afterwards are [ErrClosed].
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.drains.Wait()
	return nil
}

// parts are how the keys of an account end, in the order in which the script has them; its plainest form has the first of
// them only.
var parts = []string{"meta", "caps", "anchors", "closed", "counts", "rows", "leases", "ended", "open", "labels",
	"records", "versions", "gone", "freezes", "turns", "runs", "changes", "ids", "lent"}

const plainParts = 10

// open is what the process knows of an account.
func (s *Store) open(name string) *account {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[name]
	if a == nil {
		a = &account{store: s, name: name, memory: newMemory()}
		for _, part := range parts {
			a.keys = append(a.keys, s.prefix+":{a."+url.PathEscape(name)+"}:"+part)
		}
		s.accounts[name] = a
	}
	return a
}

// do sends one operation, together with others, and answers what the script said to it.
func (s *Store) do(ctx context.Context, name string, rank rank, op packed) (*unpacked, error) {
	said, err := s.open(name).do(ctx, rank, op, anything)
	if err != nil {
		return nil, named(err)
	}
	return &unpacked{rest: said}, nil
}

// eval calls the script, by its name if the server has it.
func (s *Store) eval(ctx context.Context, script lua, keys []string, args []any) ([]string, error) {
	said, err := s.client.EvalSha(ctx, script.sha, keys, args...).Result()
	if err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
		said, err = s.client.Eval(ctx, script.text, keys, args...).Result()
	}
	if err != nil {
		return nil, err
	}
	list, ok := said.([]any)
	out := make([]string, len(list))
	for i, v := range list {
		if out[i], ok = v.(string); !ok {
			break
		}
	}
	if !ok || len(out) == 0 {
		return nil, nonsense("no list of answers")
	}
	return out, nil
}

func freshEpoch() string { return rand.Text() }
