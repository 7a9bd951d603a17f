package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

// probeLimits is what a probe may do. Money is nano-USD.
type probeLimits struct {
	instrument, dry   string
	ceiling, maxPrice int64
	requests          int
	out               string
}

// probe asks the market what its documents leave open. Every request is counted and
// every one that may be paid for is reckoned at its upper bound before it is sent.
type probe struct {
	probeLimits
	http    *http.Client // follows nothing
	base    *url.URL
	key     string
	client  *grid.Client
	trading *grid.Trading // nil without credentials

	price       int64 // nano-USD per Unit, an upper bound; 0: unknown
	maxOutput   int64
	made        int
	bound       int64 // of all that may have been paid for
	redirected  bool  // an unfollowed request is known to be free
	began       time.Time
	first, cut  answer
	totalTokens int64
	findings    []gridtest.Finding
}

var (
	errRequests = errors.New("the limit of -requests is reached")
	errCeiling  = errors.New("the ceiling is reached")
	errNoPrice  = errors.New("no price is known: set -max-price")
)

// answer is one HTTP answer, read as far as it matters.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) id() string { return a.header.Get("X-Grid-Request-Id") }

func (d *doctor) probe(ctx context.Context, cfg grid.CheckConfig, limits probeLimits) int {
	limits.instrument = cmp.Or(limits.instrument, "text-standard")
	p := &probe{probeLimits: limits, key: cfg.Config.APIKey, began: time.Now(), price: limits.maxPrice}
	cfg.Config.Retry = grid.Retry{Max: -1}
	transport := d.transport
	if transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		defer own.CloseIdleConnections()
		transport = own
	}
	p.http = &http.Client{Transport: counted{p, transport}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	cfg.Config.HTTPClient = &http.Client{Transport: counted{p, transport}}
	client, err := grid.New(cfg.Config)
	if err != nil {
		return d.misused("%v", err)
	}
	defer client.Close()
	p.client = client
	if p.base, err = url.Parse(strings.TrimRight(cfg.Config.BaseURL, "/")); err != nil {
		return d.misused("-base-url: %v", err)
	}
	if cfg.Trading != nil {
		if p.trading, err = grid.NewTrading(*cfg.Trading); err != nil {
			return d.misused("%v", err)
		}
		defer p.trading.Close()
	}
	p.look(ctx)

	profile := gridtest.Profile{Name: "probe of " + p.base.Host, At: p.began.UTC().Truncate(time.Second), Findings: p.findings}
	for _, f := range p.findings {
		what := f.Assumption
		if f.Question != "" {
			what += " " + f.Question
		}
		if f.State != gridtest.NotVisible && f.Reading != "" {
			what += " = " + f.Reading
		}
		fmt.Fprintf(d.stdout, "%-11s  %s: %s\n", f.State, what, f.Saw)
	}
	fmt.Fprintf(d.stdout, "%d requests, paid for with %s at most\n", p.made, usd(p.bound))
	if limits.out == "" {
		return exitFine
	}
	b, err := json.MarshalIndent(profile, "", "  ")
	if err == nil {
		err = os.WriteFile(limits.out, append(b, '\n'), 0o600)
	}
	if err != nil {
		fmt.Fprintf(d.stderr, "doctor: the profile cannot be written: %v\n", err)
		return exitBroken
	}
	return exitFine
}

// counted lets requests through until there were enough.
type counted struct {
	probe *probe
	next  http.RoundTripper
}

func (c counted) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.probe.made >= c.probe.requests {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, errRequests
	}
	c.probe.made++
	return c.next.RoundTrip(r)
}

// afford reckons a request at its upper bound: a token for each byte, what a template
// may add, and the whole answer.
func (p *probe) afford(body string, maxTokens int64) error {
	if p.price <= 0 {
		return errNoPrice
	}
	tokens := uint64(int64(len(body)) + grid.DefaultTemplateTokens + maxTokens)
	hi, lo := bits.Mul64(tokens, uint64(p.price))
	if hi != 0 {
		return errCeiling
	}
	cost := int64(lo/grid.TokensPerUnit) + 1
	if cost > p.ceiling-p.bound {
		return errCeiling
	}
	p.bound += cost
	return nil
}

