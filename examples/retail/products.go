package retail

import (
	"maps"
	"slices"

	"github.com/gridloop/gridloop/examples/internal/desk"
	"github.com/gridloop/gridloop/examples/internal/pyjson"
)

type productIn struct {
	ProductID string `json:"product_id" jsonschema_description:"such as 6086499569; not the id of an item"`
}

func (db *DB) product(in productIn) (pyjson.Value, error) {
	p := db.products.Get(in.ProductID)
	if p == nil {
		return nil, desk.Refuse("product not found")
	}
	return p, nil
}

func (db *DB) catalogue(struct{}) (pyjson.Value, error) {
	ids := make(map[string]pyjson.Value)
	for _, p := range db.products.All {
		ids[p.Str("name")] = p.Get("product_id")
	}
	list := &pyjson.Object{}
	for _, name := range slices.Sorted(maps.Keys(ids)) {
		list.Set(name, ids[name])
	}
	return list, nil
}

// variant is a variant of a product that can be had, nil if there is none.
func (db *DB) variant(productID, itemID string) *pyjson.Object {
	p := db.products.Get(productID)
	if p == nil {
		return nil
	}
	v := p.Obj("variants").Obj(itemID)
	if there, _ := v.Get("available").(bool); !there {
		return nil
	}
	return v
}
