package source

import _ "embed"

//go:embed schema.json
var schema []byte

// Schema returns a JSON Schema of definitions, for editors. It refuses nothing that Parse takes; what it cannot say (steps
// that exist, cycles, expressions and their types) is left to Parse.
func Schema() []byte { return append([]byte(nil), schema...) }
