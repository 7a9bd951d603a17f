package grid

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// house is an account whose gates a test drives by hand, with a clock of its own.
type house struct {
	account account
	retry   Retry
	now     time.Time
}

func newHouse(rand func() float64, instruments ...string) *house {
	h := &house{retry: Retry{}.withDefaults(), now: time.Unix(1_000_000, 0)}
	h.account.retry, h.account.rand = &h.retry, rand
	for _, in := range instruments {
		h.account.gates = append(h.account.gates, &gate{account: &h.account, instrument: in})
	}
	return h
}

func noRand() float64 { return 0 }

// caller is a call as the gate sees it.
type caller struct {
	g       *gate
	tenant  string
	w       *waiter
	end     time.Time
	pass    *pass
	episode uint64
	began   time.Time // of its request
	until   time.Time // when it looks again by itself
	back    bool
}

func (h *house) join(c *caller) {
	if c.w == nil {
		c.w = &waiter{ticket: h.account.ticket(), wake: make(chan struct{}, 1)}
	}
	c.g.line.join(c.w, c.tenant, c.back)
	c.back = true
}

// shut makes a gate's balance run dry.
func (h *house) shut(g *gate, found finding) { g.dry(nil, g.episode, found, 0, h.now) }

func TestDelayResumesAtHalfAfterARelease(t *testing.T) {
	h := newHouse(noRand, "a")
	g := h.account.gates[0]
	h.shut(g, foundUnknown)
	want := []time.Duration{1100, 2200, 4400, 4400}
	for i, d := range want {
		if got := g.next.Sub(h.now); got != d*time.Millisecond {
			t.Fatalf("delay %d is %v, want %v", i, got, d*time.Millisecond)
		}
		h.now = g.next
		p, _ := g.ask(h.now)
		if p == nil {
			t.Fatal("it is nobody's turn")
		}
		if i < len(want)-1 {
			g.dry(p, p.episode, foundUnknown, 0, h.now)
			continue
		}
		g.tickets = 5 // somebody will come back, so that it stays shut
		g.ticketsEnd = h.now.Add(time.Minute)
		g.admit(p, h.now)
	}
	q, _ := g.ask(h.now)
	if g.state != gateReleasing || q == nil {
		t.Fatalf("state %v", g.state)
	}
	g.dry(q, q.episode, foundUnknown, 0, h.now)
	if g.state != gateProbing || g.next.Sub(h.now) != 2200*time.Millisecond {
		t.Errorf("resumes in %v", g.next.Sub(h.now))
	}
}

func TestNewsOfAnEarlierEpisodeChangesNothing(t *testing.T) {
	h := newHouse(noRand, "a")
	g := h.account.gates[0]
	open := g.episode
	h.shut(g, foundUnknown)
	next := g.next
	for range 100 { // that were in flight at the dry moment
		g.dry(nil, open, foundUnknown, time.Hour, h.now)
	}
	if g.next != next || g.step != 0 {
		t.Errorf("the probe moved by %v", g.next.Sub(next))
	}
	h.now = g.next
	p, _ := g.ask(h.now)
	if q, _ := g.ask(h.now); p == nil || q != nil {
		t.Error("two probes at once")
	}
	g.tickets, g.ticketsEnd = 5, h.now.Add(time.Minute)
	g.admit(p, h.now)
	g.dry(nil, open, foundUnknown, 0, h.now) // a late one
	if g.state != gateReleasing {
		t.Error("an old refusal ends the release")
	}
}

func TestSilentProberDoesNotHoldUpTheLine(t *testing.T) {
	h := newHouse(noRand, "a")
	g := h.account.gates[0]
	h.shut(g, foundUnknown)
	h.now = g.next
	p, _ := g.ask(h.now)
	if q, until := g.ask(h.now); q != nil || until != h.now.Add(h.retry.Patience) {
		t.Fatalf("look again at %v", until)
	}
	h.now = h.now.Add(h.retry.Patience)
	q, _ := g.ask(h.now)
	if q == nil || g.state != gateReleasing || g.release.out != 1 {
		t.Fatalf("state %v, %d out", g.state, g.release.out)
	}
	g.admit(p, h.now)
	g.admit(q, h.now)
	if g.state != gateOpen || g.release.out != 0 || g.word.Load()&1 != 0 {
		t.Errorf("state %v, %d out", g.state, g.release.out)
	}
}

