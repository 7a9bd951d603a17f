package agent

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/router"
	"github.com/gridloop/gridloop/tools"
	"github.com/gridloop/gridloop/tracing"
)

// Agent runs tasks. It is made by [New], never changes, and may be used by any
// number of goroutines at once.
type Agent struct {
	cfg     Config
	limits  Limits         // filled
	share   budget.Amounts // of each run, by Limits.Carved; zero: none
	tools   *tools.Set
	defs    *grid.ToolList
	agents  map[string]*Agent
	client  *grid.Client
	router  router.Router
	ledger  *budget.Ledger
	caps    []budget.Cap
	tolls   map[string]*toll // by tool
	tracing *tracing.Tracing
	params  *grid.Params
	system  []byte // the encoded instructions; nil without
	print   string // fingerprint without the output

	spending  Spending // merged with the file's
	estimator *estimates

	ownClient, ownLedger bool
	// strictMoney: somebody asked for a money cap in so many words, so a step
	// without a known price is refused.
	strictMoney bool

	later      *later      // settlements that wait for the store
	reconciler *reconciler // nil when it is off

	nonce   string // of this process: incarnations are never reused
	serial  atomic.Uint64
	schemas sync.Map // reflect.Type -> *tools.Schema
	prices  refresher
	seen    atomic.Pointer[market] // the last look at the catalogue
	alerts  alerts
	freezes freezes
	keyID   atomic.Pointer[string] // the market's name for our key, from a receipt of ours

	mu     sync.Mutex
	closed bool
	active map[*run]context.CancelCauseFunc
	idle   chan struct{} // closed when the last active run ends after Shutdown
	parked map[string]*run
	ids    map[string]bool // of the runs under way and parked
}

var agentName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// New makes an agent. All mistakes of the configuration are reported at once,
// each naming its field and what to write instead. New asks the market nothing; it
// opens the Store, and defines the caps in it.
func New(cfg Config) (*Agent, error) {
	a := &Agent{cfg: cfg, agents: make(map[string]*Agent), active: make(map[*run]context.CancelCauseFunc),
		parked: make(map[string]*run), ids: make(map[string]bool), nonce: randomID(6)}
	var errs []error
	fail := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if !agentName.MatchString(cfg.Name) {
		fail(fmt.Errorf("agent: Name is %q: give the agent a name of letters, digits, - and _", cfg.Name))
	}
	f := &file{}
	if cfg.File != "" {
		loaded, err := loadFile(cfg.FS, cfg.File)
		fail(err)
		if loaded != nil {
			f = loaded
		}
	}
	fail(cfg.Limits.validate())
	fail(cfg.Reconcile.validate())
	limits, err := cfg.Limits.merge(f.Limits.limits())
	fail(err)
	if cfg.Limits.validate() == nil {
		fail(limits.validate())
	}
	if cfg.Limits.Carved && f.Limits.Carved != nil && !*f.Limits.Carved {
		fail(errors.New("agent: Limits.Carved and limits.carved of the file differ: set one of them"))
	}
	a.limits, a.share = limits.filled(), limits.share()
	if limits.Carved && a.share.IsZero() {
		fail(errors.New("agent: Limits.Carved (limits.carved of the file) keeps nothing: set RunNanoUSD or RunTokens (run_money, run_tokens) to what is to be kept for a run"))
	}
	a.spending, err = cfg.Spending.merge(f.Spending.spending())
	fail(err)
	if err := a.spending.validate(); err != nil {
		fail(err)
	} else {
		estimator, err := budget.NewEstimator(a.spending.Estimate)
		fail(err)
		a.estimator = &estimates{Estimator: estimator}
	}
	params, err := f.Params.params()
	fail(err)
	a.params, err = mergeParams(cfg.Params, params)
	fail(err)
	fail(a.useTools())
	fail(a.useMarket(f))
	fail(a.useRouter(f))
	fail(a.useLedger(f, limits))
	fail(a.checkCalled())
	if cfg.Instructions != "" {
		a.system, err = grid.EncodeMessage(grid.SystemMessage(cfg.Instructions))
		fail(err)
	}
	a.tracing = cfg.Tracing
	if a.tracing == nil {
		a.tracing = tracing.New(tracing.Config{})
	}
	if len(errs) > 0 {
		a.release(context.Background())
		return nil, errors.Join(errs...)
	}
	a.print = a.fingerprint()
	a.later = newLater(a.ledger)
	a.reconciler = newReconciler(a, cfg.Reconcile)
	return a, nil
}

