package main

import (
	"context"
	"fmt"
	"io"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/gridloop/gridloop/tracing"
	"github.com/gridloop/gridloop/tracing/runview"
)

// pictures collect the spans of all runs for a page that shows them. The zero
// pictures collect nothing.
type pictures struct {
	path     string
	view     *runview.Exporter
	provider *sdktrace.TracerProvider
}

// spansKept is more than the recordings known today need, also under faults.
const spansKept = 100_000

func newPictures(path string) *pictures {
	if path == "" {
		return &pictures{}
	}
	view := runview.New(runview.Title("tau-bench airline"), runview.Spans(spansKept))
	return &pictures{path, view, sdktrace.NewTracerProvider(sdktrace.WithSyncer(view))}
}

func (p *pictures) tracing() *tracing.Tracing {
	if p.view == nil {
		return nil
	}
	return tracing.New(tracing.Config{TracerProvider: p.provider, SpanEvents: true})
}

// write writes the page. It shows no content: who said what stands in the
// recordings.
func (p *pictures) write(ctx context.Context, out io.Writer) error {
	if p.view == nil {
		return nil
	}
	if err := p.provider.Shutdown(ctx); err != nil {
		return err
	}
	if err := p.view.WriteFile(p.path); err != nil {
		return err
	}
	fmt.Fprintf(out, "The runs as a picture: open %s in a browser.\n", p.path)
	return nil
}
