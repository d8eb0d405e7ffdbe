// Package proto_test keeps the promise that the schemas only grow: old clients and old disks stay readable.
package proto_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	_ "github.com/lockstep-dev/lockstep/proto/gen/lockstep/log/v1"
	_ "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

const today = "gen/descriptors.binpb"

// promises flattens schemas to what others rely on: the name of a thing, and what it is. A field is known by its
// number, which the bytes have, and is called what JSON calls it; a value of an enum is known by its name.
func promises(set *descriptorpb.FileDescriptorSet) map[string]string {
	p := map[string]string{}
	for _, file := range set.File {
		for _, m := range file.MessageType {
			promiseMessage(p, file.GetPackage(), m)
		}
		for _, e := range file.EnumType {
			promiseEnum(p, file.GetPackage(), e)
		}
		for _, s := range file.Service {
			service := file.GetPackage() + "." + s.GetName()
			p["service "+service] = ""
			for _, m := range s.Method {
				p["method "+service+"/"+m.GetName()] = fmt.Sprintf("%s -> %s, client streams: %v, server streams: %v, %v",
					m.GetInputType(), m.GetOutputType(), m.GetClientStreaming(), m.GetServerStreaming(), m.GetOptions().GetIdempotencyLevel())
			}
		}
	}
	return p
}

func promiseMessage(p map[string]string, scope string, m *descriptorpb.DescriptorProto) {
	name := scope + "." + m.GetName()
	p["message "+name] = ""
	for _, f := range m.Field {
		p[fmt.Sprintf("field %s %d", name, f.GetNumber())] = describeField(m, f)
	}
	for _, r := range m.ReservedRange {
		for n := r.GetStart(); n < min(r.GetEnd(), r.GetStart()+1000); n++ {
			p[fmt.Sprintf("reserved number %s %d", name, n)] = ""
		}
	}
	for _, r := range m.ReservedName {
		p["reserved name "+name+"."+r] = ""
	}
	for _, e := range m.EnumType {
		promiseEnum(p, name, e)
	}
	for _, nested := range m.NestedType {
		promiseMessage(p, name, nested)
	}
}

func describeField(m *descriptorpb.DescriptorProto, f *descriptorpb.FieldDescriptorProto) string {
	words := []string{strings.ToLower(strings.TrimPrefix(f.GetLabel().String(), "LABEL_"))}
	if f.GetTypeName() != "" {
		words = append(words, f.GetTypeName())
	} else {
		words = append(words, strings.ToLower(strings.TrimPrefix(f.GetType().String(), "TYPE_")))
	}
	words = append(words, f.GetName(), "(JSON "+f.GetJsonName()+")")
	if f.OneofIndex != nil {
		words = append(words, "in "+m.OneofDecl[f.GetOneofIndex()].GetName())
	}
	return strings.Join(words, " ")
}

func promiseEnum(p map[string]string, scope string, e *descriptorpb.EnumDescriptorProto) {
	name := scope + "." + e.GetName()
	p["enum "+name] = ""
	for _, v := range e.Value {
		p["value "+name+" "+v.GetName()] = fmt.Sprint(v.GetNumber())
	}
}

// broken lists the promises of an older schema that a newer one does not keep.
func broken(older, newer *descriptorpb.FileDescriptorSet) []string {
	var out []string
	kept := promises(newer)
	for name, was := range promises(older) {
		switch is, there := kept[name]; {
		case !there && withdrawn(kept, name, was):
		case !there:
			out = append(out, name+" is gone")
		case is != was:
			out = append(out, fmt.Sprintf("%s was %q and is %q", name, was, is))
		}
	}
	slices.Sort(out)
	return out
}

// withdrawn says whether a field is gone for good: nothing else can ever have its number, nor its name in JSON. That is what
// protobuf and buf's WIRE_JSON rules ask for.
func withdrawn(kept map[string]string, name, was string) bool {
	var message string
	var number int
	if _, err := fmt.Sscanf(name, "field %s %d", &message, &number); err != nil {
		return false
	}
	_, numbered := kept[fmt.Sprintf("reserved number %s %d", message, number)]
	_, named := kept[fmt.Sprintf("reserved name %s.%s", message, strings.Fields(was)[2])]
	return numbered && named
}

func read(t *testing.T, path string) *descriptorpb.FileDescriptorSet {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	set := &descriptorpb.FileDescriptorSet{}
	if err := proto.Unmarshal(b, set); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if len(set.File) == 0 {
		t.Fatalf("%s has no schemas: this test looks at nothing", path)
	}
	return set
}

