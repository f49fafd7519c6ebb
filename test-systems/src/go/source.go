package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Rows that the SDK's scheduler puts into one record.
const batchRows = 50

func column(name string, of arrow.DataType, isKey bool, more ...string) arrow.Field {
	key := strconv.FormatBool(isKey)
	metadata := map[string]string{"cq:extension:primary_key": key, "cq:extension:unique": "false"}
	for at := 0; at+1 < len(more); at += 2 {
		metadata[more[at]] = more[at+1]
	}
	return arrow.Field{Name: name, Type: of, Nullable: !isKey, Metadata: arrow.MetadataFrom(metadata)}
}

func extension(name string) []string {
	return []string{"ARROW:extension:name", name, "ARROW:extension:metadata", name + "-serialized"}
}

func table(name string, metadata map[string]string, columns ...arrow.Field) *arrow.Schema {
	all := map[string]string{
		"cq:table_name":                name,
		"cq:table_title":               "",
		"cq:table_description":         "",
		"cq:extension:constraint_name": "",
	}
	for key, value := range metadata {
		all[key] = value
	}
	of := arrow.MetadataFrom(all)
	return arrow.NewSchema(columns, &of)
}

func (s spec) schemas() []*arrow.Schema {
	number, text := arrow.PrimitiveTypes.Int64, arrow.BinaryTypes.String
	seen := &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	all := []*arrow.Schema{
		table("people", nil,
			column("id", number, true),
			column("name", text, false),
			column("extra", arrow.BinaryTypes.Binary, false, extension("json")...),
			column("uid", &arrow.FixedSizeBinaryType{ByteWidth: 16}, false, extension("uuid")...),
			column("home", arrow.BinaryTypes.Binary, false, extension("inet")...),
			column("seen", seen, false),
		),
		table("people_notes", map[string]string{"cq:table_depends_on": "people"},
			column("person", number, true),
			column("note", text, false),
		),
		table("cities", nil, column("city", text, true)),
	}
	if s.Events != nil {
		all = append(all, table("events", map[string]string{"cq:extension:incremental": "true"},
			column("id", number, true, "cq:extension:incremental", "true"),
			column("name", text, false),
		))
	}
	return all
}

func (s *sample) sync(request *syncRequest, stream grpc.ServerStream) error {
	if !s.mutex.TryLock() {
		return status.Errorf(codes.Unknown, "failed to sync records: %v", errInUse)
	}
	defer s.mutex.Unlock()
	chosen := s.chosen(request.Tables, request.SkipTables)
	for _, schema := range chosen {
		text, err := schemaBytes(schema)
		if err != nil {
			return err
		}
		if err := stream.SendMsg(&syncResponse{MigrateTable: &payload{Bytes: text}}); err != nil {
			return err
		}
	}
	syncing := &syncing{spec: s.spec, stream: stream, batches: map[string]*batch{}}
	for _, schema := range chosen {
		syncing.batches[tableName(schema)] = &batch{builder: array.NewRecordBuilder(memory.DefaultAllocator, schema)}
	}
	for _, schema := range chosen {
		name := tableName(schema)
		err := syncing.resolve(name, request.Backend)
		if err == nil && s.spec.Fail == name {
			err = fmt.Errorf("the sample was told to fail")
		}
		if err == nil {
			continue
		}
		log("error", "table resolver finished with error", "table", name, "error", err.Error())
		if request.WithErrorMessages {
			failed := &errorMessage{TableName: name, Error: err.Error()}
			if err := stream.SendMsg(&syncResponse{Error: failed}); err != nil {
				return err
			}
		}
	}
	return syncing.flush()
}

type batch struct {
	builder *array.RecordBuilder
	rows    int
}

type syncing struct {
	spec    spec
	stream  grpc.ServerStream
	batches map[string]*batch
}

func (s *syncing) resolve(name string, backend *backendOptions) error {
	switch name {
	case "people":
		return s.people()
	case "cities":
		cities := s.spec.Cities
		if cities == nil {
			cities = []string{"Paris", "Rome"}
		}
		for _, city := range cities {
			if err := s.row("cities", city); err != nil {
				return err
			}
		}
	case "events":
		return s.events(backend)
	}
	// Notes come with their people.
	return nil
}

func (s *syncing) people() error {
	rows := 3
	if s.spec.Rows != nil {
		rows = *s.spec.Rows
	}
	_, hasNotes := s.batches["people_notes"]
	for id := 0; id < rows; id++ {
		if s.spec.ExitAfter != nil && id == *s.spec.ExitAfter {
			fmt.Println("the sample ends in the middle")
			os.Exit(3)
		}
		s.pause(id)
		extra := fmt.Sprintf(`{"number":%d,"wide":"%s"}`, id, strings.Repeat("x", s.spec.Wide))
		uid := make([]byte, 16)
		uid[15], uid[14] = byte(id), byte(id>>8)
		name := fmt.Sprintf("name %d%s", id, s.spec.Version)
		if err := s.row("people", int64(id), name, []byte(extra), uid, []byte("10.0.0.1/24"), time.Unix(int64(id), 0)); err != nil {
			return err
		}
		if hasNotes {
			if err := s.row("people_notes", int64(id), "hello"+s.spec.Version); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *syncing) events(options *backendOptions) error {
	state, err := connect(options)
	if err != nil {
		return err
	}
	defer state.close()
	from, _ := strconv.Atoi(state.get("events"))
	for id := from; id < *s.spec.Events; id++ {
		s.pause(id)
		if err := s.row("events", int64(id), fmt.Sprintf("event %d%s", id, s.spec.Version)); err != nil {
			return err
		}
	}
	// As plugins do it: the cursor is written as soon as the table is done, whoever has its rows by then.
	state.set("events", strconv.Itoa(*s.spec.Events))
	return state.flush()
}

func (s *syncing) pause(id int) {
	if id%10 == 9 && s.spec.Pause > 0 {
		time.Sleep(time.Duration(s.spec.Pause * float64(time.Second)))
	}
}

// row adds one, and sends the record when it is full.
func (s *syncing) row(name string, values ...any) error {
	batch := s.batches[name]
	for at, value := range values {
		switch field := batch.builder.Field(at).(type) {
		case *array.Int64Builder:
			field.Append(value.(int64))
		case *array.StringBuilder:
			field.Append(value.(string))
		case *array.BinaryBuilder:
			field.Append(value.([]byte))
		case *array.FixedSizeBinaryBuilder:
			field.Append(value.([]byte))
		case *array.TimestampBuilder:
			field.Append(arrow.Timestamp(value.(time.Time).UnixMicro()))
		default:
			return fmt.Errorf("no value of %s can be added", name)
		}
	}
	batch.rows++
	if batch.rows < batchRows {
		return nil
	}
	return s.send(batch)
}

func (s *syncing) send(batch *batch) error {
	record := batch.builder.NewRecordBatch()
	defer record.Release()
	batch.rows = 0
	text, err := recordBytes(record)
	if err != nil {
		return err
	}
	return s.stream.SendMsg(&syncResponse{Insert: &payload{Bytes: text}})
}

func (s *syncing) flush() error {
	for _, batch := range s.batches {
		if batch.rows > 0 {
			if err := s.send(batch); err != nil {
				return err
			}
		}
	}
	return nil
}
