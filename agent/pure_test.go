package agent

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The files that hold Step, and the little that they may import. Everything
// that Step does happens here: calls leave these files only for pure standard
// packages.
var (
	pureFiles   = []string{"step.go", "step_model.go", "step_tools.go", "history.go"}
	pureTypes   = []string{"state.go", "op.go", "record.go"} // declarations without behaviour
	pureImports = []string{"slices", "strconv", "strings", "time"}
	// Of package time the loop may use what does not look at a clock.
	pureTime = []string{"Duration", "Time", "Second", "Millisecond"}
	// And of the methods of time.Time and time.Duration.
	pureMethods = []string{"Sub", "Before", "After", "IsZero", "String"}
)

func TestStepIsPure(t *testing.T) {
	fset := token.NewFileSet()
	declared := map[string]bool{}
	files := map[string]*ast.File{}
	for _, name := range append(slices.Clone(pureFiles), pureTypes...) {
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = f
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				declared[d.Name.Name] = true
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						declared[s.Name.Name] = true
					case *ast.ValueSpec:
						if d.Tok == token.VAR {
							t.Errorf("%s: package variable %s: the loop keeps everything in State", fset.Position(s.Pos()), s.Names[0].Name)
						}
						for _, n := range s.Names {
							declared[n.Name] = true
						}
					}
				}
			}
		}
	}
	for name, f := range files {
		for _, imp := range f.Imports {
			path, _ := strconv.Unquote(imp.Path.Value)
			if !slices.Contains(pureImports, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
		for _, problem := range impurities(f, declared) {
			t.Errorf("%s: %s", fset.Position(problem.at), problem.what)
		}
	}
}

type impurity struct {
	at   token.Pos
	what string
}

func impurities(f *ast.File, declared map[string]bool) []impurity {
	var out []impurity
	say := func(n ast.Node, what string) { out = append(out, impurity{n.Pos(), what}) }
	builtins := []string{"len", "cap", "make", "append", "copy", "min", "max", "string", "int", "int64", "any", "new"}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			say(n, "starts a goroutine")
		case *ast.SelectStmt:
			say(n, "selects")
		case *ast.SendStmt:
			say(n, "sends on a channel")
		case *ast.ChanType:
			say(n, "has a channel")
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				say(n, "receives from a channel")
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && !slices.Contains(pureTime, n.Sel.Name) {
				say(n, "uses time."+n.Sel.Name)
			}
		case *ast.RangeStmt:
			// The loop has one kind of map, Labels.Tags, and never looks into it.
			if s, ok := n.X.(*ast.SelectorExpr); ok && s.Sel.Name == "Tags" {
				say(n, "ranges over a map")
			}
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok {
				x, isIdent := sel.X.(*ast.Ident)
				if !(isIdent && slices.Contains(pureImports, x.Name)) && !declared[sel.Sel.Name] && !slices.Contains(pureMethods, sel.Sel.Name) {
					say(n, "calls method "+sel.Sel.Name+", which is declared elsewhere")
				}
			}
			if id, ok := n.Fun.(*ast.Ident); ok && !declared[id.Name] && !slices.Contains(builtins, id.Name) {
				say(n, "calls "+id.Name+", which is declared elsewhere")
			}
		}
		return true
	})
	return out
}

// The test above is worth something only if it sees impurity.
func TestPurityTestSeesImpurity(t *testing.T) {
	for name, body := range map[string]string{
		"clock":     "_ = time.Now()",
		"goroutine": "go f()",
		"select":    "select {}",
		"channel":   "c := make(chan int); <-c",
		"map":       "for range s.Tags { }",
		"elsewhere": "elsewhere()",
		"method":    "s.elsewhere()",
	} {
		t.Run(name, func(t *testing.T) {
			src := "package p\nimport \"time\"\nfunc f() { " + body + " }\n"
			f, err := parser.ParseFile(token.NewFileSet(), "p.go", src, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			if len(impurities(f, map[string]bool{"f": true})) == 0 {
				t.Errorf("not seen: %s", strings.TrimSpace(body))
			}
		})
	}
}
