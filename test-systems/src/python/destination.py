"""A destination on CloudQuery's Python SDK: keeps rows in a file of JSON lines, by key, for Highwater's tests.

spec: {"file": PATH, "lose": true, "flood": true}. `lose` answers a write as if all were well, and only logs that its batch is gone.
`flood` prints lines without end.
"""

import json
import os
import sys
import threading

import pyarrow as pa
from cloudquery.sdk import message, plugin, serve


def flood():
    while True:
        print("water " * 1000)


class Destination(plugin.Plugin):
    def __init__(self):
        super().__init__("sample", "v1.0.0", opts=plugin.plugin.Options(team="highwater", kind="destination"))
        self._rows = {}
        self._keys = {}

    def set_logger(self, logger):
        self._logger = logger

    def init(self, spec, no_connection=False):
        self._spec = json.loads(spec) or {}
        if self._spec.get("flood"):
            threading.Thread(target=flood, daemon=True).start()
        # A client of its own, as every Go plugin makes one: it knows of no table yet.
        self._rows, self._keys = {}, {}
        if os.path.exists(self._spec["file"]):
            with open(self._spec["file"]) as file:
                for line in file:
                    table, key, row = json.loads(line)
                    self._rows[(table, key)] = row

    def get_tables(self, options):
        return []

    # As a state backend it is asked for what it holds.
    def read(self, table):
        names = [column.name for column in table.columns]
        for (name, _), row in self._rows.items():
            if name == table.name:
                rows = [{column: row[column] for column in names}]
                yield message.ReadMessage(pa.RecordBatch.from_pylist(rows, schema=table.to_arrow_schema()))

    def write(self, writer):
        for msg in writer:
            if isinstance(msg, message.WriteMigrateTableMessage):
                table = msg.table
                self._keys[table.name] = [column.name for column in table.columns if column.primary_key]
            elif isinstance(msg, message.WriteInsertMessage):
                name = msg.record.schema.metadata[b"cq:table_name"].decode()
                for row in msg.record.to_pylist():
                    key = json.dumps([row[column] for column in self._keys[name]], default=str)
                    self._rows[(name, key)] = row
            elif isinstance(msg, message.WriteDeleteStale):
                gone = [
                    place
                    for place, row in self._rows.items()
                    if place[0] == msg.table_name
                    and row["_cq_source_name"] == msg.source_name
                    and str(row["_cq_sync_time"]) < str(msg.sync_time)
                ]
                for place in gone:
                    del self._rows[place]
            else:
                raise NotImplementedError(f"unknown message {type(msg)}")

    def close(self):
        if self._spec.get("lose"):
            self._logger.error("failed to write batch", error="the sample was told to lose it")
            return
        with open(self._spec["file"] + ".new", "w") as file:
            for (table, key), row in self._rows.items():
                file.write(json.dumps([table, key, row], default=str) + "\n")
        os.replace(self._spec["file"] + ".new", self._spec["file"])


if __name__ == "__main__":
    serve.PluginCommand(Destination()).run(sys.argv[1:])
