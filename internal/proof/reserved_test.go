package proof

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/gridloop/gridloop/tracing"
)

// How tight reservations are is a metric by instrument; an attempt whose use nobody knows is none of it.
func TestReservedRatioIsMeasuredByInstrument(t *testing.T) {
	r := record(t, tracing.Config{NoHTTPSpans: true})
	for _, e := range []tracing.AttemptEnd{{Status: 200, ReservedTokens: 3000, UsedTokens: 1000}, {Status: 200, ReservedTokens: 1500, UsedTokens: 1000}, {Status: 502}} {
		_, a := r.Attempt(context.Background(), tracing.AttemptStart{Instrument: "agent-prime"})
		a.End(e)
	}
	data, ok := r.metrics(t)["gridloop.budget.reserved_ratio"].Data.(metricdata.Histogram[float64])
	if !ok || len(data.DataPoints) != 1 || data.DataPoints[0].Count != 2 || data.DataPoints[0].Sum != 4.5 {
		t.Fatalf("%+v", data)
	}
	if v, _ := data.DataPoints[0].Attributes.Value("gridloop.instrument"); v.AsString() != "agent-prime" {
		t.Errorf("attributes are %v", data.DataPoints[0].Attributes)
	}
}
