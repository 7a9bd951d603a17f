package agent

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gridloop/gridloop/budget"
)

// Explain says what is in force: every limit, cap, route, instrument and price
// with its source. It is text for people.
func (a *Agent) Explain() string {
	var b strings.Builder
	l := a.limits
	fmt.Fprintf(&b, "agent %s\n", a.cfg.Name)
	fmt.Fprintf(&b, "\nlimits of a run\n")
	row := func(name, value string) { fmt.Fprintf(&b, "  %-12s %s\n", name, value) }
	count := func(n int) string {
		if n <= 0 {
			return "none"
		}
		return fmt.Sprint(n)
	}
	span := func(d time.Duration) string {
		if d <= 0 || d > 1<<61 {
			return "none"
		}
		return d.String()
	}
	row("steps", count(l.Steps))
	row("tool calls", count(l.ToolCalls))
	row("parallel", count(l.Parallel))
	row("repairs", fmt.Sprint(l.Repairs))
	row("wall", span(l.Wall)+" of work")
	row("wait", span(l.Wait)+" for top-ups")
	if !a.share.IsZero() {
		row("carved", shareInWords(a.share)+" kept for a run from its start until it ends")
	}
	row("max tokens", fmt.Sprintf("%d a call; %d for the answer at a limit", l.MaxTokens, finalTokens))

	fmt.Fprintf(&b, "\nparams of every model step\n")
	row("sent", paramsInWords(a.params))
	if a.cfg.Tune != nil {
		row("tuned", "the service changes them step by step")
	}

	fmt.Fprintf(&b, "\nspending\n")
	row("estimate", string(a.estimator.Mode())+" bound on prompts")
	row("overrun", overrunInWords[a.spending.Overrun])
	row("held", heldInWords[a.spending.Held])
	row("price", priceInWords[a.spending.Price])

	fmt.Fprintf(&b, "\ncaps\n")
	if !a.ownLedger {
		row("shared", "this agent spends from a ledger that it shares; its caps:")
		for _, c := range runCaps(l) {
			row("each run", describeCap(c))
		}
	}
	for _, c := range a.caps {
		row(c.For.String(), describeCap(c)+a.notCounted(c))
	}
	if len(a.caps) == 0 && a.ownLedger {
		row("none", "nothing bounds what a run spends")
	}

	fmt.Fprintf(&b, "\nroutes\n")
	if t, ok := a.router.(interface{ Explain() []string }); ok {
		for _, line := range t.Explain() {
			fmt.Fprintf(&b, "  %s\n", line)
		}
	} else {
		fmt.Fprintf(&b, "  a router of the service's own (%T)\n", a.router)
	}

	fmt.Fprintf(&b, "\ninstruments\n")
	for _, in := range a.client.Catalogue().List() {
		p := a.client.Catalogue().Price(in.ID)
		price := "no price yet: asked for at the first step"
		if p.NanoUSDPerUnit > 0 {
			price = budget.FormatUSD(p.NanoUSDPerUnit) + " a Unit at most (" + p.Source + ")"
		}
		fmt.Fprintf(&b, "  %-15s %-8s max input %-8d max output %-8d %s\n", in.ID, in.Status, in.MaxInput, in.MaxOutput, price)
	}

	fmt.Fprintf(&b, "\ntools\n")
	for _, t := range a.tools.All() {
		var traits []string
		if t.ReadOnly() {
			traits = append(traits, "read only")
		}
		if t.AsksApproval() {
			traits = append(traits, "may wait for approval")
		}
		if t.EndsRun() {
			traits = append(traits, "ends the run")
		}
		uses := t.Uses()
		for _, m := range sortedKeys(uses) {
			traits = append(traits, fmt.Sprintf("uses %d %s", uses[m], m))
		}
		row(t.Name(), strings.Join(append(traits, "timeout "+span(t.Timeout())), ", "))
	}
	for _, name := range sortedKeys(a.agents) {
		kept := ""
		if share := a.agents[name].share; !share.IsZero() {
			kept = "; " + shareInWords(share) + " kept for each from its start until it ends"
		}
		row(name, "an agent: its runs spend from this one's caps too"+kept)
	}
	return b.String()
}

var heldInWords = map[HeldPolicy]string{
	HeldRetry: "what others hold is asked for again, for some seconds",
	HeldLine:  "what others hold is waited for, as long as for top-ups, holding nothing",
}

var priceInWords = map[PricePolicy]string{
	PriceDeny:    "unknown under a money cap, or above max_price: the run is refused",
	PriceReroute: "unknown under a money cap, or above max_price: another instrument serves",
}

var overrunInWords = map[OverrunPolicy]string{
	OverrunDefault:        "more than 5 % above a reservation, or a cap passed, halts the instrument",
	OverrunContinue:       "is counted and announced, and halts nothing",
	OverrunHaltInstrument: "halts the instrument",
	OverrunHaltScope:      "halts what the passed caps are for, else the run",
}

// notCounted is a remark on a cap that nothing this agent does is counted by: it is for
// other agents on the ledger, or a name in it is misspelt.
func (a *Agent) notCounted(c budget.Cap) string {
	custom, isCustom := strings.CutPrefix(string(c.Meter), "custom:")
	if Countable(c) != nil {
		return "; no agent is ever counted by it"
	}
	if c.Meter != budget.MeterToolCalls && !isCustom {
		return ""
	}
	for name, w := range a.tolls {
		if c.For.Covers(budget.Scope{Kind: budget.ScopeTool, Name: name}) && w.amounts.Get(c.Meter) > 0 {
			return ""
		}
	}
	if isCustom {
		return "; no tool that it is for is declared with tools.Uses(" + strconv.Quote(custom) + ", ...) here"
	}
	return "; this agent has no such tool"
}

func describeCap(c budget.Cap) string {
	limit := fmt.Sprintf("%d %s", c.Limit, c.Meter)
	if c.Limit == budget.None {
		limit = "any number of " + string(c.Meter)
	} else if c.Meter == budget.MeterMoney {
		limit = budget.FormatUSD(c.Limit)
	}
	if length, _ := c.Per.Rolls(); length > 0 {
		return limit + " in any " + strings.TrimPrefix(c.Per.String(), "rolling ")
	}
	return limit + " per " + c.Per.String()
}
