package proof

import (
	"context"
	"testing"
	"time"

	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/gridloop/gridloop/tracing"
)

// An audit that finds somebody else's spending warns; gauges say what the last one found.
func TestAnAuditWarnsOfWhatIsNotOurs(t *testing.T) {
	r := record(t, tracing.Config{})
	now := time.Now()
	r.Audited(context.Background(), tracing.Audit{From: now.Add(-time.Hour), To: now, Requests: 7, UnexplainedRequests: 2, UnexplainedTokens: 99, MissingRequests: 1, EstimateErrorNanoUSD: 5})
	r.Audited(context.Background(), tracing.Audit{From: now.Add(-time.Hour), To: now, Requests: 7, MissingRequests: 3, EstimateErrorNanoUSD: -4})
	said := r.logs.named("gridloop.audit.finished")
	if len(said) != 2 || said[0].Severity() != log.SeverityWarn || said[1].Severity() != log.SeverityInfo {
		t.Fatalf("%d records: %v", len(said), said)
	}
	if f := fields(said[0]); f["gridloop.audit.unexplained.requests"].AsInt64() != 2 || f["gridloop.audit.unexplained.tokens"].AsInt64() != 99 || f["gridloop.audit.missing.requests"].AsInt64() != 1 || f["gridloop.audit.requests"].AsInt64() != 7 {
		t.Errorf("the warning says %v", f)
	}
	m := r.metrics(t)
	for name, want := range map[string]int64{"gridloop.audit.unexplained.requests": 0, "gridloop.audit.missing.requests": 3, "gridloop.audit.estimate_error.nano_usd": -4} {
		g, ok := m[name].Data.(metricdata.Gauge[int64])
		if !ok || len(g.DataPoints) != 1 || g.DataPoints[0].Value != want {
			t.Errorf("%s is %+v, want %d", name, m[name].Data, want)
		}
	}
}
