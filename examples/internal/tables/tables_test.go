package tables

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/examples/internal/pyjson"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func load(t *testing.T) *DB {
	t.Helper()
	db, err := Load(write(t, "users.json", `{"bo": {"n": 1}, "ann": {"n": 2.0}}`), write(t, "orders.json", `{"7": {"of": "it's bo"}}`))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// plain is the whole database as one value.
func plain(db *DB) *pyjson.Object {
	all := &pyjson.Object{}
	for _, name := range slices.Sorted(maps.Keys(db.tables)) {
		table := db.tables[name]
		docs := &pyjson.Object{}
		for key, doc := range table.All {
			docs.Set(key, doc)
		}
		all.Set(name, docs)
	}
	return all
}

func checkHashes(t *testing.T, db *DB) {
	t.Helper()
	for form, text := range map[Form]string{Norm: pyjson.Norm(plain(db)), Repr: pyjson.Repr(plain(db))} {
		sum := sha256.Sum256([]byte(text))
		if got := db.Hash(form); got != hex.EncodeToString(sum[:]) {
			t.Errorf("form %d: the hash is not that of %s", form, text)
		}
	}
}

func TestHashesAreThoseOfTheWholeText(t *testing.T) {
	db := load(t)
	checkHashes(t, db)
	c := db.Copy()
	c.Table("users").Edit("ann").Set("n", pyjson.Int(3))
	checkHashes(t, c)
	c.Table("users").Put("abe", (&pyjson.Object{}).With("new", true))
	c.Table("orders").Put("7", &pyjson.Object{})
	checkHashes(t, c)
	c.Table("empty")
	checkHashes(t, c)
	checkHashes(t, c.Copy())
}

func TestACopyLeavesItsOriginAlone(t *testing.T) {
	db := load(t)
	before := pyjson.Dumps(plain(db))
	c := db.Copy()
	c.Table("users").Edit("ann").Set("n", "changed")
	c.Table("users").Put("abe", (&pyjson.Object{}).With("n", pyjson.Int(0)))
	second := c.Copy()
	second.Table("users").Edit("ann").Set("n", "changed again")
	second.Table("users").Edit("abe").Set("n", "changed again")
	if after := pyjson.Dumps(plain(db)); after != before {
		t.Errorf("the origin became %s", after)
	}
	if got := c.Table("users").Get("ann").Str("n"); got != "changed" {
		t.Errorf("the copy became %q by a copy of its own", got)
	}
	if got := c.Table("users").Get("abe").Num("n"); got != pyjson.Int(0) {
		t.Errorf("what the copy added became %v by a copy of its own", got)
	}
}

func TestDocumentsKeepTheirOrder(t *testing.T) {
	c := load(t).Copy()
	users := c.Table("users")
	users.Put("abe", &pyjson.Object{})
	users.Put("bo", &pyjson.Object{})
	var keys []string
	for key := range users.All {
		keys = append(keys, key)
	}
	if want := []string{"bo", "ann", "abe"}; !slices.Equal(keys, want) {
		t.Errorf("the order is %v, want %v", keys, want)
	}
	for range users.All {
		break // must not panic
	}
	if users.Get("nobody") != nil || users.Edit("nobody") != nil {
		t.Error("a document that does not exist was found")
	}
}

func TestFilesThatAreNoTablesAreNamed(t *testing.T) {
	for _, row := range []struct{ name, file, want string }{
		{"no file", filepath.Join(t.TempDir(), "gone.json"), "gone.json"},
		{"no JSON", write(t, "a.json", "{"), "a.json"},
		{"no object", write(t, "b.json", "[]"), "b.json"},
		{"no documents", write(t, "c.json", `{"k": 1}`), `"k"`},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := Load(row.file); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
