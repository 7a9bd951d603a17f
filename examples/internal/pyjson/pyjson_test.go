package pyjson

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestTextIsThatOfPython(t *testing.T) {
	for _, row := range []struct{ name, in, dumps, norm, repr string }{
		{"order of keys", `{"b":1,"a":2}`, `{"b": 1, "a": 2}`, `{"a":2,"b":1}`, `(('a', 2), ('b', 1))`},
		{"the last of two equal keys counts", `{"a":1,"b":2,"a":3}`, `{"a": 3, "b": 2}`, `{"a":3,"b":2}`, `(('a', 3), ('b', 2))`},
		{"empty", `{"a":{},"b":[]}`, `{"a": {}, "b": []}`, `{"a":{},"b":[]}`, `(('a', ()), ('b', ()))`},
		{"tuple of one", `[[1]]`, `[[1]]`, `[[1]]`, `((1,),)`},
		{"ints and floats", `[1,1.0,1.50,-0.0,1e3,1e22,1e-7]`, `[1, 1.0, 1.5, -0.0, 1000.0, 1e+22, 1e-07]`, `[1,1,1.5,0,1000,1e+22,1e-07]`, `(1, 1.0, 1.5, -0.0, 1000.0, 1e+22, 1e-07)`},
		{"constants", `[null,true,false]`, `[null, true, false]`, `[null,true,false]`, `(None, True, False)`},
		{"letters beyond ASCII", `"é–😀"`, `"\u00e9\u2013\ud83d\ude00"`, `"é–😀"`, `'é–😀'`},
		{"markup", `"<a&b>"`, `"<a&b>"`, `"<a&b>"`, `'<a&b>'`},
		{"controls", `"\n\t\b\u0001\u007f"`, `"\n\t\b\u0001` + "\x7f" + `"`, `"\n\t\b\u0001` + "\x7f" + `"`, `'\n\t\x08\x01\x7f'`},
		{"quotes", `["it's","\"","'\"","\\"]`, `["it's", "\"", "'\"", "\\"]`, `["it's","\"","'\"","\\"]`, `("it's", '"', '\'"', '\\')`},
		{"invisible letters", `"\u2028\u00a0\u200b"`, `"\u2028\u00a0\u200b"`, "\"\u2028\u00a0\u200b\"", `'\u2028\xa0\u200b'`},
	} {
		t.Run(row.name, func(t *testing.T) {
			v, err := Decode([]byte(row.in))
			if err != nil {
				t.Fatal(err)
			}
			for _, form := range []struct{ name, got, want string }{{"Dumps", Dumps(v), row.dumps}, {"Norm", Norm(v), row.norm}, {"Repr", Repr(v), row.repr}} {
				if form.got != form.want {
					t.Errorf("%s is %s, want %s", form.name, form.got, form.want)
				}
			}
		})
	}
}

func TestArithmeticKeepsIntsInts(t *testing.T) {
	i, f := Int(300), Float(0.1)
	for _, row := range []struct {
		name string
		got  Number
		want string
	}{
		{"int and int", i.Sub(Int(1)), "299"},
		{"int and float", i.Add(f), "300.1"},
		{"float stays float", Float(300).Sub(Int(0)), "300.0"},
		{"times", i.Times(3), "900"},
		{"abs", Int(-4).Abs(), "4"},
		{"an int is not rounded", i.Round(), "300"},
		{"float noise", Float(0.1).Add(Float(0.2)), "0.30000000000000004"},
		{"rounded", Float(0.1).Add(Float(0.2)).Round(), "0.3"},
		{"beyond 64 bits", Int(1 << 62).Add(Int(1 << 62)), "9.223372036854776e+18"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := row.got.String(); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
	if Int(3).Cmp(Float(3)) != 0 || Int(3).Cmp(Float(3.1)) >= 0 {
		t.Error("ints and floats are not compared by value")
	}
}

func TestACloneSharesNothing(t *testing.T) {
	o := (&Object{}).With("l", []Value{(&Object{}).With("n", Int(1))}).With("gone", true)
	c := o.Clone()
	c.Objs("l")[0].Set("n", Int(2))
	c.Append("l", "more")
	c.Delete("gone")
	if got, want := Dumps(o), `{"l": [{"n": 1}], "gone": true}`; got != want {
		t.Errorf("the origin is %s, want %s", got, want)
	}
	if got, want := Dumps(c), `{"l": [{"n": 2}, "more"]}`; got != want {
		t.Errorf("the copy is %s, want %s", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,null,true,"x\u2028é"]}`, `[[[[1e5]]]]`, `{"a":1,"a":2}`, `1`, `"`, `{"a"}`, `[1] 2`, `1e999`, `99999999999999999999`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Decode(b)
		if err != nil {
			return
		}
		for _, text := range []string{Dumps(v), Norm(v)} {
			if !json.Valid([]byte(text)) {
				t.Fatalf("%q became %q, which is no JSON", b, text)
			}
		}
		again, err := Decode([]byte(Dumps(v)))
		if err != nil || !reflect.DeepEqual(v, again) {
			t.Fatalf("%q does not come back from %q: %v", b, Dumps(v), err)
		}
		if Norm(again) != Norm(Clone(v)) || Repr(again) != Repr(Clone(v)) {
			t.Fatalf("%q has more than one form", b)
		}
	})
}
