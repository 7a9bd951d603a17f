package gridtest

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The fields behind owned_by are an assumption.
type modelJSON struct {
	ID           string           `json:"id"`
	Object       string           `json:"object"`
	DisplayName  string           `json:"display_name"`
	Created      int64            `json:"created"`
	OwnedBy      string           `json:"owned_by"`
	Status       string           `json:"status"`
	Context      int64            `json:"context_window"`
	MaxInput     int64            `json:"max_input_tokens"`
	MaxOutput    int64            `json:"max_output_tokens"`
	Pricing      pricingJSON      `json:"pricing"`
	Capabilities capabilitiesJSON `json:"capabilities"`
}

type pricingJSON struct {
	UnitPriceUSD string `json:"unit_price_usd"`
	UnitTokens   int64  `json:"unit_tokens"`
	Currency     string `json:"currency"`
}

type capabilitiesJSON struct {
	Streaming         bool     `json:"streaming"`
	Tools             bool     `json:"tools"`
	StructuredOutputs bool     `json:"structured_outputs"`
	ReasoningEffort   []string `json:"reasoning_effort"`
}

// serveModels lists all instruments, by itself without a key.
func (m *Market) serveModels(w http.ResponseWriter, r *http.Request, e *entry) {
	if m.read.modelsKeyed {
		if _, no := m.authorize(r, e); no != nil {
			sendRefusal(w, 0, no, 0)
			return
		}
	}
	var list struct {
		Object string      `json:"object"`
		Data   []modelJSON `json:"data"`
	}
	list.Object, list.Data = "list", []modelJSON{}
	m.mu.Lock()
	for _, id := range m.order {
		in := m.accounts[id].instrument
		efforts := []string{"low", "medium", "high"}
		if strings.HasSuffix(id, "-max") {
			efforts = append(efforts, "xhigh", "max")
		}
		list.Data = append(list.Data, modelJSON{
			ID: id, Object: "model", DisplayName: in.DisplayName, Created: 1_772_064_000, OwnedBy: "thegrid", Status: in.Status,
			Context: in.Context, MaxInput: in.MaxInput, MaxOutput: in.MaxOutput,
			Pricing:      pricingJSON{decimal(strconv.FormatInt(in.PriceNanoUSD, 10), 9, 2), tokensPerUnit, "USD"},
			Capabilities: capabilitiesJSON{true, true, true, efforts},
		})
	}
	m.mu.Unlock()
	sendJSON(w, http.StatusOK, list)
}

type checkJSON struct {
	Name       string `json:"name"`
	Status     string `json:"status"`
	Code       string `json:"code"`
	Detail     string `json:"detail"`
	NextAction string `json:"next_action,omitempty"`
}

// serveDiagnostics is the read-only self check. Which checks the platform has
// is an assumption.
func (m *Market) serveDiagnostics(w http.ResponseWriter, r *http.Request, e *entry) {
	if _, no := m.authorize(r, e); no != nil {
		sendRefusal(w, 0, no, 0)
		return
	}
	m.sendDiagnostics(w, "consumption", time.Now())
}

func (m *Market) sendDiagnostics(w http.ResponseWriter, service string, now time.Time) {
	var report struct {
		Data struct {
			Status     string         `json:"status"`
			Service    string         `json:"service"`
			ServerTime string         `json:"server_time"`
			Checks     []checkJSON    `json:"checks"`
			Summary    map[string]int `json:"summary"`
		} `json:"data"`
	}
	report.Data.Service, report.Data.ServerTime = service, stamp(now)
	add := func(c checkJSON) { report.Data.Checks = append(report.Data.Checks, c) }
	add(checkJSON{"api_key", "ok", "api_key_valid", "The key is active", ""})

	m.mu.Lock()
	if m.credits > 0 {
		add(checkJSON{"credits", "ok", "credits_available", "The account has USD credits", ""})
	} else {
		add(checkJSON{"credits", "fail", "credits_empty", "The account has no USD credits", "Add credits or switch Auto-Reload on"})
	}
	for _, id := range m.order {
		a := m.accounts[id]
		a.advance(now, m.config.TopUp.Window)
		switch {
		case a.balance() > 0:
			add(checkJSON{"balance:" + id, "ok", "balance_available", "The instrument has tokens", ""})
		case a.buy != nil:
			add(checkJSON{"balance:" + id, "warn", "replenishing", "A purchase is under way", "Retry after a short delay"})
		default:
			add(checkJSON{"balance:" + id, "warn", "balance_empty", "The instrument has no tokens", "The next request buys some if Auto Top Up is on"})
		}
	}
	m.mu.Unlock()

	report.Data.Status, report.Data.Summary = "ok", map[string]int{"ok": 0, "warn": 0, "fail": 0}
	for _, c := range report.Data.Checks {
		report.Data.Summary[c.Status]++
	}
	for _, worst := range []string{"fail", "warn"} {
		if report.Data.Summary[worst] > 0 {
			report.Data.Status = worst
			break
		}
	}
	sendJSON(w, http.StatusOK, report)
}
