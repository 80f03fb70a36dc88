// Tables on the status page. Called by status.js.
'use strict';

const tableRows = new Rows($('tables').tBodies[0], (t) => {
  const node = tableRow();
  const nameCell = cell(node, 'c-name', 'Name');
  const open = make('button', 'name mono');
  open.type = 'button';
  open.addEventListener('click', () => go({entries: t.name}));
  const note = make('span', 'sub');
  nameCell.append(open, note);
  return {
    node, open, note,
    type: cell(node, 'c-type', 'Key'),
    entries: cell(node, 'c-count num', 'Entries'),
    rate: cell(node, 'c-rate num', 'Updates/s'),
    changed: cell(node, 'c-time num', 'Last change'),
    expiry: cell(node, 'c-time num', 'Expiry'),
    memory: cell(node, 'c-mem num', 'Memory'),
    columns: cell(node, 'c-cols', 'Stored'),
  };
});

// http_req_rate(10000) as it is written in a configuration: http_req_rate(10s).
const withPeriod = (column) => column.replace(/\((\d+)\)/, (_, ms) => '(' + duration(Number(ms)).replace(' ', '') + ')');

// Who defines a table otherwise: name of the table -> HAProxys.
const rivals = new Map();

function tableNote(t) {
  const words = [];
  if (t.refused) words.push(entriesOf(t.refused) + ' refused, full');
  if (t.evicted) words.push(whole.format(t.evicted) + ' evicted, full');
  const others = rivals.get(t.name);
  if (others) words.push(listed(others, 2) + (others.length === 1 ? ' defines' : ' define') + ' it otherwise');
  else if (t.conflicts) words.push(plural(t.conflicts, 'differing definition') + ' so far');
  return words.join(' · ');
}

const tableTrouble = (t) => Boolean(t.refused || t.evicted || rivals.has(t.name));
const keyType = (t) => t.type === 'string' ? 'string ' + (t.key_bytes - 1) :
  t.type === 'binary' ? 'binary ' + t.key_bytes : t.type;

function showTable(row, t, now) {
  text(row.open, t.name);
  title(row.open, 'Show its entries');
  text(row.note, tableNote(t));
  flag(row.note, 'alarm', tableTrouble(t));
  text(row.type, keyType(t));
  text(row.entries, whole.format(t.entries));
  title(row.entries, 'memory for ' + whole.format(t.slots) + ' at present');
  text(row.rate, rate(t.per_s));
  title(row.rate, plural(t.updates, 'update') + ' in all');
  since(row.changed, t.updated_ms, now);
  text(row.expiry, duration(t.expire_ms));
  text(row.memory, bytes(t.bytes));
  text(row.columns, t.columns.map(withPeriod).join(', ') || 'the key alone');
}

const tableList = new List($('tables'), tableRows, {
  noun: ['a table', 'tables'],
  key: (t) => t.name,
  words: (t) => [t.name, t.type, ...t.columns, tableNote(t)].join(' '),
  trouble: tableTrouble,
  orders: [(t) => t.name, keyType, (t) => t.entries, (t) => t.per_s, (t) => t.updated_ms,
           (t) => t.expire_ms, (t) => t.bytes, null],
});

function showTables(s, now) {
  rivals.clear();
  for (const p of s.peers) {
    for (const t of p.tables) {
      if (t.conflict) rivals.set(t.name, [...rivals.get(t.name) || [], p.name || p.address]);
    }
  }
  const tables = [...s.tables].sort((a, b) => a.name.localeCompare(b.name));
  $('tables-none').hidden = tables.length > 0;
  tableList.show(tables, (row, t) => showTable(row, t, now));
}

function tableProblems(s, add) {
  for (const t of s.tables) {
    const say = (kind, words) => add(kind + ' ' + t.name, 'Table ' + t.name + ' ' + words, hashOf({entries: t.name}));
    if (grew('refused ' + t.name, t.refused) > 0) say('refused', 'is full and refuses new entries.');
    if (grew('evicted ' + t.name, t.evicted) > 0) say('evicted', 'is full and drops its oldest entries.');
  }
}
