package grid_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	openai "github.com/sashabaranov/go-openai"
	"go.uber.org/goleak"

	"github.com/gridloop/gridloop/grid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noRetries(cfg *grid.Config) { cfg.Retry = grid.Retry{Max: -1} }

// TestEveryStatusOnBothHops is the table of failures seen from outside.
func TestEveryStatusOnBothHops(t *testing.T) {
	for _, row := range []struct {
		status, hop int
		class       grid.Class
		billed      grid.Billed
		proof       string
		is          error
	}{
		{400, 1, grid.ClassCaller, grid.BilledNo, grid.ProofStatus4xx, nil},
		{400, 2, grid.ClassCaller, grid.BilledNo, grid.ProofStatus4xx, nil},
		{401, 1, grid.ClassAuth, grid.BilledNo, grid.ProofStatus4xx, grid.ErrAuth},
		{401, 2, grid.ClassAuth, grid.BilledNo, grid.ProofStatus4xx, grid.ErrAuth},
		{402, 1, grid.ClassTopUp, grid.BilledNo, grid.ProofStatus402, grid.ErrDry},
		{402, 2, grid.ClassTopUp, grid.BilledNo, grid.ProofStatus402, grid.ErrDry},
		{403, 1, grid.ClassAuth, grid.BilledNo, grid.ProofStatus4xx, grid.ErrAuth},
		{404, 1, grid.ClassNotFound, grid.BilledNo, grid.ProofStatus4xx, grid.ErrUnknownInstrument},
		{404, 2, grid.ClassNotFound, grid.BilledNo, grid.ProofStatus4xx, grid.ErrUnknownInstrument},
		{408, 1, grid.ClassTimeout, grid.BilledNo, grid.ProofStatus4xx, nil},
		{408, 2, grid.ClassTimeout, grid.BilledMaybe, "", nil},
		{409, 1, grid.ClassConflict, grid.BilledNo, grid.ProofStatus4xx, nil},
		{413, 1, grid.ClassTooLong, grid.BilledNo, grid.ProofStatus4xx, grid.ErrTooLong},
		{418, 2, grid.ClassCaller, grid.BilledNo, grid.ProofStatus4xx, nil},
		{422, 1, grid.ClassCaller, grid.BilledNo, grid.ProofStatus4xx, nil},
		{422, 2, grid.ClassCaller, grid.BilledNo, grid.ProofStatus4xx, nil},
		{429, 1, grid.ClassThrottled, grid.BilledNo, grid.ProofStatus429, nil},
		{429, 2, grid.ClassThrottled, grid.BilledNo, grid.ProofStatus429, nil},
		{500, 1, grid.ClassServer, grid.BilledNo, grid.ProofRouter5xx, nil},
		{500, 2, grid.ClassServer, grid.BilledMaybe, "", nil},
		{502, 1, grid.ClassGateway, grid.BilledMaybe, "", nil},
		{502, 2, grid.ClassGateway, grid.BilledMaybe, "", nil},
		{503, 1, grid.ClassOverloaded, grid.BilledNo, grid.ProofRouter5xx, nil},
		{503, 2, grid.ClassOverloaded, grid.BilledMaybe, "", nil},
		{504, 1, grid.ClassGateway, grid.BilledMaybe, "", nil},
		{504, 2, grid.ClassGateway, grid.BilledMaybe, "", nil},
		{529, 2, grid.ClassGateway, grid.BilledMaybe, "", nil},
		{302, 1, grid.ClassRedirect, grid.BilledNo, grid.ProofNeverDispatched, grid.ErrRedirect},
	} {
		t.Run(fmt.Sprintf("%d at hop %d", row.status, row.hop), func(t *testing.T) {
			mux := http.NewServeMux()
			fail := func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(row.status)
				fmt.Fprint(w, `{"errors":{"detail":"something about it"}}`)
			}
			if row.hop == 1 {
				mux.HandleFunc("/v1/chat/completions", fail)
			} else {
				mux.HandleFunc("/v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
					http.Redirect(w, r, "/r?token=sesame-open", http.StatusTemporaryRedirect)
				})
				mux.HandleFunc("/r", fail)
			}
			s := httptest.NewServer(mux)
			defer s.Close()
			o := &watch{}
			req := ask("hi")
			req.Observer = o
			_, err := client(t, s.URL, noRetries).Chat(t.Context(), req)
			var e *grid.Error
			if !errors.As(err, &e) || e.Class != row.class || row.is != nil && !errors.Is(err, row.is) {
				t.Fatalf("error %v", err)
			}
			if v := o.verdicts[0]; v.Billed != row.billed || v.Proof != row.proof || v.Class != row.class || v.Hops != row.hop || o.ends != 1 {
				t.Errorf("verdict %+v", v)
			}
			if row.status < 400 {
				return
			}
			var api *openai.APIError
			if e.Status != row.status || e.Hop != row.hop || !errors.As(err, &api) || api.HTTPStatusCode != row.status || api.Message != "something about it" {
				t.Errorf("error %+v, go-openai's %+v", e, api)
			}
		})
	}
}

