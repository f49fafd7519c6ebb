package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// kept are the rows of a destination, by table and key, in a file of JSON lines. As the SDK's streaming writers have it, they
// are durable at the end of each Write.
type kept struct {
	file string
	keys map[string][]int
	rows map[place]map[string]any
}

type place struct{ table, key string }

func open(file string) (*kept, error) {
	k := &kept{file: file, keys: map[string][]int{}, rows: map[place]map[string]any{}}
	found, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, err
	}
	defer found.Close()
	lines := bufio.NewScanner(found)
	lines.Buffer(nil, messageBytesMax)
	for lines.Scan() {
		var at place
		var row map[string]any
		if err := json.Unmarshal(lines.Bytes(), &[]any{&at.table, &at.key, &row}); err != nil {
			return nil, err
		}
		k.rows[at] = row
	}
	return k, lines.Err()
}

func (s *sample) write(stream grpc.ServerStream) error {
	kept := s.kept
	if kept == nil {
		return status.Error(codes.Internal, "write failed: plugin is not initialized")
	}
	for {
		request := &writeRequest{}
		err := stream.RecvMsg(request)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := kept.take(request); err != nil {
			return status.Errorf(codes.InvalidArgument, "write failed: %v", err)
		}
	}
	if err := kept.keep(); err != nil {
		return status.Errorf(codes.Internal, "write failed: %v", err)
	}
	return stream.SendMsg(&empty{})
}

func (k *kept) take(request *writeRequest) error {
	switch {
	case request.MigrateTable != nil:
		reader, err := ipc.NewReader(bytes.NewReader(request.MigrateTable.Bytes))
		if err != nil {
			return err
		}
		k.migrate(reader.Schema())
		return nil
	case request.Insert != nil:
		reader, err := ipc.NewReader(bytes.NewReader(request.Insert.Bytes))
		if err != nil {
			return err
		}
		// The SDK's decoder reads the first batch and no other.
		if !reader.Next() {
			return errors.New("a record without a batch")
		}
		return k.insert(reader.RecordBatch())
	case request.Delete != nil:
		return k.deleteStale(request.Delete)
	default:
		return errors.New("unknown message")
	}
}

func (k *kept) migrate(schema *arrow.Schema) {
	var keys []int
	for at, field := range schema.Fields() {
		if is, _ := field.Metadata.GetValue("cq:extension:primary_key"); is == "true" {
			keys = append(keys, at)
		}
	}
	k.keys[tableName(schema)] = keys
}

func (k *kept) insert(record arrow.RecordBatch) error {
	table := tableName(record.Schema())
	keys, isThere := k.keys[table]
	if !isThere {
		return fmt.Errorf("table %s was not migrated", table)
	}
	for row := range int(record.NumRows()) {
		values := map[string]any{}
		for at, field := range record.Schema().Fields() {
			if !record.Column(at).IsNull(row) {
				values[field.Name] = record.Column(at).ValueStr(row)
			}
		}
		var key []string
		for _, at := range keys {
			key = append(key, record.Column(at).ValueStr(row))
		}
		text, err := json.Marshal(key)
		if err != nil {
			return err
		}
		k.rows[place{table, string(text)}] = values
	}
	return nil
}

func (k *kept) deleteStale(message *deleteStale) error {
	before := message.SyncTime.Seconds*1_000_000 + int64(message.SyncTime.Nanos)/1_000
	for at, row := range k.rows {
		if at.table != message.TableName || row["_cq_source_name"] != message.SourceName {
			continue
		}
		text, _ := row["_cq_sync_time"].(string)
		seen, err := arrow.TimestampFromString(text, arrow.Microsecond)
		if err != nil {
			return err
		}
		if int64(seen) < before {
			delete(k.rows, at)
		}
	}
	return nil
}

func (k *kept) keep() error {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	for at, row := range k.rows {
		if err := encoder.Encode([]any{at.table, at.key, row}); err != nil {
			return err
		}
	}
	if err := os.WriteFile(k.file+".new", out.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(k.file+".new", k.file)
}
