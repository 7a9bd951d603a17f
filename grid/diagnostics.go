package grid

import (
	"context"
	"encoding/json"
	"time"
)

// Diagnostics is the market's own self check of an account, read only.
type Diagnostics struct {
	// Status is ok, warn or fail: that of the worst check.
	Status, Service string
	// ServerTime is the market's clock; zero where it does not say.
	ServerTime time.Time
	Checks     []DiagnosticCheck
	// Raw is the report as received.
	Raw json.RawMessage
}

// DiagnosticCheck is one thing that the market looked at.
type DiagnosticCheck struct {
	Name, Status, Code, Detail string
	// NextAction is what the market advises; "" for nothing.
	NextAction string
}

// Diagnostics asks the consumption API what it finds wrong with the key and its account.
func (c *Client) Diagnostics(ctx context.Context) (*Diagnostics, error) {
	return c.diagnostics(ctx, source{path: []string{"diagnostics"}})
}

func (c *Client) diagnostics(ctx context.Context, from source) (*Diagnostics, error) {
	b, err := c.fetch(ctx, from)
	if err != nil {
		return nil, err
	}
	b = unwrapped(b)
	var w struct {
		Status     string `json:"status"`
		Service    string `json:"service"`
		ServerTime loose  `json:"server_time"`
		Checks     []struct {
			Name       loose `json:"name"`
			Status     loose `json:"status"`
			Code       loose `json:"code"`
			Detail     loose `json:"detail"`
			NextAction loose `json:"next_action"`
		} `json:"checks"`
	}
	if json.Unmarshal(b, &w) != nil || w.Status == "" {
		return nil, &Error{Class: ClassMalformed, kind: ErrMalformed, cause: errJSON}
	}
	d := &Diagnostics{Status: w.Status, Service: w.Service, ServerTime: instant(w.ServerTime), Raw: append(json.RawMessage(nil), b...)}
	for _, check := range w.Checks {
		d.Checks = append(d.Checks, DiagnosticCheck{
			Name: printable(string(check.Name)), Status: string(check.Status), Code: printable(string(check.Code)),
			Detail: printable(string(check.Detail)), NextAction: printable(string(check.NextAction)),
		})
	}
	return d, nil
}
