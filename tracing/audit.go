package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
)

const eventAudited = "gridloop.audit.finished"

const (
	keyAuditFrom          = attribute.Key("gridloop.audit.from")
	keyAuditTo            = attribute.Key("gridloop.audit.to")
	keyAuditRequests      = attribute.Key("gridloop.audit.requests")
	keyAuditBilled        = attribute.Key("gridloop.audit.billed.nano_usd")
	keyAuditUnexplained   = attribute.Key("gridloop.audit.unexplained.requests")
	keyAuditUnexplainedTk = attribute.Key("gridloop.audit.unexplained.tokens")
	keyAuditMissing       = attribute.Key("gridloop.audit.missing.requests")
	keyAuditMissingTk     = attribute.Key("gridloop.audit.missing.tokens")
	keyAuditError         = attribute.Key("gridloop.audit.estimate_error.nano_usd")
)

// Audit is a comparison of the ledger with the market's record.
type Audit struct {
	From, To          time.Time
	Requests, NanoUSD int64 // on the market's record
	// Unexplained was billed and is not in the ledger, Missing is in the ledger and was not billed.
	UnexplainedRequests, UnexplainedTokens int64
	MissingRequests, MissingTokens         int64
	EstimateErrorNanoUSD                   int64 // the ledger's count above the bill
}

// Audited records an audit: as a WARN if something was billed that is not ours, else INFO, and as gauges.
func (t *Tracing) Audited(ctx context.Context, a Audit) {
	if t == nil {
		return
	}
	t.metrics.unexplained.Record(ctx, a.UnexplainedRequests)
	t.metrics.missing.Record(ctx, a.MissingRequests)
	t.metrics.estimateError.Record(ctx, a.EstimateErrorNanoUSD)
	severity := log.SeverityInfo
	if a.UnexplainedRequests > 0 || a.UnexplainedTokens > 0 {
		severity = log.SeverityWarn
	}
	if !t.wanted(ctx, eventAudited, severity) {
		return
	}
	t.announce(ctx, eventAudited, severity, time.Now(),
		keyAuditFrom.String(a.From.UTC().Format(time.RFC3339)), keyAuditTo.String(a.To.UTC().Format(time.RFC3339)),
		keyAuditRequests.Int64(a.Requests), keyAuditBilled.Int64(a.NanoUSD),
		keyAuditUnexplained.Int64(a.UnexplainedRequests), keyAuditUnexplainedTk.Int64(a.UnexplainedTokens),
		keyAuditMissing.Int64(a.MissingRequests), keyAuditMissingTk.Int64(a.MissingTokens), keyAuditError.Int64(a.EstimateErrorNanoUSD))
}
