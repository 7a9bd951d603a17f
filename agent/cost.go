package agent

import "fmt"

// Cost is what a run cost, as far as it is known.
type Cost struct {
	NanoUSD int64 // what the ledger holds; never below the bill under the stated assumptions
	Receipt int64 // the part of NanoUSD that receipts have settled
	Open    int   // attempts whose receipt is still missing
}

// String prints dollars and how well they are known: "$0.0132 (estimated)".
func (c Cost) String() string {
	s := dollars(c.NanoUSD)
	switch {
	case c.Open == 0:
		return s + " (receipts)"
	case c.Receipt == 0:
		return s + " (estimated)"
	}
	return s + " (partly estimated)"
}

// dollars rounds to what a person reads: four digits behind the point, six below
// a cent. The exact figure is NanoUSD.
func dollars(nano int64) string {
	unit, digits := int64(100_000), 4
	if nano < 10_000_000 {
		unit, digits = 1_000, 6
	}
	return fmt.Sprintf("$%.*f", digits, float64((nano+unit/2)/unit*unit)/1e9)
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
