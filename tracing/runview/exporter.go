package runview

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
)

// DefaultSpans is how many spans an [Exporter] keeps if nothing else is said: runs of some 5,000 model calls.
const DefaultSpans = 20_000

// Exporter keeps spans and draws them. Give it to a tracer provider with WithSyncer (at once, for programs) or WithBatcher
// (for services). All methods may be called concurrently, also while runs are under way: what is not ended yet is drawn as open.
//
// Memory is bounded: beyond its limit the trace that was silent for longest is dropped whole, finished ones first; texts
// of a span are cut at 4 KiB. The page says how many spans are gone.
type Exporter struct {
	title string
	limit int

	mu      sync.Mutex
	traces  map[oteltrace.TraceID]*trace
	spans   int // over all traces
	clock   int // counts exports, so that the age of a trace needs no time
	dropped int
	closed  bool
}

// trace holds the spans of one trace in the order in which they ended.
type trace struct {
	id       oteltrace.TraceID
	spans    []*span
	touched  int
	finished bool // a run without a parent in it has ended
}

// Option changes an [Exporter].
type Option func(*Exporter)

// Title sets the heading of the page. Default: "gridloop".
func Title(s string) Option { return func(e *Exporter) { e.title = s } }

// Spans sets how many spans are kept; each takes about 1 KiB, with recorded content up to 16 KiB. Below 1 means [DefaultSpans].
func Spans(n int) Option { return func(e *Exporter) { e.limit = n } }

// New makes an exporter that holds nothing yet. It starts no goroutine.
func New(options ...Option) *Exporter {
	e := &Exporter{title: "gridloop", traces: map[oteltrace.TraceID]*trace{}}
	for _, option := range options {
		option(e)
	}
	if e.limit < 1 {
		e.limit = DefaultSpans
	}
	return e
}

var _ sdktrace.SpanExporter = (*Exporter)(nil)

// ExportSpans keeps what is to be drawn of the spans. It never fails, and keeps nothing after [Exporter.Shutdown].
func (e *Exporter) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	e.clock++
	for _, s := range spans {
		id := s.SpanContext().TraceID()
		t := e.traces[id]
		kept := read(s)
		if kept.kind == link && t == nil {
			continue // nothing of ours is below it
		}
		if t == nil {
			t = &trace{id: id}
			e.traces[id] = t
		}
		t.touched = e.clock
		t.finished = t.finished || kept.kind == agentRun && !kept.parent.IsValid()
		if e.spans >= e.limit && !e.room(t, kept) {
			continue
		}
		t.spans = append(t.spans, kept)
		e.spans++
	}
	return nil
}

// room drops what may go, so that there is place for one more span of the trace. The trace itself stays, since it is being
// written: if it alone is too long, its new spans go, but for the one that says how a run ended.
func (e *Exporter) room(t *trace, s *span) bool {
	var oldest *trace
	for _, other := range e.traces {
		if other == t || len(other.spans) == 0 {
			continue
		}
		if oldest == nil || other.finished && !oldest.finished || other.finished == oldest.finished && other.touched < oldest.touched {
			oldest = other
		}
	}
	switch {
	case oldest != nil:
		e.spans -= len(oldest.spans)
		e.dropped += len(oldest.spans)
		delete(e.traces, oldest.id)
		return true
	case s.kind == agentRun && len(t.spans) > 0:
		t.spans = append(t.spans[:0], t.spans[1:]...)
		e.spans--
		e.dropped++
		return true
	}
	e.dropped++
	return false
}

// Shutdown ends the keeping. What was kept can still be written.
func (e *Exporter) Shutdown(context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return nil
}

// runs gives what is kept, oldest run first, and how many spans are gone.
func (e *Exporter) runs() ([]*run, int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []*run
	for _, t := range e.traces {
		all = append(all, t.runs()...)
	}
	return inOrder(all), e.dropped
}

// WriteHTML writes all runs as one page that needs nothing else, oldest first. Errors are those of w.
func (e *Exporter) WriteHTML(w io.Writer) error {
	runs, dropped := e.runs()
	_, err := io.WriteString(w, page(e.title, runs, dropped))
	return err
}

// ErrNoRun says that there is no run with the index that was asked for.
var ErrNoRun = errors.New("runview: no such run")

// WriteSVG writes one run as a picture: 0 is the oldest that is kept, -1 the latest. Steps in the middle of a long run are folded.
// The error is [ErrNoRun] or that of w.
func (e *Exporter) WriteSVG(w io.Writer, index int) error {
	runs, _ := e.runs()
	at := index
	if at < 0 {
		at += len(runs)
	}
	if at < 0 || at >= len(runs) {
		return fmt.Errorf("%w: index %d of %d runs: give 0 for the oldest, -1 for the latest", ErrNoRun, index, len(runs))
	}
	_, err := io.WriteString(w, picture(runs[at]))
	return err
}

// WriteFile writes the page of [Exporter.WriteHTML] to a file that only its owner may read. A page that was there before is
// replaced whole or not at all.
func (e *Exporter) WriteFile(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".runview-*")
	if err != nil {
		return fmt.Errorf("runview: the page could not be written: %w", err)
	}
	err = e.WriteHTML(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return fmt.Errorf("runview: the page could not be written: %w", err)
	}
	return nil
}
