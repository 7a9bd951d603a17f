package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gridloop/gridloop/agent/ops"
	"github.com/gridloop/gridloop/budget"
)

// plain shows an answer as it is, indented.
func plain(out io.Writer, body []byte) error {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(body), "", "  "); err != nil {
		return fmt.Errorf("the answer cannot be read: %w", err)
	}
	b.WriteByte('\n')
	_, err := out.Write(b.Bytes())
	return err
}

// table shows rows under a head; cells that come from elsewhere stay on their line.
func table(out io.Writer, body []byte, into any, head string, rows func(row func(cells ...string))) error {
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("the answer cannot be read: %w", err)
	}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, head)
	rows(func(cells ...string) {
		for i, c := range cells {
			cells[i] = strings.Map(func(r rune) rune {
				if r < ' ' || r == 0x7f {
					return '?'
				}
				return r
			}, c)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	})
	return w.Flush()
}

func showLive(out io.Writer, body []byte) error {
	var v struct{ Runs []ops.Run }
	return table(out, body, &v, "RUN\tAGENT\tTENANT\tSTEP\tSPENT\tDOES", func(row func(...string)) {
		for _, r := range v.Runs {
			var does []string
			for _, d := range r.Doing {
				does = append(does, strings.TrimSpace(d.What+" "+d.Name)+" for "+time.Since(d.Since).Round(time.Second).String())
			}
			row(r.ID, r.Agent, r.Tenant, fmt.Sprint(r.Step), budget.FormatUSD(r.SpentNanoUSD), strings.Join(does, ", "))
		}
	})
}

func showTop(out io.Writer, body []byte) error {
	var v struct {
		Meter string
		Rows  []ops.Top
	}
	return table(out, body, &v, "SCOPE\tSETTLED\tHELD\tA MINUTE\tLASTS\tCAP", func(row func(...string)) {
		for _, t := range v.Rows {
			lasts := "-"
			if t.RunwaySeconds != nil {
				lasts = time.Duration(*t.RunwaySeconds * float64(time.Second)).Round(time.Second).String()
			}
			row(t.Scope, amount(v.Meter, &t.Settled), amount(v.Meter, &t.Held), amount(v.Meter, &t.PerMinute), lasts, t.Cap)
		}
	})
}

func showCaps(out io.Writer, body []byte) error {
	var v struct{ Caps []ops.Cap }
	return table(out, body, &v, "FOR\tMETER\tPER\tLIMIT\tBY\tSINCE", func(row func(...string)) {
		for _, c := range v.Caps {
			row(c.For, c.Meter, c.Per, amount(c.Meter, c.Limit), c.By, c.At.Format(time.RFC3339))
		}
	})
}

func showStanding(out io.Writer, body []byte) error {
	var v struct{ Standing []ops.Standing }
	return table(out, body, &v, "CAP\tFOR\tSETTLED\tHELD\tLEFT\tRESETS", func(row func(...string)) {
		for _, s := range v.Standing {
			resets := "never"
			if s.Reset != nil {
				resets = s.Reset.Format(time.RFC3339)
			}
			row(s.Cap, s.Scope, amount(s.Meter, &s.Settled), amount(s.Meter, &s.Held), amount(s.Meter, s.Left), resets)
		}
	})
}

func amount(meter string, n *int64) string {
	switch {
	case n == nil:
		return "none"
	case meter == string(budget.MeterMoney):
		return budget.FormatUSD(*n)
	}
	return fmt.Sprint(*n)
}
