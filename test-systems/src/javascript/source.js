// A source on CloudQuery's JavaScript SDK: what Highwater's tests read through the real thing.
//
// spec: {"rows": N, "version": TEXT, "cities": [NAME...], "pause": MILLISECONDS, "fail": TABLE, "skip": ID, "exit_after": N,
//        "refuse": true, "data": FILE}
//
// `pause` is waited before every tenth person, `skip` is a person whose row the SDK drops with a line in its log, as it does
// with the table of `fail`. `data` is a JSON file with any of these fields, read at each start: the system that changes.

import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';

import { Int64, TimestampMicrosecond } from '@cloudquery/plugin-sdk-javascript/arrow';
import { newPlugin, newUnimplementedDestination } from '@cloudquery/plugin-sdk-javascript/plugin/plugin';
import { createServeCommand } from '@cloudquery/plugin-sdk-javascript/plugin/serve';
import { sync } from '@cloudquery/plugin-sdk-javascript/scheduler';
import { createColumn } from '@cloudquery/plugin-sdk-javascript/schema/column';
import { parentColumnResolver, pathResolver } from '@cloudquery/plugin-sdk-javascript/schema/resolvers';
import { createTable, filterTables } from '@cloudquery/plugin-sdk-javascript/schema/table';
import { JSONType } from '@cloudquery/plugin-sdk-javascript/types/json';
import { UUIDType } from '@cloudquery/plugin-sdk-javascript/types/uuid';

const column = (name, rest = {}) => createColumn({ name, resolver: pathResolver(name), ...rest });

const uuid = (number) => `00000000-0000-4000-8000-${number.toString(16).padStart(12, '0')}`;

const tables = (spec) => {
  const version = spec.version ?? '';
  const notes = createTable({
    name: 'people_notes',
    resolver: async (_client, _parent, stream) => {
      stream.write({ note: 'hello' + version });
    },
    columns: [
      createColumn({
        name: 'person',
        type: new Int64(),
        primaryKey: true,
        notNull: true,
        resolver: parentColumnResolver('id'),
      }),
      column('note'),
    ],
  });
  const people = createTable({
    name: 'people',
    resolver: async (_client, _parent, stream) => {
      for (let id = 0; id < (spec.rows ?? 3); id++) {
        stream.write({ id, name: `name ${id}${version}`, extra: { number: id }, uid: uuid(id), seen: new Date(1e12 + id) });
      }
      if (spec.fail === 'people') {
        throw new Error('the sample was told to fail');
      }
    },
    preResourceResolver: async (_client, resource) => {
      const id = resource.getItem().id;
      if (id === spec.exit_after) {
        console.log('the sample ends in the middle');
        process.exit(3);
      }
      if (id === spec.skip) {
        throw new Error('the sample was told to skip a row');
      }
      if (id % 10 === 9) {
        await wait(spec.pause ?? 0);
      }
    },
    columns: [
      column('id', { type: new Int64(), primaryKey: true, notNull: true }),
      column('name'),
      column('extra', { type: new JSONType() }),
      column('uid', { type: new UUIDType() }),
      column('seen', { type: new TimestampMicrosecond('UTC') }),
    ],
    relations: [notes],
  });
  const cities = createTable({
    name: 'cities',
    resolver: async (_client, _parent, stream) => {
      for (const city of spec.cities ?? ['Paris', 'Rome']) {
        stream.write({ city });
      }
    },
    columns: [column('city', { primaryKey: true, notNull: true })],
  });
  return [people, cities];
};

const newClient = async (_logger, text) => {
  const spec = JSON.parse(text);
  if (spec.data) {
    Object.assign(spec, JSON.parse(readFileSync(spec.data)));
  }
  if (spec.refuse) {
    throw new Error('the spec asks to be refused');
  }
  const chosen = (options) =>
    filterTables(tables(spec), options.tables, options.skipTables, options.skipDependentTables);
  return {
    id: () => 'only',
    ...newUnimplementedDestination(),
    close: async () => {},
    tables: async (options) => chosen(options),
    sync: (options) => {
      const { stream, deterministicCQId } = options;
      const client = { id: () => 'only' };
      return sync({ logger: plugin.getLogger(), client, stream, deterministicCQId, tables: chosen(options), concurrency: 10 });
    },
  };
};

const plugin = newPlugin('sample', 'v1.0.0', newClient, { team: 'highwater', kind: 'source' });
createServeCommand(plugin).parse();
