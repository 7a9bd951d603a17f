package grid_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gridloop/gridloop/grid"
)

// expectation says how one wire oddity is to be read. Texts of more than 60 bytes are
// given by their digest.
type expectation struct {
	// Means is what the provider did and what is made of it.
	Means string `json:"means"`
	// Class is that of the error; "" is an answer.
	Class grid.Class `json:"class,omitempty"`
	// Says is the provider's message.
	Says string `json:"says,omitempty"`
	// Asks is how often the question is asked in all, the retries included, and Pause
	// the least time between the first two, in seconds.
	Asks  int          `json:"asks"`
	Pause int          `json:"pause,omitempty"`
	Bill  grid.Billed  `json:"bill"`
	Text  string       `json:"text,omitempty"`
	Think string       `json:"think,omitempty"`
	Calls []quirkyCall `json:"calls,omitempty"`
	// Sent are the calls as they go back, where that is not as they came.
	Sent   []quirkyCall `json:"sent,omitempty"`
	Finish string       `json:"finish,omitempty"`
	// Usage is prompt, completion and total; none if nothing was counted.
	Usage []int64 `json:"usage,omitempty"`
	// Keeps names the fields that are kept beside content and calls.
	Keeps []string `json:"keeps,omitempty"`
	Model string   `json:"model,omitempty"`
}

// quirkyCall has the id "made" where none came that could be kept.
type quirkyCall struct {
	ID, Type, Name, Arguments string
}

func digest(s string) string {
	if len(s) <= 60 {
		return s
	}
	return fmt.Sprintf("%d bytes, sha256 %.16x", len(s), sha256.Sum256([]byte(s)))
}

type quirk struct {
	ID       string           `json:"id"`
	Title    string           `json:"title"`
	Expect   string           `json:"expect"`
	Response recordedResponse `json:"response"`
}

func quirks(t testing.TB) []quirk {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(recordedDir(t, "quirks"), "[0-9]*.json"))
	if err != nil || len(files) < 108 {
		t.Fatalf("%d quirks (%v)", len(files), err)
	}
	var all []quirk
	for _, f := range files {
		var q quirk
		readJSON(t, f, &q)
		all = append(all, q)
	}
	return all
}

func TestEveryQuirkIsReadAsExpected(t *testing.T) {
	var want map[string]expectation
	readJSON(t, filepath.Join("testdata", "quirks.json"), &want)
	for _, q := range quirks(t) {
		w, ok := want[q.ID]
		if !ok {
			t.Errorf("%s (%s; %s) has no expectation in testdata/quirks.json: review it and add one", q.ID, q.Title, q.Expect)
			continue
		}
		delete(want, q.ID)
		t.Run(q.ID, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if w.Means == "" {
					t.Error("the expectation says nothing about its meaning")
				}
				w.Means = ""
				if got := w.of(t, q); !reflect.DeepEqual(got, w) {
					t.Errorf("%s: %s\n got %+v\nwant %+v", q.Title, q.Expect, got, w)
				}
			})
		})
	}
	for id := range want {
		t.Errorf("%s is expected and has no fixture", id)
	}
}

// of asks with the default retries, and says what came of it.
func (w expectation) of(t *testing.T, q quirk) (got expectation) {
	from := q.Response.serve()
	s := &timed{served: from}
	c, err := grid.New(grid.Config{APIKey: "key", BaseURL: "https://market.test/v1", HTTPClient: &http.Client{Transport: s}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	o := &lastVerdict{}
	req := ask("hi")
	req.Stream, req.Observer = isStream(q.Response.Body), o
	res, err := c.Chat(t.Context(), req)
	got.Asks, got.Bill = from.calls, o.Billed
	if w.Pause > 0 && len(s.at) > 1 && s.at[1].Sub(s.at[0]) >= time.Duration(w.Pause)*time.Second {
		got.Pause = w.Pause
	}
	var partial *grid.CutError
	if u := o.Usage; u != nil {
		got.Usage = []int64{u.PromptTokens, u.CompletionTokens, u.TotalTokens}
	}
	if err != nil {
		var e *grid.Error
		if !errors.As(err, &e) {
			t.Fatalf("untyped: %v", err)
		}
		got.Class, got.Says = e.Class, digest(e.Message)
		if !errors.As(err, &partial) {
			return got
		}
		res = partial.Partial
	}
	m := res.Message
	got.Text, got.Think, got.Finish, got.Model = digest(m.Text()), digest(m.Reasoning()), res.FinishReason, res.Model
	got.Calls = quirkyCalls(t, m, q.Response.Body)
	if sent := quirkyCalls(t, m.Portable(), q.Response.Body); !reflect.DeepEqual(sent, got.Calls) {
		got.Sent = sent
	}
	for _, f := range m.Extra {
		got.Keeps = append(got.Keeps, f.Name)
	}
	return got
}

func quirkyCalls(t *testing.T, m grid.Message, body string) (out []quirkyCall) {
	seen := map[string]bool{}
	for _, c := range m.ToolCalls {
		if c.ID == "" || seen[c.ID] {
			t.Errorf("the id %q is empty or doubled", c.ID)
		}
		seen[c.ID] = true
		call := quirkyCall{c.ID, c.Type, c.Name, digest(c.Arguments)}
		if !strings.Contains(body, `"`+c.ID+`"`) {
			call.ID = "made"
		}
		for _, f := range c.Extra {
			call.Type += " with " + f.Name
		}
		out = append(out, call)
	}
	return out
}

// timed notes when it was asked.
type timed struct {
	*served
	at []time.Time
}

func (s *timed) RoundTrip(r *http.Request) (*http.Response, error) {
	s.at = append(s.at, time.Now())
	return s.served.RoundTrip(r)
}

type lastVerdict struct{ grid.Verdict }

func (o *lastVerdict) Begin(ctx context.Context, _ *grid.Attempt) (context.Context, error) {
	return ctx, nil
}
func (o *lastVerdict) End(_ context.Context, _ *grid.Attempt, v grid.Verdict) { o.Verdict = v }
