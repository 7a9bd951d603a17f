package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/tracing"
)

// Reconcile fetches the receipts of a result's attempts, waits for those that
// are still pending until ctx ends, and corrects the ledger and the result by
// them: from then on the cost is what was paid, not an estimate. Calling it
// again asks only for what is missing.
//
// The error joins what could not be settled; the rest is settled all the same.
func Reconcile[T any](ctx context.Context, a *Agent, res *Result[T]) error {
	var errs []error
	for i := range res.Steps {
		step := &res.Steps[i]
		for j := range step.Attempts {
			at := &step.Attempts[j]
			if at.Billed == "no" || at.CostSource == CostReceipt {
				continue
			}
			if err := a.reconcile(ctx, step, at); err != nil {
				errs = append(errs, err)
			}
		}
	}
	res.Cost = costOf(res.Steps)
	return errors.Join(errs...)
}

func (a *Agent) reconcile(ctx context.Context, step *StepRecord, at *AttemptRecord) error {
	if at.RequestID == "" {
		return noRequestID(*at)
	}
	receipt, err := a.receipt(ctx, at.RequestID)
	if err != nil {
		return fmt.Errorf("agent: the receipt of %s: %w", at.RequestID, err)
	}
	delta, err := a.paid(ctx, step, at, receipt)
	if err != nil {
		return fmt.Errorf("agent: the receipt of %s: %w", at.RequestID, err)
	}
	step.CostNanoUSD += delta
	return nil
}

func noRequestID(at AttemptRecord) error {
	return fmt.Errorf("agent: attempt %s has no request id, so it has no receipt: its cost stays an upper bound", at.Reservation)
}

// paid corrects the ledger and the record by a settled receipt and returns what that
// changes of the record's cost. A receipt that was heard before, by somebody else who
// holds a record of the attempt, changes the record only.
func (a *Agent) paid(ctx context.Context, step *StepRecord, at *AttemptRecord, receipt *grid.Receipt) (delta int64, err error) {
	a.learnKey(receipt.APIKeyID)
	for _, lot := range receipt.Lots {
		a.client.Catalogue().ObserveLot(at.Instrument, lot.PriceNanoUSDPerUnit, receipt.ReconciledAt)
	}
	actual := amounts(receipt.TotalTokens, 0)
	actual.NanoUSD = *receipt.CostNanoUSD
	settled, err := a.ledger.TrueUp(ctx, at.Reservation, actual, "receipt")
	if err != nil {
		return 0, err
	}
	if settled.Overrun && !settled.Duplicate && actual.Tokens <= max(at.Tokens, at.ReservedTokens) {
		// The lot was dearer than the price bound; more tokens were announced at once.
		if _, err := a.overrun(ctx, a.ledger, BudgetOverrun{Step: step.Step}, settled, step.Run, at.Instrument); err != nil {
			return 0, err
		}
	}
	delta = actual.NanoUSD - at.CostNanoUSD
	if !settled.Duplicate {
		a.tracing.CostAdjusted(ctx, tracing.Adjustment{Instrument: at.Instrument, Agent: a.cfg.Name, RequestID: at.RequestID, Step: step.Step, DeltaNanoUSD: delta, Source: "receipt"})
	}
	at.CostNanoUSD, at.CostSource, at.Tokens = actual.NanoUSD, CostReceipt, receipt.TotalTokens
	at.Receipt = recordOf(receipt)
	return delta, nil
}

// recordOf keeps what a receipt says beside the cost.
func recordOf(receipt *grid.Receipt) *ReceiptRecord {
	r := &ReceiptRecord{Model: receipt.ServingModel, TTFT: receipt.TTFT, Duration: receipt.Duration, Supplier: receipt.Supplier, Quality: receipt.Quality}
	for _, lot := range receipt.Lots {
		r.Lots = append(r.Lots, LotRecord{PriceNanoUSD: lot.PriceNanoUSDPerUnit, Tokens: lot.Tokens, CostNanoUSD: lot.CostNanoUSD})
	}
	return r
}

// receipt asks until the market has settled the cost.
func (a *Agent) receipt(ctx context.Context, requestID string) (*grid.Receipt, error) {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		r, err := a.client.Receipt(ctx, requestID)
		if err == nil && r.CostNanoUSD != nil {
			return r, nil
		}
		var ge *grid.Error
		if err != nil && !(errors.As(err, &ge) && ge.Status == 404) { // not written yet
			return nil, err
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		}
	}
}