func TestErrorEnvelopes(t *testing.T) {
	for _, row := range []struct{ name, body, message, code string }{
		{"detail", `{"errors":{"detail":"text"}}`, "text", ""},
		{"machine code and message", `{"errors":{"detail":"auto_mode_trading_restricted","message":"Switch."}}`, "Switch.", "auto_mode_trading_restricted"},
		{"machine code first", `{"errors":{"message":"Switch.","detail":"mode_managed"}}`, "Switch.", "mode_managed"},
		{"machine code alone", `{"errors":{"detail":"mode_managed"}}`, "mode_managed", "mode_managed"},
		{"detail object", `{"errors":{"detail":{"email":["must have the @ sign"]}}}`, `{"email":["must have the @ sign"]}`, ""},
		{"string", `{"error":"Invalid API key"}`, "Invalid API key", ""},
		{"openai", `{"error":{"message":"bad","type":"invalid_request_error","code":"c1","param":"n"}}`, "bad", "c1"},
		{"numeric code", `{"error":{"message":"bad","code":404}}`, "bad", "404"},
		{"oauth", `{"error":"invalid_client","error_description":"who are you"}`, "who are you", ""},
		{"top level", `{"object":"error","message":"bad","type":"t","code":1500}`, "bad", "1500"},
		{"fastapi", `{"detail":[{"loc":["body"],"msg":"field required"}]}`, "field required", ""},
		{"list", `{"errors":[{"message":"first"},{"message":"second"}]}`, "first", ""},
		{"html", `<html><body>hello</body></html>`, "an HTML page instead of JSON; a proxy or a wrong address may have sent it", ""},
		{"plain", "upstream\nfailed", "upstream failed", ""},
		{"empty", "", "no text was sent", ""},
		{"byte order mark", "\ufeff" + `{"error":"x"}`, "x", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, _, err := read(t, &served{status: 400, body: []byte(row.body)}, false)
			var e *grid.Error
			if !errors.As(err, &e) || e.Message != row.message || e.Code != row.code {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestSecretsStayOutOfErrors(t *testing.T) {
	const key = "consumption-key-1"
	check := func(t *testing.T, err error) {
		t.Helper()
		if err == nil {
			t.Fatal("no error")
		}
		var walk func(error)
		walk = func(e error) {
			for _, text := range []string{e.Error(), fmt.Sprintf("%v", e)} {
				if strings.Contains(text, "sesame") || strings.Contains(text, key) || strings.Contains(text, "sk-abcdef") {
					t.Errorf("%T: %s", e, text)
				}
			}
			switch u := e.(type) {
			case interface{ Unwrap() error }:
				if inner := u.Unwrap(); inner != nil {
					walk(inner)
				}
			case interface{ Unwrap() []error }:
				for _, inner := range u.Unwrap() {
					walk(inner)
				}
			}
		}
		walk(err)
	}
	t.Run("a provider repeats the key", func(t *testing.T) {
		_, _, err := read(t, &served{status: 401, body: []byte(`{"error":{"message":"bad key consumption-key-1, Bearer sesame-x, sk-abcdef; see https://x.test/r?token=sesame"}}`)}, false)
		check(t, err)
	})
	t.Run("the redirect's host is gone", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		gone := l.Addr().String()
		_ = l.Close()
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://"+gone+"/r?token=sesame-open", http.StatusTemporaryRedirect)
		}))
		defer s.Close()
		o := &watch{}
		req := ask("hi")
		req.Observer = o
		_, err = client(t, s.URL, noRetries).Chat(t.Context(), req)
		check(t, err)
		if v := o.verdicts[0]; v.Billed != grid.BilledNo || v.Proof != grid.ProofDial || v.Hops != 2 || v.Class != grid.ClassTransport {
			t.Errorf("verdict %+v", v)
		}
	})
	t.Run("a transport repeats the address", func(t *testing.T) {
		c := client(t, "https://market.test", func(cfg *grid.Config) {
			noRetries(cfg)
			cfg.HTTPClient = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
				if strings.Contains(r.URL.RawQuery, "token") {
					return nil, fmt.Errorf("cannot reach %s with %s: %w", r.URL, r.Header.Get("Authorization"), io.ErrUnexpectedEOF)
				}
				return &http.Response{StatusCode: 307, Header: http.Header{"Location": {"/r?token=sesame-open"}}, Body: http.NoBody, Request: r}, nil
			})}
		})
		_, err := c.Chat(t.Context(), ask("hi"))
		check(t, err)
	})
	t.Run("a redirect that is not followed", func(t *testing.T) {
		for _, to := range []string{"http://evil.test/r?token=sesame", "ftp://x/?token=sesame", "https://other.test/?token=sesame", "::bad?token=sesame"} {
			c := client(t, "https://market.test", func(cfg *grid.Config) {
				noRetries(cfg)
				cfg.RedirectHosts = []string{"listed.test"}
				cfg.HTTPClient = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
					return &http.Response{StatusCode: 307, Header: http.Header{"Location": {to}}, Body: http.NoBody, Request: r}, nil
				})}
			})
			_, err := c.Chat(t.Context(), ask("hi"))
			check(t, err)
			if !errors.Is(err, grid.ErrRedirect) {
				t.Errorf("%s: %v", to, err)
			}
		}
	})
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestWhoSeesTheKeyAfterARedirect(t *testing.T) {
	for _, row := range []struct {
		name, to string
		hosts    []string
		key      bool
	}{
		{"the same host", "https://market.test/r?token=x", nil, true},
		{"a relative address", "/r?token=x", nil, true},
		{"another port", "https://market.test:8443/r?token=x", nil, false},
		{"another host", "https://supplier.test/r?token=x", nil, false},
		{"a sibling", "https://r.market.test/r", nil, false},
		{"a listed host", "https://supplier.test/r?token=x", []string{"Supplier.test"}, true},
		{"own host when others are listed", "/r?token=x", []string{"supplier.test"}, true},
		{"another port of loopback", "http://127.0.0.1:9/r", nil, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			base := "https://market.test"
			if strings.HasPrefix(row.to, "http:") {
				base = "http://127.0.0.1:8"
			}
			var bodies []string
			var last http.Header
			c := client(t, base, func(cfg *grid.Config) {
				cfg.RedirectHosts = row.hosts
				cfg.HTTPClient = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
					b, _ := io.ReadAll(r.Body)
					bodies = append(bodies, r.Method+string(b))
					last = r.Header
					if len(bodies) == 1 {
						return &http.Response{StatusCode: 307, Header: http.Header{"Location": {row.to}}, Body: http.NoBody, Request: r}, nil
					}
					return served200(answerJSON).RoundTrip(r)
				})}
			})
			req := ask("hi")
			req.Header = http.Header{"X-Secret": {"s"}, "Traceparent": {"00-1"}, "idempotency-key": {"k"}}
			if _, err := c.Chat(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			if (last.Get("Authorization") != "") != row.key || (last.Get("X-Secret") != "") != row.key {
				t.Errorf("the target saw %v", last)
			}
			if last.Get("Traceparent") == "" || last.Get("Content-Type") == "" || last.Get("Idempotency-Key") != "" {
				t.Errorf("the target saw %v", last)
			}
			if len(bodies) != 2 || bodies[0] != bodies[1] {
				t.Errorf("hops sent %q", bodies)
			}
		})
	}
}

