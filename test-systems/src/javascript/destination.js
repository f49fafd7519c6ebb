// A destination on CloudQuery's JavaScript SDK: keeps rows in a file of JSON lines, by key, for Highwater's tests.
//
// spec: {"file": PATH, "hang_after": N}
//
// Rows are durable at each `Close`, not before. `hang_after` takes so many records and then no more.

import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';

import { newPlugin, newUnimplementedSource } from '@cloudquery/plugin-sdk-javascript/plugin/plugin';
import { createServeCommand } from '@cloudquery/plugin-sdk-javascript/plugin/serve';
import { decodeRecord, decodeTable, getPrimaryKeys } from '@cloudquery/plugin-sdk-javascript/schema/table';

const plain = (value) => (typeof value === 'bigint' ? Number(value) : value instanceof Uint8Array ? [...value] : value);

/** In microseconds: what Arrow's reader gives is milliseconds, with a fraction. */
const micros = (milliseconds) => Math.round(milliseconds * 1000);

class Rows {
  constructor(spec) {
    this.spec = spec;
    this.keys = new Map();
    this.rows = new Map();
    this.records = 0;
    const lines = existsSync(spec.file) ? readFileSync(spec.file, 'utf8').split('\n') : [];
    for (const line of lines.filter((line) => line !== '')) {
      const [table, key, row] = JSON.parse(line);
      this.rows.set(JSON.stringify([table, key]), [table, key, row]);
    }
  }

  async take(stream) {
    for await (const request of stream) {
      switch (request.message) {
        case 'migrate_table': {
          const table = decodeTable(request.migrate_table.table);
          this.keys.set(table.name, getPrimaryKeys(table));
          break;
        }
        case 'insert': {
          this.records++;
          if (this.records > this.spec.hang_after) {
            await new Promise(() => {});
          }
          this.insert(...decodeRecord(request.insert.record));
          break;
        }
        case 'delete': {
          this.deleteStale(request.delete);
          break;
        }
        default: {
          throw new Error(`unknown message ${request.message}`);
        }
      }
    }
  }

  insert(table, batches) {
    for (const batch of batches) {
      for (const record of batch) {
        const row = Object.fromEntries([...record].map(([name, value]) => [name, plain(value)]));
        const key = JSON.stringify(this.keys.get(table).map((column) => row[column]));
        this.rows.set(JSON.stringify([table, key]), [table, key, row]);
      }
    }
  }

  deleteStale({ table_name: table, source_name: source, sync_time: time }) {
    const before = time.seconds * 1_000_000 + Math.round(time.nanos / 1000);
    for (const [place, [of, , row]] of this.rows) {
      if (of === table && row._cq_source_name === source && micros(row._cq_sync_time) < before) {
        this.rows.delete(place);
      }
    }
  }

  keep() {
    const lines = [...this.rows.values()].map((row) => JSON.stringify(row) + '\n');
    writeFileSync(this.spec.file + '.new', lines.join(''));
    renameSync(this.spec.file + '.new', this.spec.file);
  }
}

const newClient = async (_logger, text) => {
  const rows = new Rows(JSON.parse(text));
  return {
    id: () => 'only',
    ...newUnimplementedSource(),
    write: (stream) => rows.take(stream),
    read: (stream) => stream.end(),
    close: async () => rows.keep(),
  };
};

const plugin = newPlugin('sample', 'v1.0.0', newClient, { team: 'highwater', kind: 'destination' });
createServeCommand(plugin).parse();
