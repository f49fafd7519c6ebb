"""A transformer on CloudQuery's Python SDK, which serves everything but the two calls of a transformer: those are here.

spec: {"upper": COLUMN, "add": COLUMN, "drop": {"column": COLUMN, "value": VALUE}, "twice": true, "backwards": true,
       "slow": SECONDS, "flood": true, "forget": true, "rename": TABLE, "exit_after": N}

Records are kept back and answered at the end of the caller's half, `slow` seconds apart. `forget` leaves out columns that begin
with `_highwater`. `flood` prints lines without end. `exit_after` ends the process at the record of that number.
"""

import json
import os
import sys
import threading
import time

import pyarrow as pa
import pyarrow.compute as pc
from cloudquery.plugin_v3 import arrow, plugin_pb2
from cloudquery.sdk import plugin, serve
from cloudquery.sdk.internal.servers.plugin_v3 import PluginServicer
from cloudquery.sdk.serve import plugin as serving


def flood():
    while True:
        print("water " * 1000)


class Transformer(plugin.Plugin):
    def __init__(self):
        super().__init__("sample", "v1.0.0", opts=plugin.plugin.Options(team="highwater", kind="transformer"))
        self.seen = 0

    def set_logger(self, logger):
        pass

    def init(self, spec, no_connection=False):
        self.spec = json.loads(spec) or {}
        if self.spec.get("flood"):
            threading.Thread(target=flood, daemon=True).start()

    def close(self):
        pass

    def transform(self, record):
        spec = self.spec
        self.seen += 1
        if self.seen == spec.get("exit_after"):
            os._exit(3)
        columns = {name: record.column(name) for name in record.schema.names}
        fields = {field.name: field for field in record.schema}
        if spec.get("upper") in columns:
            columns[spec["upper"]] = pc.utf8_upper(columns[spec["upper"]])
        if "add" in spec:
            columns[spec["add"]] = pa.array(["added"] * record.num_rows, pa.string())
            fields[spec["add"]] = pa.field(spec["add"], pa.string())
        for name in list(columns):
            if spec.get("forget") and name.startswith("_highwater"):
                del columns[name]
        metadata = dict(record.schema.metadata)
        if "rename" in spec:
            metadata[b"cq:table_name"] = spec["rename"].encode()
        schema = pa.schema([fields[name] for name in columns], metadata=metadata)
        record = pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)
        drop = spec.get("drop")
        if drop and drop["column"] in columns:
            keep = pc.fill_null(pc.not_equal(record.column(drop["column"]), drop["value"]), True)
            record = record.filter(keep)
        rows = list(range(record.num_rows))
        if spec.get("twice"):
            rows = rows + rows
        if spec.get("backwards"):
            rows.reverse()
        return record.take(pa.array(rows, pa.int64()))


class Servicer(PluginServicer):
    def Transform(self, request_iterator, context):
        kept = [arrow.new_record_from_bytes(request.record) for request in request_iterator]
        for record in kept:
            time.sleep(self._plugin.spec.get("slow", 0))
            yield plugin_pb2.Transform.Response(record=arrow.record_to_bytes(self._plugin.transform(record)))

    def TransformSchema(self, request, context):
        schema = arrow.new_schema_from_bytes(request.schema)
        empty = pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)
        # Not a record that counts.
        seen, self._plugin.seen = self._plugin.seen, -1
        schema = self._plugin.transform(empty).schema
        self._plugin.seen = seen
        return plugin_pb2.TransformSchema.Response(schema=arrow.schema_to_bytes(schema))


if __name__ == "__main__":
    serving.PluginServicer = Servicer
    serve.PluginCommand(Transformer()).run(sys.argv[1:])
