package ops

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
)

// Run is one run in this process.
type Run struct {
	ID           string            `json:"id"`
	Agent        string            `json:"agent"`
	Parent       string            `json:"parent,omitempty"`
	Tenant       string            `json:"tenant,omitempty"`
	User         string            `json:"user,omitempty"`
	Tags         map[string]string `json:"tags,omitempty"`
	Step         int               `json:"step"`
	Began        time.Time         `json:"began"`
	SpentNanoUSD int64             `json:"spent_nano_usd"`
	Paused       string            `json:"paused,omitempty"`
	Doing        []Doing           `json:"doing"`
}

// Doing is what a run does or waits for: agent.Activity, or agent.PauseReason if it is paused.
type Doing struct {
	What  string    `json:"what"`
	Name  string    `json:"name,omitempty"`
	Since time.Time `json:"since"`
}

// Top is one row of who spends most; amounts are in the unit of the meter.
type Top struct {
	Scope         string   `json:"scope"`
	Settled       int64    `json:"settled"`
	Held          int64    `json:"held"`
	Unconfirmed   int64    `json:"unconfirmed"`
	Reservations  int      `json:"reservations"`
	PerMinute     int64    `json:"per_minute"`
	RunwaySeconds *float64 `json:"runway_s"` // null: no cap is spent at this pace
	Cap           string   `json:"cap,omitempty"`
}

// Cap is a cap in force.
type Cap struct {
	ID    string    `json:"id"`
	For   string    `json:"for"`
	Meter string    `json:"meter"`
	Per   string    `json:"per"`
	Limit *int64    `json:"limit"` // in the unit of the meter; null: none
	Soft  []int     `json:"soft"`
	By    string    `json:"by"`
	At    time.Time `json:"at"`
}

// Standing is where one count of a cap stands.
type Standing struct {
	Cap         string     `json:"cap"`
	Scope       string     `json:"scope"`
	Meter       string     `json:"meter"`
	Window      string     `json:"window"`
	Reset       *time.Time `json:"reset"`
	Limit       *int64     `json:"limit"`
	Settled     int64      `json:"settled"`
	Held        int64      `json:"held"`
	Unconfirmed int64      `json:"unconfirmed"`
	Overrun     int64      `json:"overrun"`
	Left        *int64     `json:"left"`
}

// Freeze is a stop button that was pressed.
type Freeze struct {
	Scope  string     `json:"scope"`
	Reason string     `json:"reason"`
	Until  *time.Time `json:"until"` // null: until it is unfrozen
	By     string     `json:"by"`
	At     time.Time  `json:"at"`
}

// Change is one entry of who changed what.
type Change struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	What   string    `json:"what"`
	Cap    string    `json:"cap,omitempty"`
	Old    *int64    `json:"old"`
	New    *int64    `json:"new"`
	Scope  string    `json:"scope,omitempty"`
	Reason string    `json:"reason,omitempty"`
}

// Reservation is one that is open.
type Reservation struct {
	ID       string         `json:"id"`
	Idle     bool           `json:"idle"` // kept back: for the answer at a limit, or a share from which others are taken
	Reserved budget.Amounts `json:"reserved"`
	Drawn    budget.Amounts `json:"drawn,omitzero"` // of a share, by what was taken from it: Reserved less this is held
	Admitted time.Time      `json:"admitted"`
	Expires  time.Time      `json:"expires"`
}

func (s *server) runs() []agent.LiveRun {
	var out []agent.LiveRun
	for _, a := range s.agents {
		out = append(out, a.Live()...)
	}
	return out
}

func showRun(l agent.LiveRun) Run {
	r := Run{ID: l.ID, Agent: l.Agent, Parent: l.Parent, Tenant: l.Labels.Tenant, User: l.Labels.User, Tags: l.Labels.Tags,
		Step: l.Step, Began: l.Began.UTC(), SpentNanoUSD: l.SpentNanoUSD, Paused: string(l.Paused), Doing: []Doing{}}
	for _, d := range l.Doing {
		r.Doing = append(r.Doing, Doing{What: string(d.What), Name: d.Name, Since: d.Since.UTC()})
	}
	return r
}

