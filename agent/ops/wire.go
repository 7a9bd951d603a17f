package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/gridloop/gridloop/budget"
)

// maxBody is the most that a request may say.
const maxBody = 16 << 10

// problem is a refusal: {"error": {"code": ..., "message": ...}} with its status.
type problem struct {
	status  int
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (p *problem) Error() string { return p.Message }

func bad(format string, args ...any) error {
	return &problem{http.StatusBadRequest, "invalid", fmt.Sprintf(format, args...)}
}

// answer writes what f says, or why it cannot.
func answer(w http.ResponseWriter, r *http.Request, f func(*http.Request) (any, error)) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	v, err := f(r)
	if err != nil {
		refuse(w, err)
		return
	}
	send(w, http.StatusOK, v)
}

func refuse(w http.ResponseWriter, err error) {
	var p *problem
	switch {
	case errors.As(err, &p):
	case errors.Is(err, budget.ErrInvalid):
		p = &problem{http.StatusBadRequest, "invalid", err.Error()}
	case errors.Is(err, budget.ErrClosed):
		p = &problem{http.StatusConflict, "closed", err.Error()}
	case errors.Is(err, budget.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		p = &problem{http.StatusServiceUnavailable, "store", "the ledger's store cannot be reached: ask again"}
	default:
		p = &problem{http.StatusBadGateway, "failed", err.Error()}
	}
	send(w, p.status, struct {
		Error *problem `json:"error"`
	}{p})
}

func send(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":{"code":"failed","message":"the answer cannot be written"}}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // nobody is left to tell
}

// read takes a body strictly: one JSON object with known fields.
func read(r *http.Request, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &problem{http.StatusUnsupportedMediaType, "content_type", "send the header Content-Type: application/json"}
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); err == io.EOF {
			return nil
		} else if err == nil {
			err = errors.New("more than one value")
		}
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return &problem{http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("a body has at most %d bytes", maxBody)}
	}
	return bad("the body is not what is wanted: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// known refuses query parameters that mean nothing here.
func known(r *http.Request, names ...string) error {
	for name := range r.URL.Query() {
		found := false
		for _, n := range names {
			found = found || n == name
		}
		if !found {
			return bad("there is no parameter %q here: it takes %s", name, strings.Join(append(names, "no other"), ", "))
		}
	}
	return nil
}

// scopeOf reads "tenant acme", as budget.Scope writes it.
func scopeOf(text string) (budget.Scope, error) {
	if text == budget.ScopeAccount {
		return budget.Scope{Kind: budget.ScopeAccount}, nil
	}
	t, err := budget.ParseTarget(text)
	if err != nil {
		return budget.Scope{}, err
	}
	if scope, ok := t.Only(); ok && scope.String() == text {
		return scope, nil
	}
	return budget.Scope{}, bad("%q is not one scope: write one such as \"tenant acme\", or \"account\"", text)
}
