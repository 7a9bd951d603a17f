package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/grid/gridtest"
)

// settling is how long receipts and balances are given to follow a request.
const settling = 3 * time.Second

// look asks everything, what matters most first: when requests or money run out, the
// rest is not visible.
func (p *probe) look(ctx context.Context) {
	p.models(ctx)
	p.dryness(ctx)
	before := p.balance(ctx)
	p.redirect(ctx)
	p.cutting(ctx)
	p.history(ctx)
	p.pause(ctx, settling)
	p.receipts(ctx)
	p.units(ctx, before)
	p.refusals(ctx)
	p.parameters(ctx)
	p.diagnostics(ctx)
	p.unseen("A-02", "credits that are empty were not met", "credits_empty")
	p.unseen("A-06", "an overdraft needs a balance that runs out during a request", "overdraft")
	p.unseen("A-07", "credits that are empty were not met", "no_credits")
	p.unseen("A-09", "lots are not listed by any API", "lots")
	slices.SortStableFunc(p.findings, func(a, b gridtest.Finding) int { return strings.Compare(a.Assumption, b.Assumption) })
}

func (p *probe) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// question is a small request; max bounds its answer.
func (p *probe) question(text string, max int, more string) string {
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":%q}],"max_tokens":%d%s}`, p.instrument, text, max, more)
}

func (p *probe) models(ctx context.Context) {
	a, err := p.get(ctx, "/models", "")
	keyed := err == nil && (a.status == http.StatusUnauthorized || a.status == http.StatusForbidden)
	if keyed {
		a, err = p.get(ctx, "/models", p.key)
	}
	if err != nil || a.status != http.StatusOK {
		p.unseen("A-03", whyNot(a, err), "models")
		p.unseen("A-01", whyNot(a, err))
		return
	}
	if keyed {
		p.read("models", "keyed", "without a key the list is refused")
	} else {
		p.read("models", "open", "the list needs no key")
	}
	var list struct {
		Data []map[string]json.RawMessage `json:"data"`
	}
	if json.Unmarshal(a.body, &list) != nil || len(list.Data) == 0 {
		p.note("A-03", false, "the list has no data")
		return
	}
	lacks := make(map[string]bool)
	for _, m := range list.Data {
		for _, field := range []string{"context_window", "max_input_tokens", "max_output_tokens", "status", "pricing", "capabilities"} {
			if m[field] == nil {
				lacks[field] = true
			}
		}
	}
	var missing []string
	for field := range lacks {
		missing = append(missing, field)
	}
	slices.Sort(missing)
	p.note("A-03", len(missing) == 0, "%d instruments; fields that not all of them have: %s", len(list.Data), orNone(missing))
	p.prices(list.Data)
}

// prices compares the list with the prices that are made up, and takes the bound of what
// the probe itself pays from it.
func (p *probe) prices(list []map[string]json.RawMessage) {
	assumed := make(map[string]int64)
	for _, in := range gridtest.Nine() {
		assumed[in.ID] = in.PriceNanoUSD
	}
	var saw []string
	near := true
	for _, m := range list {
		var id string
		var pricing struct {
			Unit json.RawMessage `json:"unit_price_usd"`
		}
		if json.Unmarshal(m["id"], &id) != nil {
			continue
		}
		_ = json.Unmarshal(m["pricing"], &pricing)
		if pricing.Unit == nil {
			pricing.Unit = m["unit_price_usd"]
		}
		price := nano(strings.Trim(string(pricing.Unit), `"`))
		if id == p.instrument {
			_ = json.Unmarshal(m["max_output_tokens"], &p.maxOutput)
			if p.maxPrice == 0 && price > 0 && price < 1e15 {
				p.price = price + price/4 + 1
			}
		}
		if price <= 0 {
			continue
		}
		saw = append(saw, fmt.Sprintf("%s %s", id, usd(price)))
		if a := assumed[id]; a > 0 && (price > 2*a || price < a/2) {
			near = false
		}
	}
	if len(saw) == 0 {
		p.unseen("A-01", "the list has no prices")
		return
	}
	p.note("A-01", near, "live prices of a Unit: %s", strings.Join(saw, ", "))
}

