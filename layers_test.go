package lockstep

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/lockstep-dev/lockstep"

// layer says what the packages under a path may reach. The layer with the longest path that holds a package is its own.
type layer struct {
	path  string   // under the module; "." is the root
	may   []string // what it may import of ours, "x/..." with all below it; what is not named is forbidden
	never []string // what it must not reach of others, not even through something else
	why   string
}

// Names for what several layers must not reach.
var (
	consensus = []string{"github.com/hashicorp/raft", "github.com/hashicorp/raft-boltdb/v2", "github.com/hashicorp/memberlist"}
	wire      = []string{"connectrpc.com/connect", "google.golang.org/grpc"}
	storage   = []string{"github.com/cockroachdb/pebble/v2"}
	logging   = []string{"github.com/hashicorp/go-hclog", "log/slog", "log"}
	network   = []string{"net", "net/http"}
	outside   = join(network, []string{"os/exec", "os/signal", "context", "crypto/rand", "math/rand", "math/rand/v2"})
)

// plant is what every layer may import beside its own: the names of bugs, which an ordinary build leaves out.
const plant = "jepsen/plant"

// house is DESIGN §2 as a table. Imports of tests are not in it: a test may bring up whatever it needs.
var house = []layer{
	{".", nil, nil, "the root is documentation"},
	{"proto", []string{"proto/..."}, join(consensus, storage), "what clients say and disks remember depends on nothing that we do"},

	{"fsm", []string{"fsm", "fsm/table", "fsm/graph", "proto/..."}, join(consensus, wire), "the state machine decides alike on every replica: nothing above it may be in reach"},
	{"fsm/table", nil, join(consensus, wire), "rows know nothing of what is kept in them"},
	{"fsm/graph", nil, join(consensus, wire, storage, logging, network), "what a definition means must not depend on where it is read"},
	{"fsm/graph/source", []string{"fsm/graph"}, join(consensus, wire, storage), "forms of a definition are read before proposing, never in apply"},
	{"fsm/graph/sound", []string{"fsm/graph"}, join(consensus, wire, storage, logging, network), "what can go wrong with a definition is told by it alone, and never asked in apply"},

	{"fsm/cron", nil, join(consensus, wire, storage), "times of schedules are computed before proposing, never in apply"},

	{"cluster", []string{"cluster/propose", "cluster/pending", "cluster/logstore", "fsm", "fsm/cron", "fsm/table", "proto/..."}, wire, "cluster agrees on a log; how nodes and clients are reached is handed to it"},
	{"cluster/propose", []string{"proto/..."}, join(consensus, wire, storage, logging, outside), "a core without IO: the simulator steps it"},
	{"cluster/pending", nil, join(consensus, wire, storage, logging, outside), "a core without IO: the simulator steps it"},
	{"cluster/logstore", nil, wire, "a log store knows raft's entries, not what is in them"},
	{"cluster/join", []string{"cluster/gossip"}, join(wire, storage, consensus[:2]), "joining asks and suggests; the configuration is raft's, behind an interface"},
	{"cluster/gossip", nil, join(wire, storage, []string{"github.com/hashicorp/raft"}), "gossip suggests; it never decides, so raft is out of its reach"},

	{"transport/api", []string{"fsm", "fsm/cron", "fsm/graph/source", "fsm/graph/sound", "proto/..."}, consensus, "handlers reach the cluster through an interface that they declare"},
	{"transport/sweep", []string{"client/...", "proto/..."}, consensus, "the sweep is a client of its own cluster: it has no way past the API"},
	{"transport/peer", nil, join(wire, storage), "the port carries bytes: it knows raft's stream and nothing of what is said"},

	{"client", []string{"client/...", "proto/..."}, join(consensus, storage), "whoever links the client must not link the server"},
	{"client/core", []string{"proto/..."}, join(consensus, wire, storage, logging, outside), "a core without IO: the simulator steps it"},
	{"console", []string{"console/...", "proto/..."}, join(consensus, storage), "the console speaks the API like anybody else"},

	{"cmd", []string{"..."}, nil, "the command wires all concrete types"},
	{"examples", []string{"examples/...", "client/...", "proto/..."}, consensus, "an example has what a user has"},

	{"jepsen", []string{"jepsen/...", "client/...", "proto/..."}, nil, "the harness sees a cluster as a client does"},
	{plant, nil, join(consensus, wire, storage, logging, network), "planted bugs are names: what they break is where they are planted"},
	{"jepsen/require", nil, join(consensus, wire, storage, logging, network), "what a test needs of a machine is asked before anything of ours runs"},
	{"jepsen/check", nil, join(consensus, wire, storage), "a checker has the rules from the guarantees alone"},
	{"jepsen/model", nil, join(consensus, wire, storage), "an oracle must not share the bug"},
	{"jepsen/sim", []string{"jepsen/...", "fsm/...", "cluster/...", "client/...", "proto/..."}, nil, "the simulator steps the cores themselves"},
}

func join(lists ...[]string) []string { return slices.Concat(lists...) }

// rule returns the layer that a package of ours is in.
func rule(layers []layer, pkg string) (layer, bool) {
	var best layer
	found := false
	for _, l := range layers {
		if (pkg == l.path || strings.HasPrefix(pkg, l.path+"/")) && (!found || len(l.path) > len(best.path)) {
			best, found = l, true
		}
	}
	return best, found
}

