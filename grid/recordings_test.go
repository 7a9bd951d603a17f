package grid_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/grid"
)

// recordedDir returns where recorded traffic is, and skips where there is none.
func recordedDir(t testing.TB, sub string) string {
	t.Helper()
	dir := os.Getenv("GRIDLOOP_TESTDATA")
	if dir == "" {
		if os.Getenv("GRIDLOOP_REQUIRE") != "" {
			t.Fatal("GRIDLOOP_TESTDATA is not set, and GRIDLOOP_REQUIRE wants it")
		}
		t.Skip("GRIDLOOP_TESTDATA is not set")
	}
	return filepath.Join(dir, sub)
}

func readJSON(t testing.TB, path string, into any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// served is a RoundTripper that answers everything with the same bytes.
type served struct {
	status int
	header http.Header
	body   []byte
	cut    int // bytes per read; 0 is as many as fit
	calls  int
}

func (s *served) RoundTrip(r *http.Request) (*http.Response, error) {
	s.calls++
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	h := s.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	var body io.Reader = bytes.NewReader(s.body)
	if s.cut > 0 {
		body = &inPieces{bytes.NewReader(s.body), s.cut}
	}
	return &http.Response{
		StatusCode: s.status, Status: http.StatusText(s.status), Header: h, Body: io.NopCloser(body),
		ContentLength: -1, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
	}, nil
}

type inPieces struct {
	r io.Reader
	n int
}

func (p *inPieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.n)]) }

func served200(body string) *served { return &served{status: 200, body: []byte(body)} }

// watched is what somebody saw who watched an answer come.
type watched struct{ text, reasoning strings.Builder }

// read serves the bytes to a client without retries.
func read(t testing.TB, s *served, stream bool) (*grid.Response, *watched, error) {
	t.Helper()
	c := client(t, "https://market.test", func(cfg *grid.Config) {
		cfg.HTTPClient = &http.Client{Transport: s}
		cfg.Retry = grid.Retry{Max: -1}
	})
	live := &watched{}
	req := ask("hi")
	req.Stream = stream
	req.OnDelta = func(d grid.Delta) {
		live.text.WriteString(d.Text)
		live.reasoning.WriteString(d.Reasoning)
	}
	res, err := c.Chat(context.Background(), req)
	return res, live, err
}

type interaction struct {
	Provider string `json:"provider"`
	Request  struct {
		Body string `json:"body"`
	} `json:"request"`
	Response recordedResponse `json:"response"`
}

type recordedResponse struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

func (r recordedResponse) serve() *served {
	s := &served{status: r.Status, header: http.Header{}, body: []byte(r.Body)}
	for k, v := range r.Headers {
		s.header.Set(k, v)
	}
	return s
}

// recordings calls each for every interaction of the index, and fails where a file of
// the index is not there or has another number of interactions.
func recordings(t testing.TB, each func(name string, at int, in interaction)) {
	t.Helper()
	root := recordedDir(t, "recordings")
	var index []struct {
		File         string `json:"file"`
		Interactions int    `json:"interactions"`
	}
	readJSON(t, filepath.Join(root, "index.json"), &index)
	want := make(map[string]int, len(index))
	for _, f := range index {
		want[f.File] = f.Interactions
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Dir(path) == root || filepath.Ext(path) != ".json" {
			return err
		}
		var all []interaction
		readJSON(t, path, &all)
		name, _ := filepath.Rel(root, path)
		name = filepath.ToSlash(name)
		if len(all) != want[name] {
			t.Errorf("%s has %d interactions, the index says %d", name, len(all), want[name])
		}
		delete(want, name)
		for i, in := range all {
			each(name, i, in)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range want {
		t.Errorf("%s is in the index but not there", name)
	}
}
