package agent

import "github.com/gridloop/gridloop/budget"

// Cost is what a run cost, as far as it is known.
type Cost struct {
	NanoUSD int64 // what the ledger holds; never below the bill under the stated assumptions
	Receipt int64 // the part of NanoUSD that receipts have settled
	Open    int   // attempts whose receipt is still missing
}

// String prints dollars and how well they are known: "$0.0132 (estimated)".
func (c Cost) String() string {
	s := budget.FormatUSD(c.NanoUSD)
	switch {
	case c.Open == 0:
		return s + " (receipts)"
	case c.Receipt == 0:
		return s + " (estimated)"
	}
	return s + " (partly estimated)"
}

func costOf(steps []StepRecord) Cost {
	var c Cost
	for _, s := range steps {
		for _, a := range s.Attempts {
			c.NanoUSD += a.CostNanoUSD
			switch {
			case a.CostSource == CostReceipt:
				c.Receipt += a.CostNanoUSD
			case a.Billed != "no":
				c.Open++
			}
		}
	}
	return c
}