// send makes one request. A key is sent to the base URL only.
func (p *probe) send(ctx context.Context, method, to, key, body string, limit int64) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, to, strings.NewReader(body))
	if err != nil {
		return answer{}, errors.New("the address cannot be used")
	}
	req.Header.Set("User-Agent", "gridloop-doctor")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := p.http.Do(req)
	if err != nil {
		// The address of a redirect carries a token.
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err
		}
		return answer{}, err
	}
	defer res.Body.Close()
	a := answer{status: res.StatusCode, header: res.Header}
	if limit < 0 { // one read is enough to have begun
		a.body = make([]byte, 512)
		n, _ := res.Body.Read(a.body)
		a.body = a.body[:n]
		return a, nil
	}
	a.body, err = io.ReadAll(io.LimitReader(res.Body, limit))
	return a, err
}

const maxAnswer = 4 << 20

func (p *probe) get(ctx context.Context, path, key string) (answer, error) {
	return p.send(ctx, http.MethodGet, p.base.String()+path, key, "", maxAnswer)
}

// knock sends a request to the first hop.
func (p *probe) knock(ctx context.Context, body string) (answer, error) {
	return p.send(ctx, http.MethodPost, p.base.String()+"/chat/completions", p.key, body, maxAnswer)
}

// follow goes where a redirect leads, without the key. limit is as in send.
func (p *probe) follow(ctx context.Context, from answer, body string, limit int64) (answer, error) {
	to, err := p.base.Parse(from.header.Get("Location"))
	if err != nil || to.Host == "" || to.Scheme != "https" && !loopback(to.Hostname()) {
		return answer{}, errors.New("the redirect leads where no request should go")
	}
	return p.send(ctx, http.MethodPost, to.String(), "", body, limit)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// note records what was seen of an assumption that has no reading of its own.
func (p *probe) note(assumption string, holds bool, format string, args ...any) {
	state := gridtest.Refuted
	if holds {
		state = gridtest.Confirmed
	}
	p.findings = append(p.findings, gridtest.Finding{Assumption: assumption, State: state, Saw: p.clean(fmt.Sprintf(format, args...))})
}

// read records how the market answers a question.
func (p *probe) read(question, reading, format string, args ...any) {
	for _, q := range gridtest.Questions() {
		if q.Name != question {
			continue
		}
		state := gridtest.Refuted
		if reading == q.Assumed {
			state = gridtest.Confirmed
		}
		p.findings = append(p.findings, gridtest.Finding{Assumption: q.Assumption, Question: question, Reading: reading, State: state, Saw: p.clean(fmt.Sprintf(format, args...))})
	}
}

// unseen records that nothing was seen, and why.
func (p *probe) unseen(assumption, why string, questions ...string) {
	if len(questions) == 0 {
		p.findings = append(p.findings, gridtest.Finding{Assumption: assumption, State: gridtest.NotVisible, Saw: p.clean(why)})
	}
	for _, q := range questions {
		p.findings = append(p.findings, gridtest.Finding{Assumption: assumption, Question: q, State: gridtest.NotVisible, Saw: p.clean(why)})
	}
}

// clean keeps texts of the market short, on one line, and without what is secret.
func (p *probe) clean(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if p.key != "" {
		s = strings.ReplaceAll(s, p.key, "[hidden]")
	}
	if at := strings.Index(s, "token="); at >= 0 {
		s = s[:at] + "[hidden]"
	}
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "..."
	}
	return s
}

// detail is the text of an error in either envelope, and which one it was.
func (a answer) detail() (text, envelope string) {
	var e struct {
		Errors struct {
			Detail json.RawMessage `json:"detail"`
		} `json:"errors"`
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(a.body, &e) != nil {
		return "", ""
	}
	plain := func(raw json.RawMessage) string {
		var s string
		if json.Unmarshal(raw, &s) == nil {
			return s
		}
		return string(raw)
	}
	switch {
	case e.Errors.Detail != nil:
		return plain(e.Errors.Detail), "market"
	case bytes.HasPrefix(bytes.TrimSpace(e.Error), []byte("{")):
		var inner struct {
			Message json.RawMessage `json:"message"`
		}
		_ = json.Unmarshal(e.Error, &inner)
		return plain(inner.Message), "supplier"
	case e.Error != nil:
		return plain(e.Error), ""
	}
	return "", ""
}

// usd prints nano-USD, rounded up to a hundredth of a cent.
func usd(nano int64) string { return fmt.Sprintf("$%.4f", float64((nano+99_999)/100_000)/1e4) }