// nano reads dollars as nano-USD; 0 is none.
func nano(v string) int64 {
	r, ok := new(big.Rat).SetString(v)
	if !ok || r.Sign() <= 0 || len(v) > 40 {
		return 0
	}
	r.Mul(r, big.NewRat(1_000_000_000, 1))
	n := new(big.Int).Quo(r.Num(), r.Denom())
	if !n.IsInt64() {
		return 0
	}
	return n.Int64()
}

// dryness looks at an instrument that the caller says is dry. Nothing is followed.
func (p *probe) dryness(ctx context.Context) {
	if p.dry == "" {
		p.unseen("A-05", "no dry instrument was named: see -dry", "dry")
		p.unseen("A-02", "no dry instrument was named: see -dry", "dry_retry_after")
		return
	}
	body := strings.Replace(p.question("ping", 1, ""), fmt.Sprintf("%q", p.instrument), fmt.Sprintf("%q", p.dry), 1)
	var statuses []int
	given := false
	for i := range 2 {
		if i > 0 {
			p.pause(ctx, 300*time.Millisecond)
		}
		a, err := p.knock(ctx, body)
		if err != nil {
			p.unseen("A-05", err.Error(), "dry")
			p.unseen("A-02", err.Error(), "dry_retry_after")
			return
		}
		statuses = append(statuses, a.status)
		given = given || a.header.Get("Retry-After") != ""
		if a.status != http.StatusPaymentRequired && a.status != http.StatusServiceUnavailable {
			p.unseen("A-05", fmt.Sprintf("%s answered %v: it is not dry, or not for long enough", p.dry, statuses), "dry")
			if i == 0 {
				p.unseen("A-02", p.dry+" is not dry", "dry_retry_after")
			} else {
				p.retryAfter(given)
			}
			return
		}
	}
	reading := "402_then_503"
	if statuses[0] == statuses[1] {
		reading = fmt.Sprint(statuses[0])
	} else if statuses[0] == http.StatusServiceUnavailable {
		p.unseen("A-05", fmt.Sprintf("%s answered %v: neither reading", p.dry, statuses), "dry")
		p.retryAfter(given)
		return
	}
	p.read("dry", reading, "%s answered %v", p.dry, statuses)
	p.retryAfter(given)
}

func (p *probe) retryAfter(given bool) {
	if given {
		p.read("dry_retry_after", "given", "a dry instrument names a time in Retry-After")
	} else {
		p.read("dry_retry_after", "none", "a dry instrument names no time")
	}
}