func (s *server) live(r *http.Request) (any, error) {
	if err := known(r); err != nil {
		return nil, err
	}
	out := []Run{}
	for _, l := range s.runs() {
		out = append(out, showRun(l))
	}
	return map[string]any{"runs": out}, nil
}

func (s *server) top(r *http.Request) (any, error) {
	if err := known(r, "by", "meter", "for", "limit"); err != nil {
		return nil, err
	}
	v := r.URL.Query()
	q := budget.TopQuery{By: v.Get("by"), Meter: budget.Meter(v.Get("meter"))}
	if q.By == "" {
		q.By = budget.ScopeTenant
	}
	if q.Meter == "" {
		q.Meter = budget.MeterMoney
		if q.By == budget.ScopeTool {
			q.Meter = budget.MeterToolCalls
		}
	}
	var err error
	if t := v.Get("for"); t != "" {
		if q.For, err = time.ParseDuration(t); err != nil || q.For <= 0 {
			return nil, bad("for=%q is no duration: write one such as 15m", t)
		}
	}
	if n := v.Get("limit"); n != "" {
		if q.Limit, err = strconv.Atoi(n); err != nil || q.Limit < 1 || q.Limit > 1000 {
			return nil, bad("limit=%q: write 1 to 1000", n)
		}
	}
	rows, err := s.ledger.Top(r.Context(), q)
	if err != nil {
		return nil, err
	}
	out := []Top{}
	for _, t := range rows {
		row := Top{Scope: t.Scope.String(), Settled: t.Settled, Held: t.Held, Unconfirmed: t.Unconfirmed, Reservations: t.Reservations, PerMinute: t.PerMinute, Cap: t.Cap}
		if t.Runway != budget.NoRunway {
			seconds := t.Runway.Seconds()
			row.RunwaySeconds = &seconds
		}
		out = append(out, row)
	}
	return map[string]any{"meter": q.Meter, "rows": out}, nil
}

func (s *server) caps(r *http.Request) (any, error) {
	if err := known(r); err != nil {
		return nil, err
	}
	caps, err := s.ledger.Caps(r.Context())
	if err != nil {
		return nil, err
	}
	out := []Cap{}
	for _, c := range caps {
		out = append(out, Cap{ID: c.ID(), For: c.For.String(), Meter: string(c.Meter), Per: c.Per.String(), Limit: limitOf(c.Limit), Soft: append([]int{}, c.Thresholds()...), By: c.By, At: c.At.UTC()})
	}
	return map[string]any{"caps": out}, nil
}

// limitOf is a limit, or nil for none.
func limitOf(n int64) *int64 {
	if n == budget.None {
		return nil
	}
	return &n
}

func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (s *server) standing(r *http.Request) (any, error) {
	if err := known(r, "scope"); err != nil {
		return nil, err
	}
	var scopes []budget.Scope
	for _, text := range r.URL.Query()["scope"] {
		scope, err := scopeOf(text)
		if err != nil {
			return nil, err
		}
		scopes = append(scopes, scope)
	}
	out, err := s.stand(r, scopes)
	return map[string]any{"standing": out}, err
}

func (s *server) stand(r *http.Request, scopes []budget.Scope) ([]Standing, error) {
	states, err := s.ledger.Snapshot(r.Context(), scopes...)
	out := []Standing{}
	for _, c := range states {
		st := Standing{Cap: c.Cap, Scope: c.Scope.String(), Meter: string(c.Meter), Window: c.Window, Reset: instant(c.Reset), Limit: limitOf(c.Limit),
			Settled: c.Settled, Held: c.Held, Unconfirmed: c.Unconfirmed, Overrun: c.Overrun}
		if c.Limit != budget.None {
			left := c.Left
			st.Left = &left
		}
		out = append(out, st)
	}
	return out, err
}

func (s *server) freezes(r *http.Request) (any, error) {
	if err := known(r); err != nil {
		return nil, err
	}
	all, err := s.ledger.Freezes(r.Context())
	out := []Freeze{}
	for _, f := range all {
		out = append(out, showFreeze(f))
	}
	return map[string]any{"freezes": out}, err
}

func showFreeze(f budget.Freeze) Freeze {
	return Freeze{Scope: f.Scope.String(), Reason: f.Reason, Until: instant(f.Until), By: f.By, At: f.At.UTC()}
}