func TestServedInstrumentEndsTheAccountsExhaustion(t *testing.T) {
	h := newHouse(noRand, "a", "b", "c")
	a, b, c := h.account.gates[0], h.account.gates[1], h.account.gates[2]
	waits := &caller{g: b}
	h.shut(a, foundExhausted)
	if b.word.Load()&1 == 0 || c.word.Load()&1 == 0 || !h.account.tell() || h.account.tell() {
		t.Fatal("the account is not shut, or not told once")
	}
	h.join(waits)
	h.now = h.account.next
	p, _ := a.ask(h.now)
	if p == nil {
		t.Fatal("nobody may probe")
	}
	if q, _, _ := b.look(waits.w, h.now.Add(time.Hour), h.now); q != nil {
		t.Fatal("two probe for one account")
	}
	a.dry(p, p.episode, foundUnknown, 0, h.now)
	h.now = h.account.next
	if p, _ := a.ask(h.now); p != nil {
		t.Error("it is the turn of b")
	}
	p, _, _ = b.look(waits.w, h.now.Add(time.Hour), h.now)
	if p == nil {
		t.Fatal("b may not probe")
	}
	b.admit(p, h.now)
	if h.account.exhausted || h.account.drained.Load() || c.word.Load()&1 != 0 || a.state != gateOpen {
		t.Errorf("exhausted %v, a in state %v", h.account.exhausted, a.state)
	}
}

// TestGateStandsRandomLife drives gates with arrivals, departures and answers in random
// order. At any time there is one prober at most, and in the end nobody was forgotten.
func TestGateStandsRandomLife(t *testing.T) {
	seeds := uint64(400)
	if Raced {
		seeds = 100
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { randomLife(t, seed) })
	}
}

func FuzzGateStandsRandomLife(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { randomLife(t, seed) })
}

