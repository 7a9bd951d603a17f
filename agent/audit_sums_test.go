package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gridloop/gridloop/budget"
)

func TestAnHourSaysWhatSeparatesLedgerAndMarket(t *testing.T) {
	for _, tc := range []struct {
		name                 string
		ledger, market       AuditCount
		unconfirmed          int64
		unexplained, missing AuditGap
		off                  int64
	}{
		{name: "nothing"},
		{"alike", AuditCount{2, 200, 500}, AuditCount{2, 200, 400}, 0, AuditGap{}, AuditGap{}, 100},
		{"too low an estimate", AuditCount{2, 200, 300}, AuditCount{2, 200, 400}, 0, AuditGap{}, AuditGap{}, -100},
		{"somebody else asked, too", AuditCount{2, 200, 500}, AuditCount{3, 300, 600}, 0, AuditGap{1, 100}, AuditGap{}, 100},
		{"only somebody else asked", AuditCount{}, AuditCount{3, 300, 600}, 0, AuditGap{3, 300}, AuditGap{}, 0},
		{"requests that are cut and counted anew", AuditCount{2, 200, 500}, AuditCount{2, 250, 500}, 0, AuditGap{0, 50}, AuditGap{}, 100},
		{"one of ours was not billed", AuditCount{3, 300, 600}, AuditCount{2, 200, 400}, 0, AuditGap{}, AuditGap{1, 100}, 200},
		{"one of ours, at its bound, was not billed", AuditCount{3, 900, 1800}, AuditCount{2, 200, 400}, 700, AuditGap{}, AuditGap{1, 0}, 1400},
		{"none of ours was billed", AuditCount{3, 300, 600}, AuditCount{}, 0, AuditGap{}, AuditGap{3, 300}, 600},
	} {
		s := AuditSums{Ledger: tc.ledger, Market: tc.market, UnconfirmedTokens: tc.unconfirmed, Pending: 1}
		s.compare()
		if s.Unexplained != tc.unexplained || s.Missing != tc.missing || s.EstimateErrorNanoUSD != tc.off {
			t.Errorf("%s: %+v", tc.name, s)
		}
		total := s
		total.add(&s)
		twice := func(c AuditCount) AuditCount { return AuditCount{2 * c.Requests, 2 * c.Tokens, 2 * c.NanoUSD} }
		gaps := func(g AuditGap) AuditGap { return AuditGap{2 * g.Requests, 2 * g.Tokens} }
		want := AuditSums{Ledger: twice(s.Ledger), Market: twice(s.Market), UnconfirmedTokens: 2 * s.UnconfirmedTokens, Pending: 2,
			Unexplained: gaps(s.Unexplained), Missing: gaps(s.Missing), EstimateErrorNanoUSD: 2 * s.EstimateErrorNanoUSD}
		if total != want {
			t.Errorf("%s: two of them are %+v, want %+v", tc.name, total, want)
		}
	}
}

func TestAnAuditIsOfADayUnlessItIsSaid(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.FixedZone("east", 3600))
	day, hour := 24*time.Hour, time.Hour
	for _, tc := range []struct {
		name     string
		in, want AuditQuery
		refused  string
	}{
		{"nothing said", AuditQuery{}, AuditQuery{From: now.Add(-day), To: now, Lag: 15 * time.Minute}, ""},
		{"until then", AuditQuery{To: now.Add(-hour)}, AuditQuery{From: now.Add(-hour - day), To: now.Add(-hour), Lag: 15 * time.Minute}, ""},
		{"until tomorrow", AuditQuery{From: now.Add(-hour), To: now.Add(day), Lag: hour}, AuditQuery{From: now.Add(-hour), To: now, Lag: hour}, ""},
		{"without a lag", AuditQuery{Lag: -1}, AuditQuery{From: now.Add(-day), To: now}, ""},
		{"31 days", AuditQuery{From: now.Add(-31 * day)}, AuditQuery{From: now.Add(-31 * day), To: now, Lag: 15 * time.Minute}, ""},
		{"more than that", AuditQuery{From: now.Add(-31*day - 1)}, AuditQuery{}, "31 days"},
		{"no time at all", AuditQuery{From: now, To: now}, AuditQuery{}, "not after From"},
		{"two mistakes", AuditQuery{From: now, To: now, Keys: []string{""}}, AuditQuery{}, "empty id"},
	} {
		got, err := tc.in.filled(now)
		if tc.refused != "" {
			if !errors.Is(err, budget.ErrInvalid) || !strings.Contains(err.Error(), tc.refused) {
				t.Errorf("%s: %v", tc.name, err)
			}
			continue
		}
		if err != nil || !got.From.Equal(tc.want.From) || !got.To.Equal(tc.want.To) || got.Lag != tc.want.Lag || got.From.Location() != time.UTC || got.To.Location() != time.UTC {
			t.Errorf("%s: %+v, %v", tc.name, got, err)
		}
	}
}

func TestTheKeyIsTheOneOfTheLatestReceipt(t *testing.T) {
	a := new(Agent)
	for _, tc := range []struct{ says, known string }{{"", ""}, {"key_1", "key_1"}, {"", "key_1"}, {"key_1", "key_1"}, {"key_2", "key_2"}} {
		a.learnKey(tc.says)
		known := ""
		if id := a.keyID.Load(); id != nil {
			known = *id
		}
		if known != tc.known {
			t.Errorf("after %q the key is %q, want %q", tc.says, known, tc.known)
		}
	}
}