func TestRedirectsInACircleEnd(t *testing.T) {
	for _, to := range []string{"/v1/chat/completions?token=a", "/r"} {
		var asked, beyond atomic.Int32
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/r" {
				beyond.Add(1)
			} else {
				asked.Add(1)
			}
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		}))
		_, err := client(t, s.URL, nil).Chat(t.Context(), ask("hi"))
		s.Close()
		if !errors.Is(err, grid.ErrRedirect) || asked.Load() != 1 || beyond.Load() > 3 {
			t.Errorf("%s: %v after %d and %d requests", to, err, asked.Load(), beyond.Load())
		}
	}
}

// Whoever sets an idempotency key, and however its name is written, none goes out: with
// one, net/http would send a billed request again by itself.
func TestNoIdempotencyKeyGoesOut(t *testing.T) {
	var sent http.Header
	c := client(t, "https://market.test", func(cfg *grid.Config) {
		cfg.HTTPClient = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			sent = r.Header
			return served200(answerJSON).RoundTrip(r)
		})}
	})
	for _, name := range []string{"Idempotency-Key", "idempotency-key", "IDEMPOTENCY-KEY", "X-Idempotency-Key", "x-idempotency-key"} {
		req := ask("hi")
		o := &watch{}
		switch name[0] {
		case 'I', 'X':
			req.Header = http.Header{name: {"k"}}
		default:
			o.begin = func(a *grid.Attempt) error { a.Header[name] = []string{"k"}; return nil }
		}
		req.Observer = o
		if _, err := c.Chat(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		theirs := chatRequest(t, `{"model":"agent-prime","messages":[]}`)
		theirs.Header[name] = []string{"k"}
		for _, h := range []func() http.Header{func() http.Header { return sent }, func() http.Header {
			if _, err := c.Doer().Do(theirs); err != nil {
				t.Error(err)
			}
			return sent
		}} {
			for have := range h() {
				if strings.Contains(strings.ToLower(have), "idempotency") {
					t.Errorf("%s was set, %s went out", name, have)
				}
			}
		}
	}
}