func randomLife(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 7))
	h := newHouse(r.Float64, "a", "b", "c")
	gates := h.account.gates
	full := false // whether the market has tokens
	var waiting, sent []*caller
	served, left, arrived := 0, 0, 0
	check := func() {
		t.Helper()
		for _, g := range gates {
			probers := 0
			for _, c := range sent {
				// One that gets no answer is followed by others in time.
				if c.g == g && c.pass != nil && !c.pass.used && c.pass.episode == g.episode && h.now.Sub(c.began) < h.retry.Patience {
					probers++
				}
			}
			if g.state == gateProbing && probers > 1 {
				t.Fatalf("seed %d: gate %s has %d probers", seed, g.instrument, probers)
			}
			if g.release.out < 0 || g.state == gateOpen && (g.line.n > 0 || g.word.Load()&1 != 0) {
				t.Fatalf("seed %d: gate %s: state %v, %d out, %d in line", seed, g.instrument, g.state, g.release.out, g.line.n)
			}
			if g.state == gateReleasing && g.release.room() > 0 && g.line.n > 0 {
				t.Fatalf("seed %d: gate %s lets wait who may go", seed, g.instrument)
			}
		}
	}
	look := func() {
		still := waiting[:0]
		for _, c := range waiting {
			select {
			case <-c.w.wake:
			default:
				if h.now.Before(c.until) {
					still = append(still, c)
					continue // it sleeps: nobody woke it
				}
			}
			p, until, over := c.g.look(c.w, c.end, h.now)
			c.until = until
			switch {
			case p != nil:
				c.pass, c.episode, c.began = p, p.episode, h.now
				c.w.pass = nil
				sent = append(sent, c)
			case over:
				c.g.leave(c.w, h.now)
				left++
			default:
				still = append(still, c)
			}
		}
		waiting = still
	}
	come := func(c *caller) {
		g := c.g
		switch {
		case g.word.Load()&1 == 0:
			c.pass, c.episode = nil, g.episode
			sent = append(sent, c)
			return
		case g.line.n == 0:
			if p, _ := g.ask(h.now); p != nil {
				c.pass, c.episode, c.began = p, p.episode, h.now
				sent = append(sent, c)
				return
			}
		}
		if r.IntN(8) == 0 && !full {
			if g.later(h.now) < 0 {
				t.Fatal("come back in the past")
			}
			left++
			return
		}
		h.join(c)
		c.until = time.Time{}
		waiting = append(waiting, c)
	}
	step := func() {
		switch k := r.IntN(10); {
		case k < 3 && arrived < 200:
			arrived++
			come(&caller{g: gates[r.IntN(3)], tenant: fmt.Sprint(r.IntN(4)), end: h.now.Add(time.Duration(r.IntN(400)) * time.Second)})
		case k < 4 && len(waiting) > 0: // one leaves, also in the moment in which it was its turn
			i := r.IntN(len(waiting))
			c := waiting[i]
			waiting = append(waiting[:i], waiting[i+1:]...)
			c.g.leave(c.w, h.now)
			left++
		case k < 8 && len(sent) > 0:
			i := r.IntN(len(sent))
			c := sent[i]
			sent = append(sent[:i], sent[i+1:]...)
			switch n := r.IntN(10); {
			case n == 0: // a 500, or Begin refused
				if c.pass != nil {
					c.g.nothing(c.pass, r.IntN(2) == 0, h.now)
				}
				left++
			case full || n == 1:
				h.account.admissions.Add(1)
				if c.pass != nil {
					c.g.admit(c.pass, h.now)
				} else if h.account.exhausted && r.IntN(2) == 0 {
					h.account.clear(c.g, h.now)
				}
				served++
			default:
				c.g.dry(c.pass, c.episode, finding(r.IntN(3)), time.Duration(r.IntN(3))*time.Second, h.now)
				come(c)
			}
		default:
			h.now = h.now.Add(time.Duration(r.IntN(5000)) * time.Millisecond)
			look()
		}
		check()
	}
	for range 3000 {
		if r.IntN(100) == 0 {
			full = !full
		}
		step()
	}
	// The market is full from here on, and time passes: all must get out.
	full = true
	for _, c := range waiting {
		c.end = h.now.Add(24 * time.Hour)
		c.w.rouse() // it has a new end
	}
	for i := 0; len(waiting)+len(sent) > 0; i++ {
		if i > 10000 {
			t.Fatalf("seed %d: %d wait and %d are under way for ever", seed, len(waiting), len(sent))
		}
		if len(sent) > 0 && r.IntN(3) > 0 {
			c := sent[0]
			sent = sent[1:]
			h.account.admissions.Add(1)
			if c.pass != nil {
				c.g.admit(c.pass, h.now)
			}
			served++
		} else {
			h.now = h.now.Add(time.Second)
			look()
		}
		check()
	}
	if served+left != arrived {
		t.Fatalf("seed %d: %d arrived, %d served, %d left", seed, arrived, served, left)
	}
	// One last call on each instrument finds it open, or opens it.
	for range 3 {
		for _, g := range gates {
			h.now = h.now.Add(time.Hour)
			if g.word.Load()&1 != 0 {
				p, _ := g.ask(h.now)
				if p == nil {
					t.Fatalf("seed %d: gate %s is shut with nobody in front: state %v", seed, g.instrument, g.state)
				}
				g.admit(p, h.now)
			}
		}
	}
	for _, g := range gates {
		if g.state != gateOpen || g.line.n != 0 || g.prober != nil || g.release.out != 0 || len(g.line.tenants) != 0 || g.line.first != nil {
			t.Fatalf("seed %d: gate %s ends in state %v with %d in line, %d out", seed, g.instrument, g.state, g.line.n, g.release.out)
		}
	}
}

func TestLineTakesTenantsInTurn(t *testing.T) {
	var l line
	ticket := uint64(0)
	names := map[*waiter]string{}
	join := func(tenant string, n int) {
		for range n {
			ticket++
			w := &waiter{ticket: ticket}
			names[w] = tenant
			l.join(w, tenant, false)
		}
	}
	join("a", 4)
	join("b", 2)
	join("c", 1)
	got := ""
	for range 2 {
		got += names[l.pop()]
	}
	w := l.pop()
	got += names[w]
	l.join(w, "c", true) // it came back without having been served: its tenant is first
	for x := l.pop(); x != nil; x = l.pop() {
		got += names[x]
	}
	if got != "abccabaa" || l.n != 0 {
		t.Errorf("served %s", got)
	}
}

