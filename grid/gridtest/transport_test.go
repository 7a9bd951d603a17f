package gridtest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid/gridtest"
)

// slow is a market whose streams take a second per piece.
func slow(config gridtest.Config) *gridtest.Market {
	m := gridtest.New(config)
	m.Model(func(gridtest.Turn) gridtest.Reply {
		return gridtest.Reply{Text: "a long story", Chunks: 10, DeltaDelay: time.Second}
	})
	return m
}

func startStream(t *testing.T, ctx context.Context, m *gridtest.Market) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, m.BaseURL()+"/chat/completions", strings.NewReader(strings.Replace(hello, "{", `{"stream":true,`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+m.Key())
	return memoryClient(m).Do(req)
}

func TestAReadEndsWhenItsContextDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := slow(gridtest.Config{})
		defer m.Close()
		gone := errors.New("gone")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3500*time.Millisecond, gone)
		defer cancel()
		start := time.Now()
		resp, err := startStream(t, ctx, m)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
		if !errors.Is(err, gone) && !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3500*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestARequestEndsWithItsContextBeforeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := gridtest.New(gridtest.Config{Latency: time.Hour})
		defer m.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := startStream(t, ctx, m); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		synctest.Wait()
		if r := m.Requests()[1]; !r.Billed || r.Status != 0 {
			t.Errorf("a request that was given up: %+v", r)
		}
		if _, err := startStream(t, ctx, m); err == nil {
			t.Error("a dead context still asks")
		}
	})
}

func TestCloseEndsStreamsAndLaterRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := slow(gridtest.Config{})
		resp, err := startStream(t, t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		ended := make(chan error)
		go func() {
			_, err := io.ReadAll(resp.Body)
			ended <- err
		}()
		time.Sleep(1500 * time.Millisecond)
		m.Close()
		if err := <-ended; !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the stream under way ended with %v", err)
		}
		if _, err := startStream(t, t.Context(), m); err == nil || !strings.Contains(err.Error(), "market is closed") {
			t.Errorf("a request after Close: %v", err)
		}
		m.Close() // once more does nothing
	})
}

func TestCloseEndsTheServer(t *testing.T) {
	m := gridtest.New(gridtest.Config{Latency: time.Hour})
	base := m.URL()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	ended := make(chan error)
	go func() {
		req, _ := http.NewRequest(http.MethodPost, base+"/chat/completions", strings.NewReader(hello))
		req.Header.Set("Authorization", "Bearer "+m.Key())
		resp, err := (&http.Client{Transport: transport}).Do(req)
		if err == nil {
			resp.Body.Close()
		}
		ended <- err
	}()
	for len(m.Requests()) < 2 || !m.Requests()[1].Billed {
		select {
		case err := <-ended:
			t.Fatalf("answered too soon: %v", err)
		default:
		}
	}
	m.Close()
	if err := <-ended; err == nil {
		t.Error("the request under way was answered")
	}
	if m.URL() != base {
		t.Errorf("the URL became %q", m.URL())
	}
	if gridtest.New(gridtest.Config{}).Bill("") != 0 {
		t.Error("a new market has a bill")
	}
	never := gridtest.New(gridtest.Config{})
	never.Close()
	if never.URL() != "" {
		t.Error("a closed market started a server")
	}
}

func TestABodyThatIsClosedIsNotRead(t *testing.T) {
	m := gridtest.New(gridtest.Config{})
	defer m.Close()
	resp := post(t, memoryClient(m), m.BaseURL()+"/chat/completions", m.Key(), hello)
	if resp.ContentLength <= 0 || resp.Header.Get("Content-Length") == "" || resp.Proto != "HTTP/1.1" || resp.Status != "200 OK" {
		t.Errorf("response %+v", resp)
	}
	resp.Body.Close()
	if _, err := resp.Body.Read(make([]byte, 1)); err == nil {
		t.Error("read after Close")
	}
}

func TestClientTracesSeeTheRequestWritten(t *testing.T) {
	m := gridtest.New(gridtest.Config{})
	defer m.Close()
	m.Fault(gridtest.Fault{Kind: gridtest.DropConnection, Hop: 1})
	var events []string
	trace := &httptrace.ClientTrace{
		WroteHeaders:         func() { events = append(events, "headers") },
		WroteRequest:         func(i httptrace.WroteRequestInfo) { events = append(events, "request") },
		GotFirstResponseByte: func() { events = append(events, "answer") },
	}
	for _, want := range []string{"headers request", "headers request answer headers request answer"} {
		events = nil
		resp, err := startStream(t, httptrace.WithClientTrace(t.Context(), trace), m)
		if err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		if got := strings.Join(events, " "); got != want {
			t.Errorf("trace %q, want %q", got, want)
		}
	}
}

// failing is a request body whose sender breaks off.
type failing struct{ io.Reader }

func (f failing) Read(p []byte) (int, error) {
	n, err := f.Reader.Read(p)
	if err == io.EOF {
		err = errors.New("the sender broke off")
	}
	return n, err
}

func TestARequestThatBreaksOffIsNotBilled(t *testing.T) {
	ways(t, gridtest.Config{}, func(t *testing.T, m *gridtest.Market, client *http.Client, base string) {
		req, err := http.NewRequest(http.MethodPost, base+"/chat/completions", failing{strings.NewReader(hello)})
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+m.Key())
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
			t.Errorf("answered with %d", resp.StatusCode)
		}
		if m.Bill("") != 0 {
			t.Errorf("bill %d", m.Bill(""))
		}
	})
}

func TestAThousandStreamsAtOnceInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := slow(gridtest.Config{})
		defer m.Close()
		start := time.Now()
		done := make(chan int, 1000)
		for range cap(done) {
			go func() {
				resp, err := startStream(t, t.Context(), m)
				if err != nil {
					t.Error(err)
					done <- 0
					return
				}
				defer resp.Body.Close()
				b, _ := io.ReadAll(resp.Body)
				done <- len(b)
			}()
		}
		size := <-done
		for range cap(done) - 1 {
			if n := <-done; n != size {
				t.Fatalf("streams of %d and %d bytes", size, n)
			}
		}
		if took := time.Since(start); took < 5*time.Second || took > 20*time.Second {
			t.Errorf("they took %v, as if one after the other", took)
		}
	})
}
