package runview

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/gridloop/gridloop/tracing"
)

// recorded are the spans of a run, for tests that export them by themselves.
func recorded(t testing.TB, record func(*recorder)) []sdktrace.ReadOnlySpan {
	t.Helper()
	memory := tracetest.NewInMemoryExporter()
	r := newRecorder(t, New(), tracing.Config{})
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(memory), sdktrace.WithIDGenerator(&ids{}))
	r.Tracing = tracing.New(tracing.Config{TracerProvider: provider, Content: tracing.ContentNone})
	record(r)
	return memory.GetSpans().Snapshots()
}

func export(t testing.TB, e *Exporter, spans ...sdktrace.ReadOnlySpan) {
	t.Helper()
	if err := e.ExportSpans(context.Background(), spans); err != nil {
		t.Fatal(err)
	}
}

func TestTheOrderOfSpansDoesNotMatter(t *testing.T) {
	spans := recorded(t, desk)
	e := New()
	export(t, e, spans...)
	want := html(t, e)
	random := rand.New(rand.NewPCG(1, 2))
	for range 5 {
		random.Shuffle(len(spans), func(i, j int) { spans[i], spans[j] = spans[j], spans[i] })
		e := New()
		for _, s := range spans {
			export(t, e, s)
		}
		if got := html(t, e); !bytes.Equal(got, want) {
			t.Fatal("another order gave another page")
		}
	}
}

func TestMemoryIsBoundedAndTheOldestFinishedRunsGoFirst(t *testing.T) {
	e := New(Spans(60))
	r := newRecorder(t, e, tracing.Config{})
	open, _ := r.Run(t.Context(), tracing.RunStart{Start: r.at(0), Agent: "still-open"})
	r.agent = "still-open"
	r.call(open, model{instrument: "text-prime", from: 0, to: 10})
	r.agent = "desk"
	for i := range 20 {
		ctx, run := r.Run(t.Context(), tracing.RunStart{Start: r.at(i + 1), Agent: fmt.Sprintf("agent-%02d", i)})
		for s := range 4 {
			r.call(ctx, model{step: s, instrument: "text-prime", from: i, to: i + 1})
		}
		run.End(tracing.RunEnd{End: r.at(i + 2), StopReason: "completed"})
		if e.spans > 60 {
			t.Fatalf("%d spans are kept", e.spans)
		}
	}
	page := string(html(t, e))
	for _, want := range []string{"agent-19", "agent-18", "still-open", "spans were dropped"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "agent-00") || strings.Contains(page, "agent-10") {
		t.Error("an old run is still there")
	}
	held := 0
	for _, tr := range e.traces {
		held += len(tr.spans)
	}
	if held != e.spans {
		t.Errorf("%d spans are counted, %d held", e.spans, held)
	}
}

func TestARunLongerThanTheLimitStillSaysHowItEnded(t *testing.T) {
	e := New(Spans(30))
	long(newRecorder(t, e, tracing.Config{}), 50, "max_steps")
	page := string(html(t, e))
	if e.spans > 30 || !strings.Contains(page, "stopped at its step limit") {
		t.Errorf("%d spans, and the end is not told", e.spans)
	}
}

func TestSpansOfOthersAreOnlyFollowed(t *testing.T) {
	e := New()
	r := newRecorder(t, e, tracing.Config{})
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(e))
	foreign := provider.Tracer("example.com/database")
	ctx, run := r.Run(t.Context(), tracing.RunStart{Start: r.at(0), Agent: "outer"})
	r.call(ctx, model{instrument: "text-prime", from: 0, to: 5})
	tctx, tool := r.Tool(ctx, tracing.ToolStart{Start: r.at(6), Name: "ask"})
	fctx, query := foreign.Start(tctx, "SELECT secret")
	_, inner := r.Run(fctx, tracing.RunStart{Start: r.at(7), Agent: "inner"})
	inner.End(tracing.RunEnd{End: r.at(8), StopReason: "completed"})
	query.End()
	tool.End(tracing.ToolEnd{End: r.at(9)})
	run.End(tracing.RunEnd{End: r.at(10), StopReason: "completed"})
	_, lonely := foreign.Start(t.Context(), "nothing of ours")
	lonely.End()

	runs, _ := e.runs()
	if len(runs) != 1 || len(runs[0].subs()) != 1 || runs[0].subs()[0].agent != "inner" {
		t.Fatalf("%d runs: the inner one is not below the tool", len(runs))
	}
	if len(e.traces) != 1 {
		t.Errorf("%d traces are kept, of which one is ours", len(e.traces))
	}
	if strings.Contains(string(html(t, e)), "SELECT") {
		t.Error("a span of somebody else is shown")
	}
}