// redirect makes one small request and looks at both hops.
func (p *probe) redirect(ctx context.Context) {
	const text = "Say ok."
	body := p.question(text, 16, "")
	hide := func(why string) {
		p.unseen("A-04", why, "redirect_host", "redirect_token")
		p.unseen("A-10", why, "request_id")
	}
	if err := p.afford(body, 16); err != nil {
		hide(err.Error())
		return
	}
	one, err := p.knock(ctx, body)
	if err != nil {
		hide(err.Error())
		return
	}
	if one.status == http.StatusOK {
		p.note("A-04", false, "the first hop answers by itself, without a redirect")
		p.first = one
		p.unseen("A-04", "there was no redirect", "redirect_host", "redirect_token")
		p.unseen("A-10", "there was no redirect", "request_id")
		return
	}
	if one.status != http.StatusTemporaryRedirect {
		hide(whyNot(one, nil) + ": take another -instrument")
		return
	}
	p.redirected = true
	if to, err := p.base.Parse(one.header.Get("Location")); err != nil {
		p.unseen("A-04", "the redirect names no address", "redirect_host")
	} else if to.Host == p.base.Host {
		p.read("redirect_host", "same", "the redirect stays at %s", to.Host)
	} else {
		p.read("redirect_host", "other", "the redirect leads to %s", to.Host)
	}
	two, err := p.follow(ctx, one, body, maxAnswer)
	if err != nil || two.status != http.StatusOK {
		if err == nil && two.status == http.StatusUnauthorized {
			p.note("A-04", false, "the second hop wants a key")
		}
		p.unseen("A-04", "second hop: "+whyNot(two, err), "redirect_token")
		p.unseen("A-10", "second hop: "+whyNot(two, err), "request_id")
		return
	}
	p.note("A-04", true, "the second hop needs no key")
	p.first = two
	p.usage(two)
	switch a, b := one.id(), two.id(); {
	case b == "":
		p.read("request_id", "none", "no answer has x-grid-request-id")
	case a == "":
		p.read("request_id", "second_hop", "the second hop has x-grid-request-id, the first has not")
	default:
		p.read("request_id", "both_hops", "both hops have x-grid-request-id; they are equal: %v", a == b)
	}
	if err := p.afford(body, 16); err != nil {
		p.unseen("A-04", err.Error(), "redirect_token")
		return
	}
	again, err := p.follow(ctx, one, body, maxAnswer)
	switch {
	case err != nil:
		p.unseen("A-04", err.Error(), "redirect_token")
	case again.status == http.StatusOK:
		p.usage(again)
		p.read("redirect_token", "again", "a redirect can be followed twice")
	case again.status < 500:
		p.read("redirect_token", "once", "followed a second time: %s", whyNot(again, nil))
	default:
		p.unseen("A-04", "followed a second time: "+whyNot(again, nil), "redirect_token")
	}
}

// usage adds up what answers say they used.
func (p *probe) usage(a answer) {
	var w struct {
		Usage struct {
			Total int64 `json:"total_tokens"`
		} `json:"usage"`
	}
	if json.Unmarshal(a.body, &w) == nil {
		p.totalTokens += w.Usage.Total
	}
}

// cutting begins a stream and leaves.
func (p *probe) cutting(ctx context.Context) {
	body := p.question("Count from 1 to 200 in words, one per line.", 400, `,"stream":true`)
	if err := p.afford(body, 400); err != nil {
		p.unseen("A-08", err.Error(), "cut")
		return
	}
	one, err := p.knock(ctx, body)
	if err != nil || one.status != http.StatusTemporaryRedirect {
		p.unseen("A-08", whyNot(one, err), "cut")
		return
	}
	two, err := p.follow(ctx, one, body, -1)
	if err != nil || two.status != http.StatusOK {
		p.unseen("A-08", "second hop: "+whyNot(two, err), "cut")
		return
	}
	p.cut = two
}

