package tracing

import (
	"context"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Scope is the name of the tracer, meter and logger. Views and samplers select by it.
const Scope = "github.com/gridloop/gridloop/tracing"

// SchemaURL is the version of the conventions that the names follow.
const SchemaURL = "https://opentelemetry.io/schemas/gen-ai/0.1.0"

const version = "0.1.0"

// Config says where telemetry goes and what it may hold. The zero value uses the global providers and records no content.
type Config struct {
	TracerProvider trace.TracerProvider // nil = otel.GetTracerProvider()
	MeterProvider  metric.MeterProvider // nil = otel.GetMeterProvider()
	LoggerProvider log.LoggerProvider   // nil = otel.GetLoggerProvider()

	// Propagator writes the headers of outgoing requests; nil = otel.GetTextMapPropagator(). Baggage that it carries leaves
	// the process towards the market: give propagation.TraceContext{} to send trace ids alone.
	Propagator propagation.TextMapPropagator

	Content      ContentMode // zero = as the environment says, by default nothing
	ContentLimit int         // bytes of each attribute; 0 = 65,536, negative = no limit. JSON stays valid when it is cut
	ContentHook  ContentHook // may redact; nil = none

	// Attributes are put on every span that is recorded (tenant, user); they never reach a metric. Called concurrently.
	Attributes func(context.Context) []attribute.KeyValue

	NoHTTPSpans bool // no spans for attempts: for transports that open their own
	RunUsage    bool // conventional usage on invoke_agent too; sums over all spans then count tokens twice
	SpanEvents  bool // mirror our events on the span, for viewers without logs
}

// Tracing records runs. All methods may be called concurrently, and on nil, which records nothing; so may those of the
// spans that it returns. Ending a span a second time has no effect.
type Tracing struct {
	tracer     trace.Tracer
	logger     log.Logger
	propagator propagation.TextMapPropagator
	attributes func(context.Context) []attribute.KeyValue
	metrics    metrics
	content    content

	noHTTPSpans, runUsage, spanEvents bool

	starts   cache[startKey, *prebuilt]
	measured cache[measureKey, *measure]
	scratch  sync.Pool // *scratch: options of one Start, which no implementation keeps
}

// New never fails: whatever a provider refuses is not recorded. The environment is read here and never again.
func New(c Config) *Tracing {
	if c.TracerProvider == nil {
		c.TracerProvider = otel.GetTracerProvider()
	}
	if c.MeterProvider == nil {
		c.MeterProvider = otel.GetMeterProvider()
	}
	if c.LoggerProvider == nil {
		c.LoggerProvider = otel.GetLoggerProvider()
	}
	if c.Propagator == nil {
		c.Propagator = otel.GetTextMapPropagator()
	}
	t := &Tracing{
		tracer:      c.TracerProvider.Tracer(Scope, trace.WithInstrumentationVersion(version), trace.WithSchemaURL(SchemaURL)),
		logger:      c.LoggerProvider.Logger(Scope, log.WithInstrumentationVersion(version), log.WithSchemaURL(SchemaURL)),
		propagator:  c.Propagator,
		attributes:  c.Attributes,
		content:     newContent(c, os.Getenv(contentVariable)),
		noHTTPSpans: c.NoHTTPSpans,
		runUsage:    c.RunUsage,
		spanEvents:  c.SpanEvents,
	}
	t.metrics = newMetrics(c.MeterProvider.Meter(Scope, metric.WithInstrumentationVersion(version), metric.WithSchemaURL(SchemaURL)))
	t.scratch.New = func() any { return new(scratch) }
	return t
}

// Inject writes the context of ctx into the headers of a request, as the propagator does.
func (t *Tracing) Inject(ctx context.Context, h http.Header) {
	if t == nil || h == nil {
		return
	}
	t.propagator.Inject(ctx, propagation.HeaderCarrier(h))
}

// startKey is all that the name and the start attributes of a span depend on.
type startKey struct {
	operation, target, address string
	port                       int
}

// prebuilt is made once per key: names and attributes that a sampler sees.
type prebuilt struct {
	name       string
	kind       trace.SpanStartOption
	attributes trace.SpanStartOption
}

func newPrebuilt(name string, kind trace.SpanKind, attrs ...attribute.KeyValue) *prebuilt {
	return &prebuilt{name: name, kind: trace.WithSpanKind(kind), attributes: trace.WithAttributes(attrs...)}
}

type scratch struct{ options [4]trace.SpanStartOption }

// untraced is the key under which the context of a run tells that its span came to
// nothing, as where no provider is installed: until the run ends nothing in it asks
// for one again, which would cost more than all else that is done here.
type untraced struct{}

func (t *Tracing) withoutTrace(ctx context.Context) bool {
	by, _ := ctx.Value(untraced{}).(*Tracing)
	return by == t && !trace.SpanContextFromContext(ctx).IsValid()
}

// start opens a span at the given time. With link, the span continues another trace.
func (t *Tracing) start(ctx context.Context, p *prebuilt, at time.Time, link trace.SpanContext) (context.Context, trace.Span) {
	if t.withoutTrace(ctx) {
		return ctx, trace.SpanFromContext(context.Background()) // records nothing
	}
	s := t.scratch.Get().(*scratch)
	options := append(s.options[:0], p.kind, p.attributes, trace.WithTimestamp(at))
	if link.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: link}))
	}
	ctx, span := t.tracer.Start(ctx, p.name, options...)
	clear(s.options[:])
	t.scratch.Put(s)
	if t.attributes != nil && span.IsRecording() {
		span.SetAttributes(t.attributes(ctx)...)
	}
	return ctx, span
}

// span is what all spans of the package share.
type span struct {
	tracing *Tracing
	ctx     context.Context // of the span: parent of its events and exemplars
	otel    trace.Span
	begun   time.Time
	ended   atomic.Bool
}

// close marks a failure and closes the span. It returns the duration, the same that the span has.
func (s *span) close(at time.Time, errorType string) time.Duration {
	if errorType != "" && s.otel.IsRecording() {
		s.otel.SetAttributes(keyErrorType.String(errorType))
		s.otel.SetStatus(codes.Error, errorType)
	}
	s.otel.End(trace.WithTimestamp(at))
	return max(at.Sub(s.begun), 0)
}

func orNow(at time.Time) time.Time {
	if at.IsZero() {
		return time.Now()
	}
	return at
}

// cacheLimit bounds every cache: keys hold names from answers, which must not grow memory for ever.
const cacheLimit = 1024

// cache keeps what is costly to build. Beyond its limit it builds anew each time.
type cache[K comparable, V any] struct {
	mu sync.RWMutex
	m  map[K]V
}

func (c *cache[K, V]) get(key K) (V, bool) {
	c.mu.RLock()
	v, ok := c.m[key]
	c.mu.RUnlock()
	return v, ok
}

func (c *cache[K, V]) put(key K, v V) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = make(map[K]V)
	}
	if len(c.m) < cacheLimit {
		c.m[key] = v
	}
	return v
}
