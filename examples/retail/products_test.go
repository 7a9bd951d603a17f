package retail

import "testing"

func TestProducts(t *testing.T) {
	check(t, []row{
		{name: "details", tool: "get_product_details", args: `{"product_id":"p0"}`, want: `{"name": "Desk", "product_id": "p0", "variants": {}}`},
		{name: "an item is no product", tool: "get_product_details", args: `{"product_id":"i1"}`, want: "Error: product not found"},
		{name: "all, by name", tool: "list_all_product_types", args: `{}`, want: `{"Desk": "p0", "Lamp": "p1"}`},
	})
}
