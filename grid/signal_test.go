package grid_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gridloop/gridloop/grid"
)

// Who served a request, and how well, is kept where an answer says so.
func TestAnAnswerMaySayWhoServedItAndHowWell(t *testing.T) {
	const whole = `"choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}]}`
	for _, row := range []struct {
		name, body        string
		header            http.Header
		stream            bool
		supplier, quality string
	}{
		{name: "nothing", body: "{" + whole},
		{name: "provider", body: `{"provider":"DeepInfra",` + whole, supplier: "DeepInfra"},
		{name: "supplier and score", body: `{"supplier":"s-1","quality_score":0.93,` + whole, supplier: "s-1", quality: "0.93"},
		{name: "a score in words", body: `{"quality_score":"high",` + whole, quality: "high"},
		{name: "headers", body: "{" + whole, header: http.Header{"X-Grid-Supplier": {"s-2"}, "X-Grid-Quality-Score": {"41"}}, supplier: "s-2", quality: "41"},
		{name: "the body comes first", body: `{"provider":"A",` + whole, header: http.Header{"X-Grid-Supplier": {"B"}}, supplier: "A"},
		{name: "each chunk", body: "data: {\"provider\":\"A\",\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"provider\":\"B\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n", stream: true, supplier: "A"},
		{name: "no words", body: `{"provider":{"id":1},"quality_score":[1],` + whole},
		{name: "a book", body: `{"provider":"` + strings.Repeat("x", 300) + `",` + whole},
	} {
		t.Run(row.name, func(t *testing.T) {
			res, _, err := read(t, &served{status: 200, header: row.header, body: []byte(row.body)}, row.stream)
			if err != nil || res.Supplier != row.supplier || res.Quality != row.quality {
				t.Errorf("%+v, %v", res, err)
			}
		})
	}
}

// What lists have changed is kept for those that ask later.
func TestACatalogueKeepsWhatItsListsChanged(t *testing.T) {
	c := grid.DefaultCatalogue()
	if n := c.Market().Changes; n != 0 || c.Changes(0) != nil {
		t.Errorf("%d changes before a list", n)
	}
	c.ObserveModel(grid.Model{ID: "code-prime", Status: "live"}, time.Unix(1, 0))
	seen := c.Market().Changes
	c.ObserveModel(grid.Model{ID: "agent-prime", Status: "live"}, time.Unix(1, 0))
	if got := c.Changes(seen); seen != 1 || len(got) != 1 || got[0].Instrument != "agent-prime" || got[0].Kind != grid.ChangeStatus {
		t.Errorf("%d seen, then %v", seen, got)
	}
	if got := c.Changes(c.Market().Changes); got != nil {
		t.Errorf("nothing changed, and yet %v", got)
	}
	for i := range 1000 {
		c.ObserveModel(grid.Model{ID: "agent-prime", MaxInput: int64(1000 + i)}, time.Unix(1, 0))
	}
	if got := c.Changes(0); len(got) != 256 || got[255].Now != 1999 || c.Market().Changes != 1002 {
		t.Errorf("%d kept, the last %v", len(got), got[len(got)-1])
	}
}