// A connection that is dropped after the request was read must not be used to send it
// again, neither by net/http nor, with retries off, by us.
func TestDroppedConnectionIsOneRequest(t *testing.T) {
	for _, row := range []struct {
		name  string
		retry grid.Retry
		want  int32
	}{
		{"retries off", grid.Retry{Max: -1}, 1},
		{"retries on", grid.Retry{Base: time.Millisecond}, 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			var n, drop atomic.Int32
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if drop.Load() == 0 {
					fmt.Fprint(w, answerJSON)
					return
				}
				n.Add(1)
				conn, _, err := w.(http.Hijacker).Hijack()
				if err == nil {
					_ = conn.Close()
				}
			}))
			defer s.Close()
			c := client(t, s.URL, func(cfg *grid.Config) { cfg.Retry = row.retry })
			o := &watch{}
			req := ask("hi")
			req.Observer = o
			req.Header = http.Header{"Idempotency-Key": {"k"}, "X-Idempotency-Key": {"k"}}
			// First a good answer, so that the next request finds a connection to reuse.
			if _, err := c.Chat(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			drop.Store(1)
			*o = watch{}
			_, err := c.Chat(t.Context(), req)
			var e *grid.Error
			if !errors.As(err, &e) || e.Class != grid.ClassAmbiguous || n.Load() != row.want || o.begins != int(row.want) || o.ends != o.begins {
				t.Errorf("%v: %d requests, %d attempts", err, n.Load(), o.begins)
			}
			for _, v := range o.verdicts {
				if v.Billed != grid.BilledMaybe {
					t.Errorf("verdict %+v", v)
				}
			}
		})
	}
}

