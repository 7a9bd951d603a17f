package grid_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid"
)

// step is one answer of a scripted market.
type step struct {
	status int
	header http.Header
	body   string
}

type script struct {
	steps []step
	times []time.Time
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	_, _ = io.Copy(io.Discard, r.Body)
	st := s.steps[min(len(s.times), len(s.steps)-1)]
	s.times = append(s.times, time.Now())
	return (&served{status: st.status, header: st.header, body: []byte(st.body)}).RoundTrip(r)
}

func (s *script) gaps() (out []time.Duration) {
	for i := 1; i < len(s.times); i++ {
		out = append(out, s.times[i].Sub(s.times[i-1]))
	}
	return out
}

// noJitter makes every delay its base and a tenth.
func scripted(t testing.TB, s *script) *grid.Client {
	return client(t, "https://market.test", func(cfg *grid.Config) {
		cfg.HTTPClient = &http.Client{Transport: s}
		cfg.Rand = func() float64 { return 0 }
	})
}

func same(a, b []time.Duration) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if d := a[i] - b[i]; d < -time.Millisecond || d > time.Millisecond {
			return false
		}
	}
	return true
}

func TestDelaysBetweenAttempts(t *testing.T) {
	const ms = time.Millisecond
	ok := step{200, nil, answerJSON}
	fails := func(status int, h ...string) step {
		header := http.Header{}
		for i := 0; i+1 < len(h); i += 2 {
			header.Set(h[i], h[i+1])
		}
		return step{status, header, `{"errors":{"detail":"busy"}}`}
	}
	cut := step{200, nil, "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"}
	for _, row := range []struct {
		name  string
		steps []step
		want  []time.Duration
		class grid.Class
	}{
		{"500 doubles, four times", []step{fails(500)}, []time.Duration{1100 * ms, 2200 * ms, 4400 * ms, 8800 * ms}, grid.ClassServer},
		{"one bad moment", []step{fails(502), ok}, []time.Duration{1100 * ms}, ""},
		{"the hint is longer", []step{fails(429, "Retry-After", "7"), ok}, []time.Duration{7000 * ms}, ""},
		{"the hint is shorter", []step{fails(429, "Retry-After", "0.2"), ok}, []time.Duration{1100 * ms}, ""},
		{"the hint is now", []step{fails(429, "Retry-After", "0"), ok}, []time.Duration{0}, ""},
		{"the hint is garbage", []step{fails(429, "Retry-After", "soon"), ok}, []time.Duration{1100 * ms}, ""},
		{"the hint is an hour", []step{fails(429, "Retry-After", "3600"), ok}, nil, grid.ClassThrottled},
		{"a cut stream twice at most", []step{cut}, []time.Duration{1100 * ms, 2200 * ms}, grid.ClassCut},
		{"nonsense once", []step{{200, nil, "{}"}}, []time.Duration{1100 * ms}, grid.ClassMalformed},
		{"a caller's error never", []step{fails(422)}, nil, grid.ClassCaller},
		{"409 once", []step{fails(409)}, []time.Duration{1100 * ms}, grid.ClassConflict},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{steps: row.steps}
				o := &watch{}
				req := ask("hi")
				req.Observer = o
				res, err := scripted(t, s).Chat(t.Context(), req)
				var e *grid.Error
				if (row.class == "") != (err == nil) || row.class != "" && (!errors.As(err, &e) || e.Class != row.class) {
					t.Errorf("%v", err)
				}
				if got := s.gaps(); !same(got, row.want) {
					t.Errorf("waited %v, want %v", got, row.want)
				}
				attempts := len(row.want) + 1
				if o.begins != attempts || o.ends != attempts || res != nil && res.Attempts != attempts || e != nil && e.Attempts != attempts {
					t.Errorf("%d begins, %d ends, %+v %+v", o.begins, o.ends, res, e)
				}
			})
		})
	}
}