// Each release leaves its schemas in testdata; v0 is what there was before the first one.
func TestOlderSchemasStayReadable(t *testing.T) {
	older, err := filepath.Glob("testdata/descriptors-*.binpb")
	if err != nil || len(older) == 0 {
		t.Fatalf("no older schemas: %v", err)
	}
	newer := read(t, today)
	for _, path := range older {
		for _, b := range broken(read(t, path), newer) {
			t.Errorf("%s: %s. Clients and disks have it: add what is new beside it and keep the old, or reserve number and name", path, b)
		}
	}
}

// The schemas that are compared are those that the generated code was made from.
func TestDescriptorsAreOfTheGeneratedCode(t *testing.T) {
	linked := &descriptorpb.FileDescriptorSet{}
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if strings.HasPrefix(f.Path(), "lockstep/") {
			linked.File = append(linked.File, protodesc.ToFileDescriptorProto(f))
		}
		return true
	})
	written := read(t, today)
	for _, b := range append(broken(written, linked), broken(linked, written)...) {
		t.Errorf("%s is not what the generated code has: %s. Run scripts/gen", today, b)
	}
}

// Each kind of break, planted in today's schemas, is found and named.
func TestAPlantedBreakIsFound(t *testing.T) {
	type descriptors = descriptorpb.FileDescriptorSet
	for name, plant := range map[string]func(*descriptors) (want string){
		"message removed": func(s *descriptors) string {
			f := fileWith(s, func(f *descriptorpb.FileDescriptorProto) bool { return len(f.MessageType) > 0 })
			gone := f.MessageType[0].GetName()
			f.MessageType = f.MessageType[1:]
			return "message " + f.GetPackage() + "." + gone + " is gone"
		},
		"field removed": func(s *descriptors) string {
			name, m := messageWithFields(s)
			gone := m.Field[0].GetNumber()
			m.Field = m.Field[1:]
			return fmt.Sprintf("field %s %d is gone", name, gone)
		},
		"field removed, its number reserved": func(s *descriptors) string {
			name, m := messageWithFields(s)
			gone := m.Field[0].GetNumber()
			m.Field = m.Field[1:]
			m.ReservedRange = append(m.ReservedRange, &descriptorpb.DescriptorProto_ReservedRange{Start: proto.Int32(gone), End: proto.Int32(gone + 1)})
			return fmt.Sprintf("field %s %d is gone", name, gone)
		},
		"field renamed": func(s *descriptors) string {
			name, m := messageWithFields(s)
			m.Field[0].Name = proto.String("other")
			return fmt.Sprintf("field %s %d was", name, m.Field[0].GetNumber())
		},
		"field renamed in JSON": func(s *descriptors) string {
			name, m := messageWithFields(s)
			m.Field[0].JsonName = proto.String("other")
			return fmt.Sprintf("field %s %d was", name, m.Field[0].GetNumber())
		},
		"field renumbered": func(s *descriptors) string {
			name, m := messageWithFields(s)
			was := m.Field[0].GetNumber()
			m.Field[0].Number = proto.Int32(4000)
			return fmt.Sprintf("field %s %d is gone", name, was)
		},
		"field retyped": func(s *descriptors) string {
			name, m := messageWithFields(s)
			m.Field[0].Type, m.Field[0].TypeName = descriptorpb.FieldDescriptorProto_TYPE_SFIXED32.Enum(), nil
			return fmt.Sprintf("field %s %d was", name, m.Field[0].GetNumber())
		},
		"field given another message": func(s *descriptors) string {
			name, m := messageWithFields(s)
			m.Field[0].TypeName = proto.String(".lockstep.v1.Other")
			return fmt.Sprintf("field %s %d was", name, m.Field[0].GetNumber())
		},
		"field repeated": func(s *descriptors) string {
			name, m := messageWithFields(s)
			m.Field[0].Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
			return fmt.Sprintf("field %s %d was", name, m.Field[0].GetNumber())
		},
		"field moved into a oneof": func(s *descriptors) string {
			name, m := messageWithFields(s)
			m.OneofDecl = append(m.OneofDecl, &descriptorpb.OneofDescriptorProto{Name: proto.String("either")})
			m.Field[0].OneofIndex = proto.Int32(int32(len(m.OneofDecl) - 1))
			return fmt.Sprintf("field %s %d was", name, m.Field[0].GetNumber())
		},
		"enum value removed": func(s *descriptors) string {
			name, e := enum(s)
			gone := e.Value[1].GetName()
			e.Value = slices.Delete(e.Value, 1, 2)
			return fmt.Sprintf("value %s %s is gone", name, gone)
		},
		"enum value renumbered": func(s *descriptors) string {
			name, e := enum(s)
			e.Value[1].Number = proto.Int32(4000)
			return fmt.Sprintf("value %s %s was", name, e.Value[1].GetName())
		},
		"service removed": func(s *descriptors) string {
			f := withService(s)
			gone := f.Service[0].GetName()
			f.Service = f.Service[1:]
			return "service " + f.GetPackage() + "." + gone + " is gone"
		},
		"method removed": func(s *descriptors) string {
			f := withService(s)
			service := f.Service[0]
			gone := service.Method[0].GetName()
			service.Method = service.Method[1:]
			return "method " + f.GetPackage() + "." + service.GetName() + "/" + gone + " is gone"
		},
		"method streams": func(s *descriptors) string {
			f := withService(s)
			m := f.Service[0].Method[0]
			m.ServerStreaming = proto.Bool(!m.GetServerStreaming())
			return "method " + f.GetPackage() + "." + f.Service[0].GetName() + "/" + m.GetName() + " was"
		},
	} {
		newer := read(t, today)
		want := plant(newer)
		got := broken(read(t, today), newer)
		if !slices.ContainsFunc(got, func(b string) bool { return strings.HasPrefix(b, want) }) {
			t.Errorf("%s: want %q, got %q", name, want, got)
		}
	}
}