func TestCancelInTheMiddleOfAStream(t *testing.T) {
	s := market(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	why := errors.New("the user left")
	o := &watch{}
	req := ask("hi")
	req.Stream, req.Observer = true, o
	req.OnDelta = func(grid.Delta) { cancel(why) }
	_, err := client(t, s.URL, nil).Chat(ctx, req)
	if !errors.Is(err, context.Canceled) || !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
	if v := o.verdicts[0]; o.ends != 1 || v.Billed != grid.BilledMaybe || v.Class != grid.ClassCanceled {
		t.Errorf("verdict %+v", v)
	}
}

func TestEndIsCalledWhenACallbackPanics(t *testing.T) {
	o := &watch{}
	c := client(t, "https://market.test", func(cfg *grid.Config) {
		cfg.HTTPClient = &http.Client{Transport: served200("data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}]}\n\n")}
	})
	req := ask("hi")
	req.Stream, req.Observer = true, o
	req.OnDelta = func(grid.Delta) { panic("mine") }
	func() {
		defer func() {
			if recover() != "mine" {
				t.Error("the panic was swallowed")
			}
		}()
		_, _ = c.Chat(t.Context(), req)
	}()
	if o.ends != 1 || o.verdicts[0].Billed != grid.BilledMaybe {
		t.Errorf("%d ends, %+v", o.ends, o.verdicts)
	}
	if err := c.Shutdown(t.Context()); err != nil {
		t.Errorf("the call still counts as in flight: %v", err)
	}
}

func TestBeginThatPanicsRefuses(t *testing.T) {
	s := served200(answerJSON)
	c := client(t, "https://market.test", func(cfg *grid.Config) { cfg.HTTPClient = &http.Client{Transport: s} })
	o := &watch{begin: func(*grid.Attempt) error { panic("store is gone") }}
	req := ask("hi")
	req.Observer = o
	_, err := c.Chat(t.Context(), req)
	if err == nil || !strings.Contains(err.Error(), "store is gone") || s.calls != 0 || o.ends != 0 {
		t.Errorf("%v, %d requests, %d ends", err, s.calls, o.ends)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for _, row := range []struct {
		name, body string
		stream     bool
		is         error
	}{
		{"empty", "", false, grid.ErrMalformed},
		{"white space", " \n\n ", false, grid.ErrMalformed},
		{"html", "<!DOCTYPE html><p>hi", false, grid.ErrMalformed},
		{"not json", `{"choices":[}`, false, grid.ErrMalformed},
		{"no choices", `{"id":"x","choices":[]}`, false, grid.ErrNoChoices},
		{"choices null", `{"id":"x","choices":null}`, false, grid.ErrNoChoices},
		{"an array", `[]`, false, grid.ErrMalformed},
		{"half a body", `{"choices":[{"message":{"content":"abc`, false, grid.ErrCut},
		{"stream without choices", "data: {\"id\":\"x\"}\n\ndata: [DONE]\n\n", true, grid.ErrNoChoices},
		{"stream without end", "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n", true, grid.ErrCut},
		{"stream of comments", ": ping\n\n", true, grid.ErrCut},
		{"broken chunk", "data: {\"choices\":\n\ndata: [DONE]\n\n", true, grid.ErrMalformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			res, _, err := read(t, served200(row.body), row.stream)
			if res != nil || !errors.Is(err, row.is) {
				t.Errorf("%+v, %v", res, err)
			}
		})
	}
}

func TestCutStreamKeepsWhatArrived(t *testing.T) {
	_, _, err := read(t, served200("data: {\"choices\":[{\"delta\":{\"content\":\"abc\",\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}}]}\n\n"), true)
	cut, ok := errors.AsType[*grid.CutError](err)
	if !ok || cut.Partial.Message.Text() != "abc" || len(cut.Partial.Message.ToolCalls) != 1 {
		t.Errorf("%+v (%v)", cut, err)
	}
}

// A redirect that is refused behind the market's own was refused by a host that serves
// models: it may have served.
func TestARefusedRedirectOfASupplierMayHaveBeenBilled(t *testing.T) {
	for _, to := range []int{http.StatusFound, http.StatusSeeOther} {
		s := market(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			http.Redirect(w, r, "/elsewhere", to)
		})
		o := &watch{}
		req := ask("hi")
		req.Observer = o
		_, err := client(t, s.URL, noRetries).Chat(t.Context(), req)
		if !errors.Is(err, grid.ErrRedirect) || len(o.verdicts) != 1 || o.verdicts[0].Billed != grid.BilledMaybe || o.verdicts[0].Proof != "" {
			t.Errorf("%d: %v, verdicts %+v", to, err, o.verdicts)
		}
	}
}