func (a *Agent) useTools() error {
	var errs []error
	set, err := tools.NewSet(a.cfg.Tools...)
	if err != nil {
		errs = append(errs, err)
	}
	a.tools = set
	var defs []grid.ToolDef
	for _, t := range set.All() {
		defs = append(defs, grid.ToolDef{Name: t.Name(), Description: t.Description(), Schema: t.Schema()})
	}
	for i, sub := range a.cfg.Agents {
		if sub == nil {
			errs = append(errs, fmt.Errorf("agent: Agents[%d] is nil: leave it out, or give the agent that agent.New returned", i))
			continue
		}
		name := sub.cfg.Name
		if _, ok := set.Lookup(name); ok || a.agents[name] != nil {
			errs = append(errs, fmt.Errorf("agent: Agents[%d] is called %q, as another tool or agent is: names must differ", i, name))
			continue
		}
		a.agents[name] = sub
		defs = append(defs, grid.ToolDef{Name: name, Description: sub.cfg.Description, Schema: json.RawMessage(taskSchema)})
	}
	a.fixTolls()
	if len(defs) > 0 {
		a.defs, err = grid.NewToolList(defs)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// taskSchema is what a model gives an agent that it calls.
const taskSchema = `{"type":"object","properties":{"task":{"type":"string","description":"what to do, with all that the agent needs to know"}},"required":["task"],"additionalProperties":false}`

func (a *Agent) useMarket(f *file) error {
	a.client = a.cfg.Market
	if a.client == nil {
		catalogue := grid.DefaultCatalogue()
		var errs []error
		if err := f.instruments(catalogue); err != nil {
			errs = append(errs, fmt.Errorf("agent: File: %w", err))
		}
		c, err := grid.New(grid.Config{Catalogue: catalogue})
		if err != nil {
			errs = append(errs, err)
		} else {
			a.client, a.ownClient = c, true
		}
		return errors.Join(errs...)
	}
	if err := f.instruments(a.client.Catalogue()); err != nil {
		return fmt.Errorf("agent: File: %w", err)
	}
	return nil
}

func (a *Agent) useRouter(f *file) error {
	a.router = a.cfg.Router
	if a.router != nil {
		if f.Routes != nil {
			return errors.New("agent: Router and the routes of the file are both given: leave one of them out")
		}
		return nil
	}
	var bad error
	if kinds := []router.Kind{"", router.KindTools, router.KindCode, router.KindText, router.KindExtract, router.KindSummarize, router.KindJudge}; !slices.Contains(kinds, a.cfg.Kind) {
		bad = fmt.Errorf("agent: Kind is %q, for which there is no route: give one of %s, or a Router of your own", a.cfg.Kind, quotedKinds(kinds[1:]))
	}
	table := router.Default()
	if f.Routes != nil {
		t, err := router.New(*f.Routes)
		if err != nil {
			return errors.Join(bad, fmt.Errorf("agent: File: %w", err))
		}
		table = t
	}
	a.router = table
	if a.client == nil {
		return bad
	}
	if err := table.Check(a.look().instruments); err != nil {
		field := "Market"
		if f.Routes != nil {
			field = "File"
		}
		bad = errors.Join(bad, fmt.Errorf("agent: %s: %w", field, err))
	}
	return bad
}

func quotedKinds(kinds []router.Kind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}

func (a *Agent) useLedger(f *file, limits Limits) error {
	fileCaps, err := f.caps()
	if err != nil {
		errs := []error{fmt.Errorf("agent: File: %w", err)}
		for i, c := range a.cfg.Caps {
			err := c.Validate()
			if err == nil {
				err = Countable(c)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("agent: Caps[%d]: %w", i, err))
			}
		}
		return errors.Join(errs...)
	}
	caps := append(slices.Clone(a.cfg.Caps), fileCaps...)
	if a.cfg.Ledger != nil {
		if a.cfg.Store != nil || len(caps) > 0 {
			return errors.New("agent: Ledger is given together with Store or caps: a shared ledger brings its own")
		}
		a.ledger = a.cfg.Ledger
		shared, err := a.ledger.Caps(context.Background())
		if err != nil {
			return err
		}
		for _, c := range shared {
			a.caps = append(a.caps, c.Cap)
		}
		a.strictMoney = limits.RunNanoUSD > 0 || slices.ContainsFunc(a.caps, func(c budget.Cap) bool { return c.Meter == budget.MeterMoney })
		return nil
	}
	a.strictMoney = limits.RunNanoUSD > 0 || slices.ContainsFunc(caps, func(c budget.Cap) bool { return c.Meter == budget.MeterMoney })
	caps = append(caps, runCaps(a.limits)...)
	store := a.cfg.Store
	if store == nil {
		store = budget.NewMemory()
	}
	l, err := budget.Open(context.Background(), budget.Config{Store: store, Caps: caps, RefusedFor: time.Second, Check: Countable})
	if err != nil {
		return err
	}
	a.ledger, a.ownLedger, a.caps = l, true, caps
	return nil
}

// Ledger is what the agent spends from: to freeze it, to ask who spends most, to
// change a cap while runs are under way.
func (a *Agent) Ledger() *budget.Ledger { return a.ledger }

// Shutdown ends the agent: no run starts any more, those under way are
// cancelled, and when they are done what the agent opened itself is closed. It
// returns ctx's error when that takes too long. Parked runs are forgotten.
func (a *Agent) Shutdown(ctx context.Context) error {
	a.mu.Lock()
	if !a.closed {
		a.closed = true
		a.idle = make(chan struct{})
		if len(a.active) == 0 {
			close(a.idle)
		}
		for _, cancel := range a.active {
			cancel(ErrClosed)
		}
		clear(a.parked)
	}
	idle := a.idle
	a.mu.Unlock()
	select {
	case <-idle: // first: with nothing to wait for, it does not matter whether ctx has ended
		return errors.Join(a.reconciler.shutdown(ctx), a.release(ctx))
	default:
	}
	select {
	case <-idle:
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("agent: Shutdown: runs are still under way: %w", ctx.Err()), a.reconciler.shutdown(ctx))
	}
	return errors.Join(a.reconciler.shutdown(ctx), a.release(ctx))
}

