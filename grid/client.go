package grid

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
)

// Client speaks to the market. It is safe for concurrent use and starts no goroutine
// of its own; connections that it opened itself are closed by Close.
type Client struct {
	settings
	retry     Retry
	catalogue *Catalogue
	limit     int64
	maxHops   int
	rand      func() float64

	// Header values are shared by all requests: nobody may write to them.
	authorization, organization, jsonType, acceptJSON, acceptEvents, agent []string

	buffers sync.Pool // *[]byte, for reading
	answers sync.Pool // *answer

	cuts     cutLog
	wordings wordings

	account account

	mu     sync.Mutex
	lanes  map[string]*lane
	calls  int
	closed bool
	done   chan struct{} // closed by Close: ends waits
	idle   chan struct{} // closed when the last call ends after Close
}

// New checks the whole configuration and returns a client. The error names every
// mistake, each with its field and what to write instead. Nothing is sent.
func New(cfg Config) (*Client, error) {
	s, err := cfg.settle()
	if err != nil {
		return nil, err
	}
	c := &Client{
		settings: s, retry: cfg.Retry.withDefaults(), catalogue: cfg.Catalogue,
		limit: cfg.MaxResponseBytes, maxHops: cfg.MaxHops, rand: cfg.Rand,
		authorization: []string{"Bearer " + s.key}, jsonType: []string{"application/json"},
		acceptJSON: []string{"application/json"}, acceptEvents: []string{"text/event-stream"},
		agent: []string{"gridloop"},
		lanes: make(map[string]*lane), done: make(chan struct{}), idle: make(chan struct{}),
	}
	if s.org != "" {
		c.organization = []string{s.org}
	}
	if c.catalogue == nil {
		c.catalogue = DefaultCatalogue()
	}
	if c.limit == 0 {
		c.limit = defaultMaxResponse
	}
	if c.maxHops == 0 {
		c.maxHops = defaultMaxHops
	}
	if c.rand == nil {
		c.rand = rand.Float64
	}
	c.account.retry, c.account.rand = &c.retry, c.rand
	c.buffers.New = func() any { b := make([]byte, 16<<10); return &b }
	c.answers.New = func() any { return new(answer) }
	return c, nil
}

// Catalogue returns the instruments and their prices, shared and live.
func (c *Client) Catalogue() *Catalogue { return c.catalogue }

// Host returns the name and the port that requests go to first.
func (c *Client) Host() (address string, port int) {
	port, err := strconv.Atoi(c.base.Port())
	if err != nil {
		port = 443
		if c.base.Scheme == "http" {
			port = 80
		}
	}
	return c.base.Hostname(), port
}

// Close refuses new calls, ends the waits of those in flight with ErrClosed, and
// closes the idle connections of our own transport. An attempt that is on the wire
// goes on: cancel its context to end it. Close is idempotent and never fails.
func (c *Client) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.done)
		if c.calls == 0 {
			close(c.idle)
		}
	}
	c.mu.Unlock()
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
	return nil
}

// Shutdown is Close, and then waits until the last call in flight has returned or ctx
// is done, whose error it returns.
func (c *Client) Shutdown(ctx context.Context) error {
	_ = c.Close()
	select {
	case <-c.idle:
	case <-ctx.Done():
		return ctx.Err()
	}
	return c.Close() // the last call's connection is idle now
}

// enter counts a call in, unless the client is closed.
func (c *Client) enter() bool {
	_, ok := c.enterFor("")
	return ok
}

// enterFor is enter for a call to an instrument, whose lane it finds.
func (c *Client) enterFor(instrument string) (*lane, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, false
	}
	c.calls++
	if instrument == "" {
		return nil, true
	}
	return c.laneOf(instrument), true
}

func (c *Client) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls--; c.calls == 0 && c.closed {
		close(c.idle)
	}
}

func (c *Client) lane(instrument string) *lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.laneOf(instrument)
}

// do sends one request and follows no redirect.
func (c *Client) do(req *http.Request) (*http.Response, error) { return c.doer.Do(req) }