func TestARedirectLeavesNoTLSAndRepeatsNoWords(t *testing.T) {
	for _, row := range []struct{ status, to, never string }{
		{"307 Temporary Redirect", "http://127.0.0.1:8080/r", "127.0.0.1/r"},
		{"307 Temporary Redirect", "http://localhost/r", "localhost/r"},
		{"303 See sesame \x1b[31m", "https://market.test/r", "sesame"},
	} {
		var hosts []string
		c := client(t, "https://market.test", func(cfg *grid.Config) {
			noRetries(cfg)
			cfg.HTTPClient = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
				hosts = append(hosts, r.URL.Host)
				status, _ := strconv.Atoi(row.status[:3])
				return &http.Response{Status: row.status, StatusCode: status, Header: http.Header{"Location": {row.to}}, Body: http.NoBody, Request: r}, nil
			})}
		})
		_, err := c.Chat(t.Context(), ask("hi"))
		if !errors.Is(err, grid.ErrRedirect) || strings.Contains(err.Error(), row.never) || len(hosts) != 1 {
			t.Errorf("%s to %s: %v, asked %v", row.status, row.to, err, hosts)
		}
	}
}

// Nobody needs the page that stands beside a redirect.
func TestAPageBesideARedirectIsNotWaitedFor(t *testing.T) {
	mux := http.NewServeMux()
	gone := make(chan bool)
	mux.HandleFunc("/v1/chat/completions", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Location", "/r")
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(http.StatusTemporaryRedirect)
		_ = http.NewResponseController(w).Flush()
		<-gone
	})
	mux.HandleFunc("/r", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, answerJSON) })
	s := httptest.NewServer(mux)
	defer s.Close()
	defer close(gone)
	res, err := client(t, s.URL, noRetries).Chat(t.Context(), ask("hi"))
	if err != nil || res.Message.Text() != "hello" {
		t.Errorf("%+v, %v", res, err)
	}
}

// Error texts are cut to a length, and a key may stand where that is.
func TestAKeyThatIsCutInHalfIsHidden(t *testing.T) {
	for _, key := range []string{"consumption-key-1", "their-own-secret-key"} {
		for at := 470; at <= 500; at++ {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusPaymentRequired)
				fmt.Fprintf(w, `{"errors":{"detail":"%s %s %s"}}`, strings.Repeat("x", at), key, strings.Repeat("y", 100))
			}))
			var texts []string
			c := client(t, s.URL, noRetries)
			if key == "consumption-key-1" {
				_, err := c.Chat(t.Context(), ask("hi"))
				texts = append(texts, err.Error())
			}
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/chat/completions", strings.NewReader(`{"model":"agent-prime","messages":[]}`))
			r.Header.Set("Authorization", "Bearer "+key)
			d := client(t, s.URL, noRetries).DoerWith(grid.DoerOptions{Wait: -1, Notify: func(n grid.Notice) { texts = append(texts, n.Detail) }, Observer: &watch{begin: nil}})
			if res, err := d.Do(r); err == nil {
				_ = res.Body.Close()
			}
			s.Close()
			for _, text := range texts {
				if strings.Contains(text, key[:8]) {
					t.Fatalf("at %d: %s", at, text)
				}
			}
			if len(texts) == 0 {
				t.Fatal("nothing was told")
			}
		}
	}
}