func TestTopUpIsWaitedOut(t *testing.T) {
	dry := step{402, nil, `{"errors":{"detail":"Insufficient USD balance, or no token capacity available for this instrument"}}`}
	filling := step{503, nil, `{"errors":{"detail":"Balance replenishment in progress."}}`}
	synctest.Test(t, func(t *testing.T) {
		s := &script{steps: []step{dry, filling, filling, {200, nil, answerJSON}}}
		o := &watch{}
		req := ask("hi")
		req.Observer, req.Wait = o, grid.DefaultWait
		var notices []grid.Notice
		req.Notify = func(n grid.Notice) { notices = append(notices, n) }
		res, err := scripted(t, s).Chat(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if want := []time.Duration{1100 * time.Millisecond, 2200 * time.Millisecond, 4400 * time.Millisecond}; !same(s.gaps(), want) {
			t.Errorf("waited %v", s.gaps())
		}
		if res.Waited != 7700*time.Millisecond || res.RetryWait != 0 || res.Attempts != 4 {
			t.Errorf("%+v", res)
		}
		if len(notices) != 4 || notices[0].Kind != grid.NoticeTopUpWait || notices[0].Status != 402 || notices[3].Kind != grid.NoticeTopUpEnd || notices[3].Waited != res.Waited {
			t.Errorf("%+v", notices)
		}
		for i, proof := range []string{grid.ProofStatus402, grid.ProofRouter5xx, grid.ProofRouter5xx, ""} {
			if v := o.verdicts[i]; v.Proof != proof || i < 3 && v.Class != grid.ClassTopUp {
				t.Errorf("attempt %d: %+v", i, v)
			}
		}
	})
	t.Run("not for longer than allowed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &script{steps: []step{dry}}
			req := ask("hi")
			req.Wait = 10 * time.Second
			began := time.Now()
			_, err := scripted(t, s).Chat(t.Context(), req)
			var e *grid.Error
			if !errors.Is(err, grid.ErrDry) || !errors.As(err, &e) || e.Waited != req.Wait || time.Since(began) != req.Wait {
				t.Errorf("%v after %v", err, time.Since(began))
			}
			if _, ok := errors.AsType[*grid.TryLaterError](err); ok {
				t.Error("a caller that waited is told to try later")
			}
		})
	})
	t.Run("not at all with Wait 0", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			_, err := scripted(t, &script{steps: []step{dry}}).Chat(t.Context(), ask("hi"))
			later, ok := errors.AsType[*grid.TryLaterError](err)
			if !ok || !errors.Is(err, grid.ErrDry) || later.After != 1100*time.Millisecond || later.Instrument != "agent-prime" || later.Status != 402 || time.Since(began) != 0 {
				t.Errorf("%v, %+v", err, later)
			}
		})
	})
	t.Run("not into the last seconds before the deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
			defer cancel()
			req := ask("hi")
			req.Wait = time.Hour
			began := time.Now()
			_, err := scripted(t, &script{steps: []step{dry}}).Chat(ctx, req)
			if !errors.Is(err, grid.ErrDry) || time.Since(began) != 7*time.Second {
				t.Errorf("%v after %v", err, time.Since(began))
			}
		})
	})
	t.Run("once a minute when credits are gone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &script{steps: []step{{402, nil, `{"errors":{"detail":"credits_exhausted","message":"Credits exhausted."}}`}}}
			req := ask("hi")
			req.Wait = 3 * time.Minute
			_, err := scripted(t, s).Chat(t.Context(), req)
			var e *grid.Error
			if !errors.As(err, &e) || e.Class != grid.ClassExhausted || !errors.Is(err, grid.ErrCreditsExhausted) || len(s.times) != 3 {
				t.Errorf("%v after %d requests", err, len(s.times))
			}
		})
	})
	t.Run("until it is cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			req := ask("hi")
			req.Wait = time.Hour
			var kinds []grid.NoticeKind
			req.Notify = func(n grid.Notice) {
				kinds = append(kinds, n.Kind)
				time.AfterFunc(time.Second/2, cancel)
			}
			began := time.Now()
			_, err := scripted(t, &script{steps: []step{dry}}).Chat(ctx, req)
			if !errors.Is(err, context.Canceled) || time.Since(began) != time.Second/2 || len(kinds) != 2 || kinds[1] != grid.NoticeTopUpEnd {
				t.Errorf("%v after %v, %v", err, time.Since(began), kinds)
			}
			cancel()
		})
	})
	t.Run("until the client is closed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := scripted(t, &script{steps: []step{dry}})
			req := ask("hi")
			req.Wait = time.Hour
			req.Notify = func(grid.Notice) { time.AfterFunc(time.Second/2, func() { _ = c.Close() }) }
			_, err := c.Chat(t.Context(), req)
			if !errors.Is(err, grid.ErrClosed) {
				t.Errorf("%v", err)
			}
			if err := c.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if _, err := c.Chat(t.Context(), req); !errors.Is(err, grid.ErrClosed) {
				t.Errorf("after Shutdown: %v", err)
			}
		})
	})
}

func TestRestartedStreamIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{steps: []step{
			{200, nil, "data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n"},
			{200, nil, "data: {\"choices\":[{\"delta\":{\"content\":\"whole\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"},
		}}
		var seen []string
		req := ask("hi")
		req.Stream = true
		req.OnDelta = func(d grid.Delta) {
			if d.Discard {
				seen = append(seen, "discard")
			}
			if d.Text != "" {
				seen = append(seen, d.Text)
			}
		}
		req.Notify = func(n grid.Notice) { seen = append(seen, string(n.Kind)) }
		res, err := scripted(t, s).Chat(t.Context(), req)
		if err != nil || res.Message.Text() != "whole" || res.RetryWait != 1100*time.Millisecond || !res.Streamed {
			t.Fatalf("%+v, %v", res, err)
		}
		if got := strings.Join(seen, " "); got != "half discard discard retry whole" {
			t.Errorf("saw %s", got)
		}
	})
}

func TestRetryNeedsTimeLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		s := &script{steps: []step{{500, nil, ""}}}
		began := time.Now()
		_, err := scripted(t, s).Chat(ctx, ask("hi"))
		var e *grid.Error
		if !errors.As(err, &e) || e.Class != grid.ClassServer || len(s.times) != 1 || time.Since(began) != 0 {
			t.Errorf("%v after %d requests and %v", err, len(s.times), time.Since(began))
		}
	})
}