func (l layer) allows(pkg string) bool {
	if pkg == plant && l.path != "jepsen/model" && l.path != "jepsen/check" {
		return true
	}
	return slices.ContainsFunc(l.may, func(pattern string) bool {
		tree, all := strings.CutSuffix(pattern, "...")
		return pkg == strings.TrimSuffix(tree, "/") || all && strings.HasPrefix(pkg+"/", tree)
	})
}

// imports is a graph: what each package imports.
type imports map[string][]string

// ours returns a package's path under the module.
func ours(pkg string) (string, bool) {
	if pkg == module {
		return ".", true
	}
	return strings.CutPrefix(pkg, module+"/")
}

// path is how a package reaches another, or nil: the shortest way, so that its first step is the import to remove.
func (g imports) path(from, to string) []string {
	came := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		for _, next := range g[queue[0]] {
			if _, seen := came[next]; seen {
				continue
			}
			came[next] = queue[0]
			queue = append(queue, next)
			if next == to {
				var way []string
				for at := to; at != ""; at = came[at] {
					way = append(way, at)
				}
				slices.Reverse(way)
				return way
			}
		}
	}
	return nil
}

// violations names each import that the layers forbid, in order of package.
func violations(layers []layer, g imports) []string {
	var out []string
	for full := range g {
		pkg, own := ours(full)
		if !own {
			continue
		}
		l, found := rule(layers, pkg)
		if !found {
			out = append(out, fmt.Sprintf("%s is in no layer: give it one in layers_test.go", pkg))
			continue
		}
		for _, next := range g[full] {
			if to, own := ours(next); own && !l.allows(to) {
				out = append(out, fmt.Sprintf("%s imports %s: %s", pkg, to, l.why))
			}
		}
		for _, no := range l.never {
			if way := g.path(full, no); way != nil {
				out = append(out, fmt.Sprintf("%s reaches %s (%s): %s", pkg, no, strings.Join(way, " -> "), l.why))
			}
		}
	}
	slices.Sort(out)
	return out
}

// listed asks the go command what imports what, for all that the module is built from.
func listed(t *testing.T) imports {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("go list: %s", failed.Stderr)
		}
		t.Fatal(err)
	}
	g := imports{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return g
		} else if err != nil {
			t.Fatal(err)
		}
		g[p.ImportPath] = p.Imports
	}
}

func TestImportsKeepToTheLayers(t *testing.T) {
	g := listed(t)
	if len(g[module+"/fsm"]) == 0 {
		t.Fatal("go list shows no imports of fsm: this test looks at nothing")
	}
	for _, v := range violations(house, g) {
		t.Error(v)
	}
}

// Each kind of violation, planted in a graph that is else what it should be, is found and named.
func TestAPlantedImportIsFound(t *testing.T) {
	const raft = "github.com/hashicorp/raft"
	sound := imports{
		module:                      nil,
		module + "/proto/gen":       {"fmt"},
		module + "/fsm":             {"fmt", module + "/fsm/table", module + "/proto/gen"},
		module + "/fsm/table":       {"fmt"},
		module + "/cluster":         {raft, module + "/fsm", module + "/cluster/propose"},
		module + "/cluster/propose": {"time", module + "/proto/gen"},
		module + "/transport/api":   {"connectrpc.com/connect", module + "/fsm", module + "/proto/gen"},
		module + "/client":          {"connectrpc.com/connect", module + "/client/core", module + "/proto/gen"},
		module + "/client/core":     {"time", module + "/proto/gen"},
		module + "/cmd/lockstep":    {module + "/cluster", module + "/transport/api", raft},
		raft:                        {"net"},
		"innocent.example/library":  {raft},
	}
	if got := violations(house, sound); len(got) > 0 {
		t.Fatalf("the sound graph is refused: %q", got)
	}
	for _, x := range []struct{ from, to, want string }{
		{"/fsm", module + "/cluster", "fsm imports cluster: the state machine"},
		{"/fsm", raft, "fsm reaches github.com/hashicorp/raft"},
		{"/fsm", module + "/fsm/graph/source", "fsm imports fsm/graph/source"},
		{"/fsm/table", module + "/fsm", "fsm/table imports fsm"},
		{"/cluster", module + "/transport/api", "cluster imports transport/api"},
		{"/cluster", "connectrpc.com/connect", "cluster reaches connectrpc.com/connect"},
		{"/cluster/propose", module + "/fsm", "cluster/propose imports fsm: a core without IO"},
		{"/cluster/propose", "net", "cluster/propose reaches net"},
		{"/client/core", "context", "client/core reaches context"},
		{"/transport/api", "innocent.example/library", "transport/api reaches github.com/hashicorp/raft (" + module + "/transport/api -> innocent.example/library -> github.com/hashicorp/raft)"},
		{"/client", module + "/fsm", "client imports fsm: whoever links the client"},
		{"/client", module + "/cmd/lockstep", "client imports cmd/lockstep"},
		{"/proto/gen", module + "/fsm", "proto/gen imports fsm"},
		{"", module + "/fsm", ". imports fsm"},
		{"/jepsen/model", module + "/proto/gen", "jepsen/model imports proto/gen: an oracle"},
		{"/attic", "fmt", "attic is in no layer"},
	} {
		g := imports{}
		for pkg, next := range sound {
			g[pkg] = slices.Clone(next)
		}
		g[module+x.from] = append(g[module+x.from], x.to)
		got := violations(house, g)
		if !slices.ContainsFunc(got, func(v string) bool { return strings.HasPrefix(v, x.want) }) {
			t.Errorf("%s importing %s: want %q, got %q", x.from, x.to, x.want, got)
		}
	}
}
