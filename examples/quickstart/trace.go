package main

import (
	"context"
	"fmt"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/gridloop/gridloop/tracing"
	"github.com/gridloop/gridloop/tracing/runview"
)

// trace collects the spans of both agents for a page that shows their runs.
type trace struct {
	*tracing.Tracing // nil = off
	provider         *sdktrace.TracerProvider
	view             *runview.Exporter
	path             string
}

func newTrace(path string, content tracing.ContentMode) *trace {
	if path == "off" {
		return &trace{}
	}
	view := runview.New(runview.Title("gridloop quickstart"))
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(view))
	return &trace{
		Tracing:  tracing.New(tracing.Config{TracerProvider: provider, Content: content, SpanEvents: true}),
		provider: provider, view: view, path: path,
	}
}

// write is the last word of the program.
func (t *trace) write(ctx context.Context) error {
	if t.view == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return err
	}
	if err := t.view.WriteFile(t.path); err != nil {
		return err
	}
	fmt.Printf("\nWhat was run, as a picture: open %s in a browser.\n", t.path)
	return nil
}