func (s *server) changes(r *http.Request) (any, error) {
	if err := known(r); err != nil {
		return nil, err
	}
	all, err := s.ledger.Changes(r.Context())
	out := []Change{}
	for _, c := range all {
		e := Change{At: c.At.UTC(), By: c.By, What: string(c.What), Cap: c.Cap, Reason: c.Reason}
		if c.Cap != "" {
			e.Old, e.New = limitOf(c.Old), limitOf(c.New)
		}
		if c.Scope.Kind != "" {
			e.Scope = c.Scope.String()
		}
		out = append(out, e)
	}
	return map[string]any{"changes": out}, err
}

// run explains one run: what it does, where its caps stand, what it holds, and what stops it.
func (s *server) run(r *http.Request) (any, error) {
	if err := known(r); err != nil {
		return nil, err
	}
	l, err := s.find(r)
	if err != nil {
		return nil, err
	}
	scopes := []budget.Scope{{Kind: budget.ScopeRun, Name: l.ID}, {Kind: budget.ScopeAgent, Name: l.Agent}}
	if l.Labels.Tenant != "" {
		scopes = append(scopes, budget.Scope{Kind: budget.ScopeTenant, Name: l.Labels.Tenant})
	}
	if l.Labels.User != "" {
		scopes = append(scopes, budget.Scope{Kind: budget.ScopeUser, Name: l.Labels.User})
	}
	for k, v := range l.Labels.Tags {
		scopes = append(scopes, budget.Scope{Kind: budget.Tag(k), Name: v})
	}
	for _, d := range l.Doing {
		if d.Name != "" && slices.Contains([]agent.Activity{agent.DoingModel, agent.DoingTopUp, agent.DoingRate, agent.DoingRetry, agent.DoingStore}, d.What) {
			scopes = append(scopes, budget.Scope{Kind: budget.ScopeInstrument, Name: d.Name})
		}
	}
	standing, err := s.stand(r, scopes)
	if err != nil {
		return nil, err
	}
	open, err := s.ledger.OpenReservations(r.Context(), l.ID+"/")
	if err != nil {
		return nil, err
	}
	held := []Reservation{}
	for _, o := range open {
		held = append(held, Reservation{ID: o.ID, Idle: o.Idle, Reserved: o.Reserved, Drawn: o.Actual, Admitted: o.Admitted.UTC(), Expires: o.Expires.UTC()})
	}
	all, err := s.ledger.Freezes(r.Context())
	if err != nil {
		return nil, err
	}
	frozen := []Freeze{}
	for _, f := range all {
		if f.Scope.Kind == budget.ScopeAccount || slices.Contains(scopes, f.Scope) {
			frozen = append(frozen, showFreeze(f))
		}
	}
	return map[string]any{"run": showRun(l), "standing": standing, "open": held, "freezes": frozen}, nil
}

func (s *server) find(r *http.Request) (agent.LiveRun, error) {
	id := r.PathValue("id")
	for _, l := range s.runs() {
		if l.ID == id {
			return l, nil
		}
	}
	return agent.LiveRun{}, &problem{http.StatusNotFound, "not_found", "no run of this process has that id: it has ended, or another process runs it"}
}

func (s *server) explain(r *http.Request) (any, error) {
	if err := known(r); err != nil {
		return nil, err
	}
	out := []string{}
	for _, a := range s.agents {
		out = append(out, a.Explain())
	}
	return map[string]any{"agents": out}, nil
}

func (s *server) audit(r *http.Request) (any, error) {
	if err := known(r, "from", "to", "key"); err != nil {
		return nil, err
	}
	if len(s.agents) == 0 {
		return nil, &problem{http.StatusNotFound, "not_found", "there is no agent here whose market could be asked"}
	}
	v := r.URL.Query()
	q := agent.AuditQuery{Keys: v["key"]}
	for name, at := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		if text := v.Get(name); text != "" {
			t, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return nil, bad("%s=%q is no time: write one such as 2006-01-02T15:04:05Z", name, text)
			}
			*at = t
		}
	}
	rep, err := s.agents[0].Audit(r.Context(), q)
	if err != nil {
		return nil, err
	}
	return map[string]any{"ok": rep.OK(), "audit": rep}, nil
}
