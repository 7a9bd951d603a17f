package ops_test

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"os"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/agent/ops"
)

// operator lets in who has the token. A service that knows its people by a session names them here instead.
func operator(r *http.Request) (string, error) {
	want := "Bearer " + os.Getenv("OPS_TOKEN")
	if len(want) < 32 || subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(want)) != 1 {
		return "", errors.New("no operator")
	}
	return "operator", nil
}

func ExampleHandler() {
	var desk *agent.Agent // of agent.New
	mount := func(mux *http.ServeMux) error {
		h, err := ops.Handler(ops.Config{Agents: []*agent.Agent{desk}, Authorise: operator})
		if err != nil {
			return err
		}
		mux.Handle("/ops/", http.StripPrefix("/ops", h))
		return nil
	}
	_ = mount
}