// history sends a tool call that nobody answered: a supplier's error, most likely.
func (p *probe) history(ctx context.Context) {
	body := fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"x"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"look","arguments":"{}"}}]}],"tools":[{"type":"function","function":{"name":"look","parameters":{"type":"object","properties":{}}}}],"max_tokens":16}`, p.instrument)
	hide := func(why string) {
		p.unseen("A-10", why, "supplier_error")
		p.unseen("A-11", why)
	}
	if err := p.afford(body, 16); err != nil {
		hide(err.Error())
		return
	}
	one, err := p.knock(ctx, body)
	if err == nil && (one.status == http.StatusBadRequest || one.status == http.StatusUnprocessableEntity) {
		p.note("A-11", false, "the first hop refuses it already: %s", whyNot(one, nil))
		p.unseen("A-10", "no error came from behind the redirect", "supplier_error")
		return
	}
	if err != nil || one.status != http.StatusTemporaryRedirect {
		hide(whyNot(one, err))
		return
	}
	two, err := p.follow(ctx, one, body, maxAnswer)
	switch {
	case err != nil:
		hide(err.Error())
		return
	case two.status == http.StatusOK:
		p.usage(two)
		p.note("A-11", false, "a tool call that is not answered is accepted")
		p.unseen("A-10", "no error came from behind the redirect", "supplier_error")
		return
	}
	p.note("A-11", two.status == http.StatusBadRequest, "a tool call that is not answered: %s", whyNot(two, nil))
	switch _, envelope := two.detail(); envelope {
	case "":
		p.unseen("A-10", "the error has neither envelope: "+string(two.body), "supplier_error")
	default:
		p.read("supplier_error", envelope, "behind the redirect: %s", whyNot(two, nil))
	}
}

// refusals compares the texts of errors with those that are made up.
func (p *probe) refusals(ctx context.Context) {
	unknown, err := p.knock(ctx, strings.Replace(p.question("ping", 1, ""), fmt.Sprintf("%q", p.instrument), `"no-such-instrument"`, 1))
	if err != nil {
		p.unseen("A-02", err.Error())
		return
	}
	bare, err := p.get(ctx, "/usage?limit=1", "")
	if err != nil {
		p.unseen("A-02", err.Error())
		return
	}
	text, envelope := unknown.detail()
	missing, other := bare.detail()
	holds := unknown.status == http.StatusNotFound && text == "Instrument not found" && envelope == "market" &&
		bare.status == http.StatusUnauthorized && missing == "Missing API key" && other == "market"
	p.note("A-02", holds, "an unknown instrument: %s; no key: %s", whyNot(unknown, nil), whyNot(bare, nil))
}

// parameters sends what the first hop should refuse. Should it redirect instead, nobody
// follows, which is free where a redirect was seen before.
func (p *probe) parameters(ctx context.Context) {
	if !p.redirected {
		p.unseen("A-12", "no redirect was seen, so that asking may be paid for")
		p.unseen("A-13", "no redirect was seen, so that asking may be paid for")
		return
	}
	limit := p.maxOutput
	if limit <= 0 {
		limit = 10_000_000
	}
	without := strings.Replace(p.question("ping", 1, ""), fmt.Sprintf(`"model":%q,`, p.instrument), "", 1)
	upper := strings.Replace(p.question("ping", 1, ""), p.instrument, strings.ToUpper(p.instrument), 1)
	beyond := strings.Replace(p.question("ping", 1, ""), `"max_tokens":1`, fmt.Sprintf(`"max_tokens":%d`, limit+1), 1)
	var saw []string
	holds := true
	for _, row := range []struct {
		name, body string
		want       func(int) bool
	}{
		{"no model", without, func(s int) bool { return s == 422 }},
		{"capital letters", upper, func(s int) bool { return s == 307 || s == 402 || s == 503 }},
		{"max_tokens beyond the limit", beyond, func(s int) bool { return s == 422 }},
	} {
		a, err := p.knock(ctx, row.body)
		if err != nil {
			p.unseen("A-12", err.Error())
			saw = nil
			break
		}
		holds = holds && row.want(a.status)
		saw = append(saw, fmt.Sprintf("%s: %d", row.name, a.status))
	}
	if saw != nil {
		p.note("A-12", holds, "%s", strings.Join(saw, ", "))
	}
	a, err := p.knock(ctx, p.question("ping", 1, `,"n":2`))
	if err != nil {
		p.unseen("A-13", err.Error())
		return
	}
	p.note("A-13", a.status == http.StatusUnprocessableEntity, "n of 2: %d", a.status)
}

func (p *probe) diagnostics(ctx context.Context) {
	d, err := p.client.Diagnostics(ctx)
	var e *grid.Error
	switch {
	case errors.As(err, &e) && e.Class == grid.ClassNotFound:
		p.note("A-15", false, "there are no diagnostics")
	case err != nil:
		p.unseen("A-15", err.Error())
	default:
		var names []string
		key, credits, balance := false, false, false
		for _, c := range d.Checks {
			names = append(names, c.Name)
			key = key || c.Name == "api_key"
			credits = credits || c.Name == "credits"
			balance = balance || strings.HasPrefix(c.Name, "balance:")
		}
		p.note("A-15", key && credits && balance, "checks: %s", orNone(names))
	}
}

// whyNot says what came instead of what was wanted.
func whyNot(a answer, err error) string {
	if err != nil {
		return err.Error()
	}
	text, _ := a.detail()
	if text == "" {
		return fmt.Sprintf("status %d", a.status)
	}
	return fmt.Sprintf("status %d, %q", a.status, text)
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
