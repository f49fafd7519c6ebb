"""A source on CloudQuery's Python SDK: what Highwater's tests read through the real thing.

spec: {"rows": N, "warn": TABLE, "events": N, "checkpoint": N, "begins": FILE, "version": TEXT, "cities": [NAME...], "pause": SECONDS, "fail": TABLE,
       "exit_after": N, "break_at": N, "flood": true, "refuse": true, "data": FILE}

`events` makes an incremental table of so many rows, whose cursor is the number of the next; with `checkpoint` it moves after every
so many rows, and each start writes its cursor into the file `begins`. The process ends at event `break_at`. `pause` is slept after every tenth row. `flood` prints lines
without end beside the sync. `data` is a JSON file with any of these fields, read at each start: the system that changes.
"""

import datetime
import json
import os
import sys
import threading
import time
import uuid

import pyarrow as pa
from cloudquery.sdk import plugin, schema, serve
from cloudquery.sdk.scheduler import Scheduler, TableResolver
from cloudquery.sdk.stateclient.stateclient import StateClientBuilder
from cloudquery.sdk.types import JSONType, UUIDType


def flood():
    while True:
        print("water " * 1000)


class Client:
    def id(self):
        return "only"


class Resolver(TableResolver):
    def __init__(self, table, rows, children=None):
        super().__init__(table=table, child_resolvers=children or [])
        self._rows = rows

    def resolve(self, client, parent_resource):
        yield from self._rows(parent_resource)


def people():
    return schema.Table(
        name="people",
        columns=[
            schema.Column(name="id", type=pa.int64(), primary_key=True, not_null=True),
            schema.Column(name="name", type=pa.string()),
            schema.Column(name="extra", type=JSONType()),
            schema.Column(name="uid", type=UUIDType()),
            schema.Column(name="seen", type=pa.timestamp("us", tz="UTC")),
        ],
        relations=[notes()],
    )


def notes():
    return schema.Table(
        name="people_notes",
        columns=[
            schema.Column(name="person", type=pa.int64(), primary_key=True, not_null=True),
            schema.Column(name="note", type=pa.string()),
        ],
    )


def cities():
    return schema.Table(
        name="cities",
        columns=[schema.Column(name="city", type=pa.string(), primary_key=True, not_null=True)],
    )


def events():
    return schema.Table(
        name="events",
        is_incremental=True,
        columns=[
            schema.Column(name="id", type=pa.int64(), primary_key=True, not_null=True, incremental_key=True),
            schema.Column(name="name", type=pa.string()),
        ],
    )


class Source(plugin.Plugin):
    def __init__(self):
        super().__init__("sample", "v1.0.0", opts=plugin.plugin.Options(team="highwater", kind="source"))
        self._logger = None

    def set_logger(self, logger):
        self._logger = logger

    def init(self, spec, no_connection=False):
        self._spec = json.loads(spec) or {}
        if "data" in self._spec:
            with open(self._spec["data"]) as file:
                self._spec.update(json.load(file))
        if self._spec.get("refuse"):
            raise Exception("the spec asks to be refused")
        self._scheduler = Scheduler(concurrency=4, queue_size=100, logger=self._logger)

    def get_tables(self, options):
        tables = [people(), cities()] + ([events()] if "events" in self._spec else [])
        for table in tables:
            for relation in table.relations:
                relation.parent = table
        return schema.filter_dfs(tables, options.tables, options.skip_tables)

    def sync(self, options):
        if self._spec.get("flood"):
            threading.Thread(target=flood, daemon=True).start()
        wanted = {table.name: table for table in self.get_tables(options)}
        resolvers = []
        if "people" in wanted:
            table = wanted["people"]
            children = [Resolver(relation, self.notes) for relation in table.relations]
            resolvers.append(Resolver(table, self.people, children))
        if "cities" in wanted:
            resolvers.append(Resolver(wanted["cities"], self.cities))
        if "events" in wanted:
            checkpoints = self._scheduler.checkpoints if "checkpoint" in self._spec else None
            self._state = StateClientBuilder.build(backend_options=options.backend_options, checkpoints=checkpoints)
            self._scheduler.set_post_sync_hook(self._state.flush)
            resolvers.append(Resolver(wanted["events"], self.events))
        return self._scheduler.sync(Client(), resolvers, options.deterministic_cq_id)

    def people(self, _parent):
        self._logger.warning("reading people")
        if "warn" in self._spec:
            self._logger.warning("the sample was told to warn", table=self._spec["warn"])
        for number in range(self._spec.get("rows", 3)):
            if number == self._spec.get("exit_after"):
                print("the sample ends in the middle", flush=True)
                os._exit(3)
            if number % 10 == 9:
                time.sleep(self._spec.get("pause", 0))
            yield {
                "id": number,
                "name": f"name {number}" + self._spec.get("version", ""),
                "extra": {"number": number},
                "uid": uuid.UUID(int=number),
                "seen": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
            }
        if self._spec.get("fail") == "people":
            raise Exception("the sample was told to fail")

    def notes(self, parent):
        yield {"person": parent.item["id"], "note": "hello" + self._spec.get("version", "")}

    def events(self, _parent):
        begin = int(self._state.get_key("events") or 0)
        if "begins" in self._spec:
            with open(self._spec["begins"], "a") as file:
                file.write(f"{begin}\n")
        for number in range(begin, self._spec["events"]):
            if number % 10 == 9:
                time.sleep(self._spec.get("pause", 0))
            if number == self._spec.get("break_at"):
                os._exit(3)
            yield {"id": number, "name": f"event {number}" + self._spec.get("version", "")}
            if "checkpoint" in self._spec and number % self._spec["checkpoint"] == 0:
                self._state.set_key("events", str(number + 1))
                self._state.flush()
        self._state.set_key("events", str(self._spec["events"]))

    def cities(self, _parent):
        for city in self._spec.get("cities", ["Paris", "Rome"]):
            yield {"city": city}
        if self._spec.get("fail") == "cities":
            raise Exception("the sample was told to fail")


if __name__ == "__main__":
    serve.PluginCommand(Source()).run(sys.argv[1:])
