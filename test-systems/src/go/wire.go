package main

// The messages that are used here, with the numbers that the protocol gives their fields. They are written by hand, so that
// this side does not share the description from which Highwater's own is generated. The members of a `oneof` are pointers of
// which one is set.

type empty struct{}

func (m *empty) Reset()       { *m = empty{} }
func (*empty) String() string { return "" }
func (*empty) ProtoMessage()  {}

type versions struct {
	Versions []int32 `protobuf:"varint,1,rep,packed,name=versions,proto3"`
}

func (m *versions) Reset()       { *m = versions{} }
func (*versions) String() string { return "versions" }
func (*versions) ProtoMessage()  {}

// named answers GetName and GetVersion.
type named struct {
	Text string `protobuf:"bytes,1,opt,name=text,proto3"`
}

func (m *named) Reset()       { *m = named{} }
func (*named) String() string { return "named" }
func (*named) ProtoMessage()  {}

type initRequest struct {
	Spec         []byte `protobuf:"bytes,1,opt,name=spec,proto3"`
	NoConnection bool   `protobuf:"varint,2,opt,name=no_connection,proto3"`
	InvocationID string `protobuf:"bytes,3,opt,name=invocation_id,proto3"`
}

func (m *initRequest) Reset()       { *m = initRequest{} }
func (*initRequest) String() string { return "init" }
func (*initRequest) ProtoMessage()  {}

type tablesRequest struct {
	Tables              []string `protobuf:"bytes,1,rep,name=tables,proto3"`
	SkipTables          []string `protobuf:"bytes,2,rep,name=skip_tables,proto3"`
	SkipDependentTables bool     `protobuf:"varint,3,opt,name=skip_dependent_tables,proto3"`
}

func (m *tablesRequest) Reset()       { *m = tablesRequest{} }
func (*tablesRequest) String() string { return "tables" }
func (*tablesRequest) ProtoMessage()  {}

type tablesResponse struct {
	Tables [][]byte `protobuf:"bytes,1,rep,name=tables,proto3"`
}

func (m *tablesResponse) Reset()       { *m = tablesResponse{} }
func (*tablesResponse) String() string { return "tables" }
func (*tablesResponse) ProtoMessage()  {}

type syncRequest struct {
	Tables              []string        `protobuf:"bytes,1,rep,name=tables,proto3"`
	SkipTables          []string        `protobuf:"bytes,2,rep,name=skip_tables,proto3"`
	SkipDependentTables bool            `protobuf:"varint,3,opt,name=skip_dependent_tables,proto3"`
	DeterministicCqID   bool            `protobuf:"varint,4,opt,name=deterministic_cq_id,proto3"`
	Backend             *backendOptions `protobuf:"bytes,5,opt,name=backend,proto3"`
	WithErrorMessages   bool            `protobuf:"varint,7,opt,name=withErrorMessages,proto3"`
}

func (m *syncRequest) Reset()       { *m = syncRequest{} }
func (*syncRequest) String() string { return "sync" }
func (*syncRequest) ProtoMessage()  {}

type backendOptions struct {
	TableName  string `protobuf:"bytes,1,opt,name=table_name,proto3"`
	Connection string `protobuf:"bytes,2,opt,name=connection,proto3"`
}

func (m *backendOptions) Reset()       { *m = backendOptions{} }
func (*backendOptions) String() string { return "backend" }
func (*backendOptions) ProtoMessage()  {}

type syncResponse struct {
	MigrateTable *payload      `protobuf:"bytes,1,opt,name=migrate_table,proto3"`
	Insert       *payload      `protobuf:"bytes,2,opt,name=insert,proto3"`
	Error        *errorMessage `protobuf:"bytes,4,opt,name=error,proto3"`
}

func (m *syncResponse) Reset()       { *m = syncResponse{} }
func (*syncResponse) String() string { return "sync" }
func (*syncResponse) ProtoMessage()  {}

// payload is every message whose first field is a schema or a record.
type payload struct {
	Bytes []byte `protobuf:"bytes,1,opt,name=bytes,proto3"`
}

func (m *payload) Reset()       { *m = payload{} }
func (*payload) String() string { return "payload" }
func (*payload) ProtoMessage()  {}

type errorMessage struct {
	TableName string `protobuf:"bytes,1,opt,name=table_name,proto3"`
	Error     string `protobuf:"bytes,2,opt,name=error,proto3"`
}

func (m *errorMessage) Reset()       { *m = errorMessage{} }
func (*errorMessage) String() string { return "error" }
func (*errorMessage) ProtoMessage()  {}

type writeRequest struct {
	MigrateTable *payload     `protobuf:"bytes,1,opt,name=migrate_table,proto3"`
	Insert       *payload     `protobuf:"bytes,2,opt,name=insert,proto3"`
	Delete       *deleteStale `protobuf:"bytes,3,opt,name=delete,proto3"`
}

func (m *writeRequest) Reset()       { *m = writeRequest{} }
func (*writeRequest) String() string { return "write" }
func (*writeRequest) ProtoMessage()  {}

type deleteStale struct {
	SourceName string     `protobuf:"bytes,2,opt,name=source_name,proto3"`
	SyncTime   *timestamp `protobuf:"bytes,3,opt,name=sync_time,proto3"`
	TableName  string     `protobuf:"bytes,4,opt,name=table_name,proto3"`
}

func (m *deleteStale) Reset()       { *m = deleteStale{} }
func (*deleteStale) String() string { return "delete" }
func (*deleteStale) ProtoMessage()  {}

type timestamp struct {
	Seconds int64 `protobuf:"varint,1,opt,name=seconds,proto3"`
	Nanos   int32 `protobuf:"varint,2,opt,name=nanos,proto3"`
}

func (m *timestamp) Reset()       { *m = timestamp{} }
func (*timestamp) String() string { return "timestamp" }
func (*timestamp) ProtoMessage()  {}