func TestRetryBudgetBoundsTheLoadOfAnOutage(t *testing.T) {
	r := Retry{}.withDefaults()
	var b retryBudget
	now := time.Unix(1000, 0)
	firsts, retries := 0, 0
	for range 10_000 { // ten minutes, every first attempt fails and is retried while it may be
		now = now.Add(60 * time.Millisecond)
		b.earn(&r, now)
		firsts++
		for range 4 {
			if b.spend(&r, 1, now) {
				retries++
			}
		}
	}
	if limit := firsts/10 + 11*10; retries > limit || retries < limit-20 {
		t.Errorf("%d retries for %d first attempts, want about %d", retries, firsts, limit)
	}
	idle := now.Add(time.Hour)
	if n := 0; true {
		for b.spend(&r, 2, idle) {
			n++
		}
		if n != 50 {
			t.Errorf("%d ambiguous retries after an hour of rest, want 50", n)
		}
	}
}

func TestSlowAgentIsNotStarvedOfRetries(t *testing.T) {
	r := Retry{}.withDefaults()
	var b retryBudget
	now := time.Unix(1000, 0)
	for i := range 100 {
		now = now.Add(time.Minute)
		b.earn(&r, now)
		for range 10 {
			if !b.spend(&r, 1, now) {
				t.Fatalf("no retry left in minute %d", i)
			}
		}
	}
}

func TestBreakerOpensAndLetsOneCallTry(t *testing.T) {
	r := Retry{}.withDefaults()
	var b breaker
	now := time.Unix(1000, 0)
	for i := range 19 {
		b.report(&r, healthBad, false, now)
		if _, wait := b.pass(&r, now); wait != 0 {
			t.Fatalf("open after %d calls", i+1)
		}
	}
	for range 100 {
		b.report(&r, healthUnknown, false, now) // 402, 429 and caller errors do not count
	}
	if _, wait := b.pass(&r, now); wait != 0 {
		t.Fatal("it counts what says nothing")
	}
	b.report(&r, healthBad, false, now)
	if _, wait := b.pass(&r, now); wait != r.BreakerPause {
		t.Fatalf("not open: wait %v", wait)
	}
	now = now.Add(r.BreakerPause)
	trial, wait := b.pass(&r, now)
	if !trial || wait != 0 {
		t.Fatal("nobody may try")
	}
	if trial, wait := b.pass(&r, now); trial || wait == 0 {
		t.Fatal("two may try")
	}
	b.report(&r, healthUnknown, true, now) // it was cancelled: the next one tries
	if trial, _ := b.pass(&r, now); !trial {
		t.Fatal("a cancelled trial keeps it shut")
	}
	b.report(&r, healthBad, true, now)
	if trial, wait := b.pass(&r, now); trial || wait != r.BreakerPause {
		t.Fatal("a failed trial does not keep it open")
	}
	now = now.Add(r.BreakerPause)
	b.pass(&r, now)
	b.report(&r, healthGood, true, now)
	if trial, wait := b.pass(&r, now); trial || wait != 0 {
		t.Fatal("a good trial does not close it")
	}
}

func TestBreakerForgetsOldFailures(t *testing.T) {
	r := Retry{}.withDefaults()
	var b breaker
	now := time.Unix(1000, 0)
	for range 15 {
		b.report(&r, healthBad, false, now)
	}
	now = now.Add(r.BreakerWindow + 3*time.Second)
	for range 19 {
		b.report(&r, healthBad, false, now)
	}
	if _, wait := b.pass(&r, now); wait != 0 {
		t.Error("failures of long ago count")
	}
}

func TestOpenGateCostsNothing(t *testing.T) {
	c, err := New(Config{APIKey: "k"})
	if err != nil {
		t.Fatal(err)
	}
	k := &call{client: c, req: &Request{Instrument: "agent-prime"}, lane: c.lane("agent-prime"), attempts: 0}
	ctx := t.Context()
	out := &outcome{res: &Response{}}
	if n := testing.AllocsPerRun(1000, func() {
		if err := k.admit(ctx, 1000); err != nil {
			t.Fatal(err)
		}
		k.admitted()
		k.learn(ctx, out)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
