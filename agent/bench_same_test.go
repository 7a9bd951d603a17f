package agent_test

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"sync"
	"testing"
)

// TestTheBenchmarkComparesLikeWithLike: both loops send the model the same
// conversation and the same tools, so that the bytes on the wire are no advantage.
func TestTheBenchmarkComparesLikeWithLike(t *testing.T) {
	for _, c := range []stepCase{
		{name: "json", script: script{steps: 8, calls: 1}},
		{name: "parallel calls", script: script{steps: 4, calls: 4}},
		{name: "stream", script: script{steps: 4, calls: 1}, stream: true},
		{name: "stream of parallel calls in one piece", script: script{steps: 3, calls: 4, burst: true}, stream: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			var sent []map[string]any
			model := scriptServer()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				var asked map[string]any
				if err == nil {
					err = json.Unmarshal(body, &asked)
				}
				if err != nil {
					t.Error(err)
				}
				if asked["stream"] == false {
					delete(asked, "stream") // the same as leaving it out
				}
				mu.Lock()
				sent = append(sent, asked)
				mu.Unlock()
				r.Body = io.NopCloser(bytes.NewReader(body))
				model.ServeHTTP(w, r)
			}))
			defer server.Close()
			ours, floor := newOurLoop(t, server.URL, c), newFloorLoop(t.Context(), server.URL, c)
			if err := ours.once(); err != nil {
				t.Fatal("ours: ", err)
			}
			own := sent
			sent = nil
			if err := floor.once(); err != nil {
				t.Fatal("floor: ", err)
			}
			if len(own) != c.script.steps || len(sent) != len(own) {
				t.Fatalf("%d requests of ours and %d of the floor, the script has %d steps", len(own), len(sent), c.script.steps)
			}
			for i := range own {
				for _, field := range slices.Sorted(maps.Keys(own[i])) {
					if a, b := own[i][field], sent[i][field]; !reflect.DeepEqual(a, b) {
						t.Errorf("request %d: %s differs:\nours  %v\nfloor %v", i, field, a, b)
					}
				}
				if len(own[i]) != len(sent[i]) {
					t.Errorf("request %d has %d fields of ours and %d of the floor", i, len(own[i]), len(sent[i]))
				}
			}
		})
	}
}