// A number that was given up stays given up.
func TestALiftedReservationIsFound(t *testing.T) {
	older, newer := read(t, today), read(t, today)
	name, m := messageWithFields(older)
	m.ReservedRange = append(m.ReservedRange, &descriptorpb.DescriptorProto_ReservedRange{Start: proto.Int32(900), End: proto.Int32(902)})
	m.ReservedName = append(m.ReservedName, "formerly")
	want := []string{"reserved name " + name + ".formerly is gone", "reserved number " + name + " 900 is gone", "reserved number " + name + " 901 is gone"}
	if got := broken(older, newer); !slices.Equal(got, want) {
		t.Errorf("want %q, got %q", want, got)
	}
}

// What is only added breaks nothing.
func TestGrowthIsNoBreak(t *testing.T) {
	newer := read(t, today)
	_, m := messageWithFields(newer)
	m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{Name: proto.String("more"), Number: proto.Int32(4000)})
	_, e := enum(newer)
	e.Value = append(e.Value, &descriptorpb.EnumValueDescriptorProto{Name: proto.String("MORE"), Number: proto.Int32(4000)})
	if got := broken(read(t, today), newer); len(got) > 0 {
		t.Errorf("growth is refused: %q", got)
	}
}

func fileWith(s *descriptorpb.FileDescriptorSet, has func(*descriptorpb.FileDescriptorProto) bool) *descriptorpb.FileDescriptorProto {
	return s.File[slices.IndexFunc(s.File, has)]
}

func messageWithFields(s *descriptorpb.FileDescriptorSet) (name string, m *descriptorpb.DescriptorProto) {
	for _, f := range s.File {
		for _, m := range f.MessageType {
			if len(m.Field) > 0 {
				return f.GetPackage() + "." + m.GetName(), m
			}
		}
	}
	panic("no message has fields")
}

func enum(s *descriptorpb.FileDescriptorSet) (name string, e *descriptorpb.EnumDescriptorProto) {
	f := fileWith(s, func(f *descriptorpb.FileDescriptorProto) bool { return len(f.EnumType) > 0 })
	return f.GetPackage() + "." + f.EnumType[0].GetName(), f.EnumType[0]
}

func withService(s *descriptorpb.FileDescriptorSet) *descriptorpb.FileDescriptorProto {
	return fileWith(s, func(f *descriptorpb.FileDescriptorProto) bool { return len(f.Service) > 0 })
}

// A field whose number and name are both reserved may go.
func TestAWithdrawnFieldIsNoBreak(t *testing.T) {
	newer := read(t, today)
	_, m := messageWithFields(newer)
	gone := m.Field[0]
	m.Field = m.Field[1:]
	m.ReservedRange = append(m.ReservedRange, &descriptorpb.DescriptorProto_ReservedRange{Start: gone.Number, End: proto.Int32(gone.GetNumber() + 1)})
	m.ReservedName = append(m.ReservedName, gone.GetName())
	if found := broken(read(t, today), newer); len(found) > 0 {
		t.Errorf("broken: %v", found)
	}
}
