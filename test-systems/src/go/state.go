package main

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// state is the client of a state backend as Go's SDK has it: three columns, taken by their place, and of each key the greatest
// version counts.
type state struct {
	connection *grpc.ClientConn
	schema     *arrow.Schema
	values     map[string]string
	versions   map[string]uint64
	changed    map[string]bool
}

// connect makes the table and reads it; without options there is no state.
func connect(options *backendOptions) (*state, error) {
	s := &state{values: map[string]string{}, versions: map[string]uint64{}, changed: map[string]bool{}}
	if options == nil || options.Connection == "" {
		return s, nil
	}
	text := arrow.BinaryTypes.String
	s.schema = table(options.TableName, nil,
		column("key", text, true), column("value", text, false), column("version", arrow.PrimitiveTypes.Uint64, false))
	var err error
	s.connection, err = grpc.NewClient(options.Connection, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	found := &versions{}
	if err := s.connection.Invoke(context.Background(), "/"+discoveryService+"/GetVersions", &empty{}, found); err != nil {
		return nil, err
	}
	if len(found.Versions) == 0 || found.Versions[len(found.Versions)-1] != 3 {
		return nil, fmt.Errorf("state backend speaks %v, not 3", found.Versions)
	}
	made, err := schemaBytes(s.schema)
	if err != nil {
		return nil, err
	}
	if err := s.write(&writeRequest{MigrateTable: &payload{Bytes: made}}); err != nil {
		return nil, err
	}
	return s, s.read(made)
}

func (s *state) read(table []byte) error {
	stream, err := s.connection.NewStream(
		context.Background(), &grpc.StreamDesc{ServerStreams: true}, "/"+pluginService+"/Read")
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&payload{Bytes: table}); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		answer := &payload{}
		switch err := stream.RecvMsg(answer); err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
		reader, err := ipc.NewReader(bytes.NewReader(answer.Bytes))
		if err != nil {
			return err
		}
		for reader.Next() {
			s.take(reader.RecordBatch())
		}
	}
}

func (s *state) take(record arrow.RecordBatch) {
	keys, values := record.Column(0).(*array.String), record.Column(1).(*array.String)
	versions := record.Column(2).(*array.Uint64)
	for row := range int(record.NumRows()) {
		key, version := keys.Value(row), versions.Value(row)
		if _, has := s.values[key]; !has || s.versions[key] < version {
			s.values[key], s.versions[key] = values.Value(row), version
		}
	}
}

func (s *state) get(key string) string { return s.values[key] }

func (s *state) set(key, value string) {
	if old, has := s.values[key]; has && old == value {
		return
	}
	s.values[key] = value
	s.versions[key]++
	s.changed[key] = true
}

// flush writes what has changed: a record of no rows, if nothing has.
func (s *state) flush() error {
	if s.connection == nil {
		return nil
	}
	builder := array.NewRecordBuilder(memory.DefaultAllocator, s.schema)
	for key := range s.changed {
		builder.Field(0).(*array.StringBuilder).Append(key)
		builder.Field(1).(*array.StringBuilder).Append(s.values[key])
		builder.Field(2).(*array.Uint64Builder).Append(s.versions[key])
	}
	record := builder.NewRecordBatch()
	defer record.Release()
	text, err := recordBytes(record)
	if err != nil {
		return err
	}
	clear(s.changed)
	return s.write(&writeRequest{Insert: &payload{Bytes: text}})
}

func (s *state) write(request *writeRequest) error {
	stream, err := s.connection.NewStream(
		context.Background(), &grpc.StreamDesc{ClientStreams: true}, "/"+pluginService+"/Write")
	if err != nil {
		return err
	}
	if err := stream.SendMsg(request); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	return stream.RecvMsg(&empty{})
}

func (s *state) close() {
	if s.connection != nil {
		_ = s.connection.Close()
	}
}