func TestSpansThatPointInCirclesEndNothing(t *testing.T) {
	id := func(n byte) oteltrace.SpanContext {
		return oteltrace.NewSpanContext(oteltrace.SpanContextConfig{TraceID: oteltrace.TraceID{1}, SpanID: oteltrace.SpanID{n}})
	}
	var stubs tracetest.SpanStubs
	for _, s := range recorded(t, desk)[:6] {
		stub := tracetest.SpanStubFromReadOnlySpan(s)
		n := byte(len(stubs) + 1)
		stub.SpanContext, stub.Parent = id(n), id(n%6+1)
		if n == 3 {
			stub.Parent = id(3)
		}
		stub.EndTime = stub.StartTime.Add(-1)
		stubs = append(stubs, stub)
	}
	e := New()
	export(t, e, stubs.Snapshots()...)
	for _, d := range drawings(t, html(t, e)) {
		apart(t, d)
	}
}

func TestExportAndWriteAtTheSameTime(t *testing.T) {
	e := New(Spans(200))
	spans := recorded(t, func(r *recorder) { long(r, 30, "completed") })
	r := newRecorder(t, e, tracing.Config{})
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for range 20 {
				export(t, e, spans...)
			}
		})
		group.Go(func() {
			for range 3 {
				if err := e.WriteHTML(io.Discard); err != nil {
					t.Error(err)
				}
				_ = e.WriteSVG(io.Discard, 0)
			}
		})
		group.Go(func() {
			ctx, run := r.Run(t.Context(), tracing.RunStart{Agent: fmt.Sprint(i)})
			for s := range 20 {
				r.call(ctx, model{step: s, instrument: "text-prime", from: s, to: s + 1})
			}
			run.End(tracing.RunEnd{StopReason: "completed"})
		})
	}
	group.Wait()
	if e.spans > 200 {
		t.Errorf("%d spans are kept", e.spans)
	}
}

func TestAfterShutdownNothingIsKeptAndAllCanBeWritten(t *testing.T) {
	spans := recorded(t, desk)
	e := New()
	export(t, e, spans...)
	if err := e.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept := e.spans
	export(t, e, spans...)
	if e.spans != kept || kept == 0 {
		t.Errorf("%d spans before, %d after", kept, e.spans)
	}
	if !bytes.Contains(html(t, e), []byte("refund-desk")) {
		t.Error("the page does not show what was kept")
	}
}

func TestAnEmptyExporterSaysSo(t *testing.T) {
	e := New()
	page := html(t, e)
	harmless(t, page)
	if !bytes.Contains(page, []byte("No run yet")) {
		t.Error("an empty page")
	}
	if err := e.WriteSVG(io.Discard, 0); !errors.Is(err, ErrNoRun) {
		t.Errorf("got %v", err)
	}
}

func TestIndexesCountFromBothEnds(t *testing.T) {
	e := recordedFamily(t)
	runs := countRuns(e)
	for _, row := range []struct {
		index int
		agent string
		ok    bool
	}{{0, "editor", true}, {-1, "watcher", true}, {runs - 1, "watcher", true}, {-runs, "editor", true}, {runs, "", false}, {-runs - 1, "", false}} {
		var b bytes.Buffer
		err := e.WriteSVG(&b, row.index)
		if row.ok != (err == nil) || !row.ok && !errors.Is(err, ErrNoRun) || !strings.Contains(b.String(), row.agent) {
			t.Errorf("index %d: %v", row.index, err)
		}
	}
}

func TestAFileIsWrittenWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run.html")
	e := recordedDesk(t)
	for range 2 {
		if err := e.WriteFile(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, html(t, e)) {
		t.Errorf("the file is not the page: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: what runs asked may be in it", info.Mode(), err)
	}
	if err := e.WriteFile(filepath.Join(dir, "missing", "run.html")); err == nil {
		t.Error("no error for a directory that is not there")
	}
	if err := e.WriteFile(dir); err == nil {
		t.Error("no error for a path that is a directory")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".runview-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestErrorsOfTheWriterComeBack(t *testing.T) {
	e := recordedDesk(t)
	if err := e.WriteHTML(brokenWriter{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
	if err := e.WriteSVG(brokenWriter{}, 0); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}
