module github.com/gridloop/gridloop/examples

go 1.26.0

require github.com/gridloop/gridloop v0.0.0

replace github.com/gridloop/gridloop => ../
