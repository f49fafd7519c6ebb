package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path"
	"slices"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// spec of a source: what its system has. `data` is a JSON file with any of these fields, read at each start.
//
// `events` makes an incremental table of so many rows, whose cursor is the number of the next. `wide` is the size of each
// person's `extra`. `file` makes the plugin a destination: the JSON lines in which it keeps its rows.
type spec struct {
	Data      string   `json:"data"`
	Rows      *int     `json:"rows"`
	Events    *int     `json:"events"`
	Version   string   `json:"version"`
	Cities    []string `json:"cities"`
	Pause     float64  `json:"pause"`
	Wide      int      `json:"wide"`
	Fail      string   `json:"fail"`
	ExitAfter *int     `json:"exit_after"`
	Refuse    bool     `json:"refuse"`
	File      string   `json:"file"`
}

// sample is the one client of the process, made anew by each Init.
type sample struct {
	spec spec
	kept *kept
	// Sync and Init exclude each other: the second is refused.
	mutex sync.Mutex
}

var errInUse = errors.New("plugin already in use")

func (s *sample) init(_ context.Context, request *initRequest) (*empty, error) {
	if !s.mutex.TryLock() {
		return nil, status.Errorf(codes.Internal, "failed to init plugin: %v", errInUse)
	}
	defer s.mutex.Unlock()
	made, err := read(request.Spec)
	if err == nil && made.File != "" && !request.NoConnection {
		s.kept, err = open(made.File)
	}
	if err != nil {
		return nil, status.Errorf(codes.Internal, "failed to init plugin: %v", err)
	}
	s.spec = made
	return &empty{}, nil
}

func read(text []byte) (spec, error) {
	var made spec
	if err := json.Unmarshal(text, &made); err != nil {
		return made, err
	}
	if made.Data != "" {
		data, err := os.ReadFile(made.Data)
		if err != nil {
			return made, err
		}
		if err := json.Unmarshal(data, &made); err != nil {
			return made, err
		}
	}
	if made.Refuse {
		return made, errors.New("the spec asks to be refused")
	}
	return made, nil
}

func (s *sample) tables(_ context.Context, request *tablesRequest) (*tablesResponse, error) {
	answer := &tablesResponse{}
	for _, schema := range s.chosen(request.Tables, request.SkipTables) {
		text, err := schemaBytes(schema)
		if err != nil {
			return nil, status.Errorf(codes.Internal, "failed to get tables: %v", err)
		}
		answer.Tables = append(answer.Tables, text)
	}
	return answer, nil
}

func (s *sample) close(context.Context, *empty) (*empty, error) {
	s.kept = nil
	return &empty{}, nil
}

// chosen is every table that matches, and the parents of those, parents first.
func (s *sample) chosen(include, skip []string) []*arrow.Schema {
	matches := func(patterns []string, name string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			is, err := path.Match(pattern, name)
			return err == nil && is
		})
	}
	var chosen []*arrow.Schema
	for _, schema := range s.spec.schemas() {
		name := tableName(schema)
		// The only child there is brings its parent.
		is := matches(include, name) || (name == "people" && matches(include, "people_notes"))
		if is && !matches(skip, name) {
			chosen = append(chosen, schema)
		}
	}
	return chosen
}

func schemaBytes(schema *arrow.Schema) ([]byte, error) {
	var out bytes.Buffer
	writer := ipc.NewWriter(&out, ipc.WithSchema(schema))
	err := writer.Close()
	return out.Bytes(), err
}

func recordBytes(record arrow.RecordBatch) ([]byte, error) {
	var out bytes.Buffer
	writer := ipc.NewWriter(&out, ipc.WithSchema(record.Schema()))
	if err := writer.Write(record); err != nil {
		return nil, err
	}
	err := writer.Close()
	return out.Bytes(), err
}

func tableName(schema *arrow.Schema) string {
	name, _ := schema.Metadata().GetValue("cq:table_name")
	return name
}
