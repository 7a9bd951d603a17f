// Package tables is a small database of JSON documents whose copies are cheap: a
// copy shares every document with its origin until one is edited.
//
//	Load -> *DB, the origin, never changed
//	        Copy -> *DB for one conversation -> Edit a document -> Hash
//
// The origin keeps the text of each document that the hashes are taken of, so that
// the hash of a copy costs little more than reading that text once.
package tables

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/gridloop/gridloop/examples/internal/pyjson"
)

// A DB is some tables by name. The origin may be copied from any number of
// goroutines at once; a copy is used by one goroutine at a time.
type DB struct {
	tables map[string]*Table
}

// Load reads a table from each file NAME.json. A later file of the same name
// replaces an earlier one.
func Load(files ...string) (*DB, error) {
	db := &DB{tables: make(map[string]*Table)}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("tables: %w", err)
		}
		docs, err := pyjson.DecodeObject(text)
		if err != nil {
			return nil, fmt.Errorf("tables: %s: %w", file, err)
		}
		for _, key := range docs.Keys() {
			if _, ok := docs.Get(key).(*pyjson.Object); !ok {
				return nil, fmt.Errorf("tables: %s: %q is no object", file, key)
			}
		}
		db.tables[strings.TrimSuffix(filepath.Base(file), ".json")] = &Table{origin: &origin{docs: docs}}
	}
	return db, nil
}

// Table is the table of that name, an empty one if there is none.
func (db *DB) Table(name string) *Table {
	t, ok := db.tables[name]
	if !ok {
		t = &Table{origin: &origin{docs: &pyjson.Object{}}}
		db.tables[name] = t
	}
	return t
}

// Copy is a database with the same documents, and a life of its own.
func (db *DB) Copy() *DB {
	c := &DB{tables: make(map[string]*Table, len(db.tables))}
	for name, t := range db.tables {
		own := &Table{origin: t.origin, order: slices.Clone(t.order), own: make(map[string]*pyjson.Object, len(t.own))}
		for key, doc := range t.own {
			own.own[key] = doc.Clone()
		}
		c.tables[name] = own
	}
	return c
}

// A Form is one of the two texts that a hash is taken of.
type Form int

// The forms.
const (
	Norm Form = iota // JSON with sorted keys
	Repr             // Python's nested tuples
	forms
)

// Hash is the SHA-256 of all tables in a form, in hex.
func (db *DB) Hash(form Form) string {
	h := sha256.New()
	names := slices.Sorted(maps.Keys(db.tables))
	open, between, end := byte('{'), ",", byte('}')
	if form == Repr {
		open, between, end = '(', ", ", ')'
	}
	b := []byte{open}
	for i, name := range names {
		if i > 0 {
			b = append(b, between...)
		}
		b = opening(b, form, name)
		h.Write(append(b, open))
		keys := db.tables[name].sortedKeys()
		b = b[:0]
		for j, key := range keys {
			if j > 0 {
				b = append(b, between...)
			}
			h.Write(b)
			h.Write(db.tables[name].text(form, key))
			b = b[:0]
		}
		b = closing(b, form, len(keys), end)
		if form == Repr {
			b = append(b, ')')
		}
	}
	h.Write(closing(b, form, len(names), end))
	return hex.EncodeToString(h.Sum(nil))
}

// opening writes a key up to its value.
func opening(b []byte, form Form, key string) []byte {
	if form == Repr {
		return append(pyjson.AppendRepr(append(b, '('), key), ", "...)
	}
	return append(pyjson.AppendNorm(b, key), ':')
}

// closing ends n parts: a tuple of one has a comma behind it.
func closing(b []byte, form Form, n int, end byte) []byte {
	if form == Repr && n == 1 {
		b = append(b, ',')
	}
	return append(b, end)
}

// A Table is documents by key, in the order in which they came.
type Table struct {
	origin *origin
	own    map[string]*pyjson.Object // edited or added here
	order  []string                  // of what was added
}

// An origin is the documents that all copies share.
type origin struct {
	docs  *pyjson.Object
	once  sync.Once
	keys  []string // sorted
	texts [forms]map[string][]byte
}

// Get is a document to read, nil if there is none. It must not be changed.
func (t *Table) Get(key string) *pyjson.Object {
	if doc, ok := t.own[key]; ok {
		return doc
	}
	doc, _ := t.origin.docs.Get(key).(*pyjson.Object)
	return doc
}

// Edit is a document to change, nil if there is none.
func (t *Table) Edit(key string) *pyjson.Object {
	if doc, ok := t.own[key]; ok {
		return doc
	}
	doc := t.Get(key)
	if doc == nil {
		return nil
	}
	return t.keep(key, doc.Clone())
}

// Put stores a document, which is the table's from then on.
func (t *Table) Put(key string, doc *pyjson.Object) {
	if t.Get(key) == nil {
		t.order = append(t.order, key)
	}
	t.keep(key, doc)
}

func (t *Table) keep(key string, doc *pyjson.Object) *pyjson.Object {
	if t.own == nil {
		t.own = make(map[string]*pyjson.Object)
	}
	t.own[key] = doc
	return doc
}

// All yields the documents in their order, to read.
func (t *Table) All(yield func(string, *pyjson.Object) bool) {
	for _, keys := range [][]string{t.origin.docs.Keys(), t.order} {
		for _, key := range keys {
			if !yield(key, t.Get(key)) {
				return
			}
		}
	}
}

func (t *Table) sortedKeys() []string {
	t.origin.prepare()
	if len(t.order) == 0 {
		return t.origin.keys
	}
	return slices.Sorted(slices.Values(slices.Concat(t.origin.keys, t.order)))
}

// text is a document with its key, in a form.
func (t *Table) text(form Form, key string) []byte {
	if doc, ok := t.own[key]; ok {
		return entry(form, key, doc)
	}
	return t.origin.texts[form][key]
}

func (o *origin) prepare() {
	o.once.Do(func() {
		o.keys = slices.Sorted(slices.Values(o.docs.Keys()))
		for form := range forms {
			o.texts[form] = make(map[string][]byte, len(o.keys))
			for _, key := range o.keys {
				o.texts[form][key] = entry(form, key, o.docs.Get(key))
			}
		}
	})
}

func entry(form Form, key string, v pyjson.Value) []byte {
	b := opening(nil, form, key)
	if form == Repr {
		return append(pyjson.AppendRepr(b, v), ')')
	}
	return pyjson.AppendNorm(b, v)
}