func (a *Agent) release(ctx context.Context) error {
	var errs []error
	a.later.shutdown()
	if a.ownLedger && a.ledger != nil {
		errs = append(errs, a.ledger.Shutdown(ctx))
	}
	if a.ownClient && a.client != nil {
		errs = append(errs, a.client.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

// enter counts a run as under way; leave ends that.
func (a *Agent) enter(r *run, cancel context.CancelCauseFunc) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return ErrClosed
	}
	if a.ids[r.id] {
		return fmt.Errorf("agent: a run called %q is under way or parked: run ids are unique", r.id)
	}
	a.ids[r.id] = true
	a.active[r] = cancel
	return nil
}

func (a *Agent) leave(r *run) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.active, r)
	if !r.parked {
		delete(a.ids, r.id)
	}
	if a.closed && len(a.active) == 0 {
		close(a.idle)
	}
}

// fingerprint names what must not change while a run is parked.
func (a *Agent) fingerprint() string {
	h := sha256.New()
	fmt.Fprintf(h, "%d\n%s\n%s\n", LoopVersion, a.cfg.Name, a.cfg.Instructions)
	for _, t := range a.tools.All() {
		fmt.Fprintf(h, "%s\n%s\n%t\n", t.Name(), t.Schema(), t.ReadOnly())
	}
	for _, name := range slices.Sorted(maps.Keys(a.agents)) {
		fmt.Fprintf(h, "%s\n", name)
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// schemaFor is the schema of a structured output, made once for each type.
func schemaFor[T any](a *Agent) (*tools.Schema, error) {
	t := reflect.TypeFor[T]()
	if t.Kind() == reflect.String {
		return nil, nil // text
	}
	if s, ok := a.schemas.Load(t); ok {
		return s.(*tools.Schema), nil
	}
	s, err := tools.SchemaFor[T]()
	if err != nil {
		return nil, fmt.Errorf("agent: the output type %v: %w", t, err)
	}
	a.schemas.Store(t, s)
	return s, nil
}

// incarnation names one start of a handler. It is never the same twice, so that
// a reservation of a dead one is never dispatched on.
func (a *Agent) incarnation() string {
	return a.nonce + strconv.FormatUint(a.serial.Add(1), 36)
}

func randomID(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// refresher asks the market for its prices when one is missing, once for all
// runs, and not again for a minute.
type refresher struct {
	mu   sync.Mutex
	last time.Time
}

const refreshEvery = time.Minute

func (r *refresher) refresh(ctx context.Context, c *grid.Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.last.IsZero() && time.Since(r.last) < refreshEvery {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// A market that cannot say its prices is no error here: the step's own price
	// check says what to do.
	_ = c.Refresh(ctx)
	r.last = time.Now()
}
