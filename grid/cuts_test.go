package grid_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid"
)

// brittle breaks the streams off that it is told to, and answers everything else.
type brittle struct {
	cuts            map[string]int // by instrument: that many more streams
	streamed, whole int
}

func (b *brittle) RoundTrip(r *http.Request) (*http.Response, error) {
	raw, _ := io.ReadAll(r.Body)
	body := answerJSON
	instrument, _, _ := strings.Cut(strings.TrimPrefix(string(raw), `{"model":"`), `"`)
	if strings.Contains(string(raw), `"stream":true`) {
		b.streamed++
		body = "data: {\"choices\":[{\"delta\":{\"content\":\"hel\"}}]}\n\n"
		if b.cuts[instrument] > 0 {
			b.cuts[instrument]--
		} else {
			body += "data: {\"choices\":[{\"delta\":{\"content\":\"lo\"},\"finish_reason\":\"stop\"}]}\n\n"
		}
	} else {
		b.whole++
	}
	return served200(body).RoundTrip(r)
}

func TestAnInstrumentThatBreaksStreamsOffIsAskedWithoutStreaming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &brittle{cuts: map[string]int{"agent-prime": 3}}
		c, err := grid.New(grid.Config{APIKey: "key", BaseURL: "https://market.test/v1", HTTPClient: &http.Client{Transport: b}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		chat := func(instrument string) (text string, notices []grid.NoticeKind, res *grid.Response) {
			o := &watch{}
			res, err := c.Chat(t.Context(), &grid.Request{
				Instrument: instrument, Messages: []grid.Message{grid.UserMessage("hi")}, Stream: true, Observer: o,
				Notify: func(n grid.Notice) { notices = append(notices, n.Kind) },
				OnDelta: func(d grid.Delta) {
					if text += d.Text; d.Discard {
						text = ""
					}
				},
			})
			if err == nil && o.attempts[len(o.attempts)-1].Stream != res.Streamed {
				t.Errorf("the observer was told that a stream is asked for: %v", o.attempts[len(o.attempts)-1].Stream)
			}
			return text, notices, res
		}
		// Two retries end with the third cut.
		if _, _, res := chat("agent-prime"); res != nil || b.streamed != 3 {
			t.Fatalf("after %d streams: %+v", b.streamed, res)
		}
		for range 20 {
			text, notices, res := chat("agent-prime")
			if text != "hello" || res == nil || res.Streamed || res.Message.Text() != "hello" || len(notices) != 1 || notices[0] != grid.NoticeNoStream {
				t.Fatalf("%q, %v, %+v", text, notices, res)
			}
		}
		if b.whole != 20 || b.streamed != 3 {
			t.Errorf("%d in one piece, %d streamed", b.whole, b.streamed)
		}
		// Others go on.
		if text, notices, res := chat("text-prime"); text != "hello" || len(notices) != 0 || !res.Streamed {
			t.Errorf("%q, %v, %+v", text, notices, res)
		}
		// And so does this one when the time is over.
		time.Sleep(11 * time.Minute)
		if text, notices, res := chat("agent-prime"); text != "hello" || len(notices) != 0 || !res.Streamed {
			t.Errorf("%q, %v, %+v", text, notices, res)
		}
	})
}

func TestTheThirdCutOfTenEndsStreamingWithinTheCall(t *testing.T) {
	for _, row := range []struct {
		name            string
		retry           grid.Retry
		good            int // streams between the first cut and the two of the last call
		streamed, whole int
	}{
		{"three in ten", grid.Retry{MaxCut: 5}, 7, 1 + 7 + 2, 1},
		{"three in eleven", grid.Retry{MaxCut: 5}, 9, 1 + 9 + 3, 0},
		{"two are enough", grid.Retry{StreamCuts: 2}, 0, 2, 1},
		{"never", grid.Retry{StreamCuts: -1, MaxCut: 5}, 0, 4, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &brittle{cuts: map[string]int{"agent-prime": 1}}
				c, err := grid.New(grid.Config{APIKey: "key", BaseURL: "https://market.test/v1", HTTPClient: &http.Client{Transport: b}, Retry: row.retry})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				req := ask("hi")
				req.Stream = true
				for i := range 1 + row.good {
					if i == row.good {
						b.cuts["agent-prime"] += 2
					}
					if _, err := c.Chat(t.Context(), req); err != nil {
						t.Fatalf("call %d: %v", i, err)
					}
				}
				if b.streamed != row.streamed || b.whole != row.whole {
					t.Errorf("%d streamed, %d in one piece; want %d and %d", b.streamed, b.whole, row.streamed, row.whole)
				}
			})
		})
	}
}
