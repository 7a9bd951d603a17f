package main

import (
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
)

func title(s string) { fmt.Printf("\n%s\n%s\n", s, strings.Repeat("─", len([]rune(s)))) }

// view prints a run as it happens.
type view struct {
	start  time.Time
	inText bool
}

func newView() *view { return &view{start: time.Now()} }

func (v *view) line(format string, args ...any) {
	if v.inText {
		fmt.Println()
		v.inText = false
	}
	fmt.Printf("%6.2fs  %s\n", time.Since(v.start).Seconds(), fmt.Sprintf(format, args...))
}

func (v *view) watch(events iter.Seq[agent.Event]) {
	for e := range events {
		switch e := e.(type) {
		case agent.Routed:
			v.line("step %d on %s (%s): %s", e.Step, e.Instrument, e.Reason, e.Why)
		case agent.ToolStarted:
			mark := "tool "
			if e.Parallel {
				mark = "tool∥"
			}
			v.line("  %s %s(%s)", mark, e.Name, e.Args)
		case agent.ToolFinished:
			v.line("  %-5s %s: %s", "→", e.Name, oneLine(e.Status, e.Content))
		case agent.TopUpWait:
			v.line("  %s is dry: its top-up is running, next try in %s", e.Instrument, e.Next.Round(10*time.Millisecond))
		case agent.TopUpDone:
			v.line("  %s was topped up after %s", e.Instrument, e.Waited.Round(10*time.Millisecond))
		case agent.Retrying:
			v.line("  %s failed (%s), again in %s", e.Instrument, e.Class, e.Delay.Round(10*time.Millisecond))
		case agent.CapCrossed:
			v.line("  %d%% of cap %q is used", e.Percent, e.Cap)
		case agent.BudgetDenied:
			v.line("  the cap says no: %s", e.Kind)
		case agent.Warning:
			v.line("  warning: %s", e.Text)
		case agent.TextDelta:
			if !v.inText {
				v.line("")
				fmt.Print("         ")
				v.inText = true
			}
			fmt.Print(e.Text)
		case agent.TextDiscarded:
			v.line("  (the stream broke; asked again)")
		}
	}
	if v.inText {
		fmt.Println()
	}
}

func oneLine(status, content string) string {
	content = strings.Join(strings.Fields(content), " ")
	if r := []rune(content); len(r) > 90 {
		content = string(r[:90]) + "…"
	}
	if status != "ok" {
		content = status + ": " + content
	}
	return content
}

// table prints one row for each step, with what its receipt said.
func table(steps []agent.StepRecord, estimates []int64) {
	fmt.Printf("\n   %4s  %-14s %-10s %12s %12s %12s %12s\n", "step", "instrument", "reason", "tokens", "estimate", "receipt", "cap left")
	skipped := 0
	for i, s := range steps {
		if i >= 6 && i < len(steps)-2 {
			skipped++
			continue
		}
		if skipped > 0 {
			fmt.Printf("   %4s  %d more like these\n", "…", skipped)
			skipped = 0
		}
		estimate, receipt := budget.FormatUSD(estimates[i]), "-"
		for _, a := range s.Attempts {
			if a.CostSource == agent.CostReceipt {
				receipt = budget.FormatUSD(s.CostNanoUSD)
			}
		}
		reason := s.Reason
		if s.Final {
			reason = "last word"
		}
		left := "-"
		if s.LeftNanoUSD >= 0 {
			left = budget.FormatUSD(s.LeftNanoUSD)
		}
		fmt.Printf("   %4d  %-14s %-10s %12d %12s %12s %12s\n", s.Step, s.Instrument, reason, s.InputTokens+s.OutputTokens, estimate, receipt, left)
	}
}
