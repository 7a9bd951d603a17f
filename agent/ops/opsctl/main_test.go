package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/agent/ops"
	"github.com/gridloop/gridloop/budget"
)

// asked runs the program once.
func asked(t *testing.T, url, token string, args ...string) (code int, out string) {
	t.Helper()
	env := func(name string) string {
		return map[string]string{"GRIDLOOP_OPS_URL": url, "GRIDLOOP_OPS_TOKEN": token}[name]
	}
	var o, e bytes.Buffer
	code = run(context.Background(), args, env, &o, &e)
	return code, o.String() + e.String()
}

func TestTheCommandReadsAndPressesTheButton(t *testing.T) {
	l, err := budget.Open(t.Context(), budget.Config{Store: budget.NewMemory(budget.Volatile()), Caps: []budget.Cap{
		{For: budget.Each("tenant"), Meter: budget.MeterMoney, Limit: budget.USD(5), Per: budget.Lifetime()}}})
	if err != nil {
		t.Fatal(err)
	}
	acme := budget.Scope{Kind: "tenant", Name: "acme\x1b[31m"}
	if _, err := l.Reserve(t.Context(), budget.Request{ID: "a", Scopes: []budget.Scope{acme}, Amounts: budget.Amounts{NanoUSD: budget.USD(1)}}); err != nil {
		t.Fatal(err)
	}
	h, err := ops.Handler(ops.Config{Ledger: l, Authorise: func(r *http.Request) (string, error) {
		if r.Header.Get("Authorization") != "Bearer sesame" {
			return "", errors.New("no")
		}
		return "ann", nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ops/", http.StripPrefix("/ops", h))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	url := srv.URL + "/ops"
	for _, tc := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"live"}, 0, "RUN"},
		{[]string{"-for", "10m", "top", "tenant"}, 0, "$1.00"},
		{[]string{"top", "galaxy"}, 1, "galaxy"},
		{[]string{"caps"}, 0, "each tenant"},
		{[]string{"cap", "each tenant", "money", "lifetime", "$2.50"}, 0, `"old": 5000000000`},
		{[]string{"caps"}, 0, "$2.50"},
		{[]string{"standing", acme.String()}, 0, "$1.50"},
		{[]string{"-for", "2h", "freeze", "tenant beta", "too fast"}, 0, `"by": "ann"`},
		{[]string{"freezes"}, 0, "too fast"},
		{[]string{"unfreeze", "tenant beta"}, 0, `"freezes": []`},
		{[]string{"changes"}, 0, "unfreeze"},
		{[]string{"top", "tool"}, 0, "SCOPE"},
		{[]string{"audit"}, 1, "no agent here"},
		{[]string{"audit", "now"}, 2, "write: opsctl audit"},
		{[]string{"-json", "freezes"}, 0, `{"freezes":[]}`},
		{[]string{"run", "nobody"}, 1, "no run of this process"},
		{[]string{"cancel", "nobody"}, 1, "no run of this process"},
		{[]string{"freeze"}, 2, "write: opsctl"},
		{[]string{"stop"}, 2, "no command"},
		{[]string{}, 2, "no command"},
	} {
		code, out := asked(t, url, "sesame", tc.args...)
		if code != tc.code || !strings.Contains(out, tc.says) || strings.Contains(out, "\x1b") {
			t.Errorf("%q: %d %q, want %d and %q", tc.args, code, out, tc.code, tc.says)
		}
	}
	if code, out := asked(t, url, "guess", "live"); code != 1 || !strings.Contains(out, "not authorised") {
		t.Errorf("with a wrong token: %d %s", code, out)
	}
	if code, out := asked(t, "http://example.com/ops", "sesame", "live"); code != 2 || !strings.Contains(out, "unencrypted") {
		t.Errorf("a token over http: %d %s", code, out)
	}
	if code, out := asked(t, "", "", "live"); code != 2 || !strings.Contains(out, "-url") {
		t.Errorf("without an address: %d %s", code, out)
	}
	readOnly, err := ops.Handler(ops.Config{Ledger: l})
	if err != nil {
		t.Fatal(err)
	}
	second := httptest.NewServer(readOnly)
	defer second.Close()
	if code, out := asked(t, second.URL, "", "freeze", "account"); code != 1 || !strings.Contains(out, "authorise func") {
		t.Errorf("without a writing half: %d %s", code, out)
	}
}
