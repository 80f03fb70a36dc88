// Entries of a table: one page of them, searched, filtered and sorted by lineq-web; live while it is
// looked at; and one entry with what can be done to it. The page never holds more than is on show.
'use strict';

const PAGE = 50;
const OPERATORS = {eq: '=', ne: '≠', le: '≤', ge: '≥', lt: '<', gt: '>'};
const ASK_MS = 3000;         // where no changes are pushed, and for what changes without being told
const ASK_PUSHED_MS = 10000; // of itself: rates and expiry
const ASK_COST = 20;         // and so many times longer than the last answer took
const PATIENCE_MS = 60000;   // ten million entries are sorted in a while, not at once
const MARK_MS = 3000;

// ---- filters -----------------------------------------------------------------------------------

// 'gpc0 gt 5' as it is in the address and on the page -> its parts.
const partsOf = (filter) => /^(\S+) (eq|ne|le|ge|lt|gt) (.+)$/.exec(filter);

// What HAProxy's own commands understand, pasted: `data.gpc0 gt 5 data.conn_cnt lt 3`, with or
// without `show table NAME` -> filters; null when it is something else.
function filtersIn(line) {
  const filters = [];
  const rest = line.replace(/data\.([a-z0-9_]+(?:\[\d+\])?)(?:\(\d+\))?\s+(eq|ne|le|ge|lt|gt)\s+(\S+)/g,
    (_, column, op, value) => { filters.push(column + ' ' + op + ' ' + value); return ''; });
  return filters.length > 0 && /^\s*(show\s+table\s+\S+\s*)?$/.test(rest) ? filters : null;
}

// gpc with three elements is three columns; its name is what filters and `sort` call it.
function flat(columns) {
  return columns.flatMap((c) => Array.from({length: c.elements || 1}, (_, i) => ({
    name: c.elements ? c.name + '[' + i + ']' : c.name,
    data: c.name, element: i, period_ms: c.period_ms,
  })));
}
const valueOf = (entry, column) => [entry.values[column.data]].flat()[column.element];
const shownValue = (v) => v === null || v === undefined ? '–' : typeof v === 'number' ? whole.format(v) : v;

// ---- what is on show ---------------------------------------------------------------------------

const entries = {
  table: null, key: null, query: null,  // of the address
  page: 1, cursors: [],                 // how the reader came here: the cursor of every page so far
  columns: [], columnsText: '', rows: null,
  next: null, count: 0, used: 0,
  request: 0, asked: 0, cost: 0, waiting: false, stale: false,
  asking: null,                         // ends the request under way: the next one overtakes it
};

// The address of the same entries, but for what `change` says; from the first page, unless told.
function goEntries(change) {
  const params = onShow();
  for (const name of ['cursor', 'page', 'key']) params.delete(name);
  for (const [name, value] of Object.entries(change)) {
    params.delete(name);
    for (const one of [value].flat()) if (one) params.append(name, one);
  }
  go(params);
}

function queryOf(params) {
  const query = new URLSearchParams({format: 'v2', table: params.get('entries'), limit: PAGE});
  for (const name of ['search', 'sort', 'cursor']) if (params.get(name)) query.set(name, params.get(name));
  for (const filter of params.getAll('filter')) {
    const parts = partsOf(filter);  // what is none is refused, in words
    query.append('data.' + (parts ? parts[1] + '.' + parts[2] : filter), parts ? parts[3] : '');
  }
  return query.toString();
}

function routeEntries(params) {
  const table = params.get('entries') || null;
  const key = table !== null && params.has('key') ? params.get('key') : null;
  const query = table === null ? null : queryOf(params);
  const another = table !== entries.table;
  $('entries-section').hidden = table === null;
  if (another) {
    entries.table = table;
    entries.cursors = [];
    clearRows();
  }
  if (table !== null) {
    text($('entries-table'), table);
    $('entries-search').value = params.get('search') || '';
    showFilters(params.getAll('filter'));
    markSorted(params.get('sort') || '');
    entries.page = Math.max(1, Number(params.get('page')) || 1);
    entries.cursors[entries.page] = params.get('cursor') || '';
    entries.cursors.length = entries.page + 1;
  }
  const newQuery = query !== entries.query;
  entries.query = query;
  if (table === null) {
    follow(null);
    ++entries.request;
    if (entries.asking) entries.asking.abort();
    entries.waiting = false;
  } else if (newQuery) {
    loadEntries(false);
  }
  if (another && table !== null && key === null) arrive($('entries-section'), $('entries-title'));
  routeEntry(key);
}

// ---- the table ---------------------------------------------------------------------------------

function clearRows() {
  entries.columns = [];
  entries.columnsText = '';
  entries.next = null;
  $('entries').tHead.rows[0].replaceChildren();
  $('entries').tBodies[0].replaceChildren();
  entries.rows = new Rows($('entries').tBodies[0], buildRow);
}

// Numbers are looked for from the largest, names and times from the first.
function heading(words, order, largestFirst) {
  const th = make('th', order === 'key' ? '' : 'num');
  th.scope = 'col';
  th.dataset.order = order;
  const button = make('button', 'sort', words);
  button.type = 'button';
  button.addEventListener('click', () => {
    const now = onShow().get('sort') || '';
    const [one, other] = largestFirst ? ['-' + order, order] : [order, '-' + order];
    goEntries({sort: now === one ? other : now === other ? '' : one});
  });
  th.append(button);
  return th;
}

function showColumns(columns) {
  const words = JSON.stringify(columns);
  if (words === entries.columnsText) return;
  clearRows();
  entries.columnsText = words;
  entries.columns = flat(columns);
  const title = (c) => c.name + (c.period_ms ? ' / ' + duration(c.period_ms) : '');
  $('entries').tHead.rows[0].replaceChildren(
    heading('Key', 'key', false), heading('Expires in', 'expiry', false),
    ...entries.columns.map((c) => heading(title(c), c.name, true)));
  markSorted(onShow().get('sort') || '');
  const chosen = $('filter-column').value;
  $('filter-column').replaceChildren(...entries.columns.map((c) => make('option', '', c.name)));
  if (entries.columns.some((c) => c.name === chosen)) $('filter-column').value = chosen;
}

function markSorted(sort) {
  for (const th of $('entries').tHead.rows[0].cells) {
    if (sort === th.dataset.order) th.setAttribute('aria-sort', 'ascending');
    else if (sort === '-' + th.dataset.order) th.setAttribute('aria-sort', 'descending');
    else th.removeAttribute('aria-sort');
  }
}

function shortKey(key) {
  return key.length > 16 && !$('entries-whole').checked ? key.slice(0, 10) + '…' + key.slice(-3) : key;
}

function buildRow(e) {
  const node = make('tr');
  const keyCell = make('td', 'key mono');
  keyCell.dataset.key = e.key;
  const link = make('a', '', shortKey(e.key));
  link.addEventListener('click', (event) => {
    event.preventDefault();
    openEntry(e.key);
  });
  keyCell.append(link);
  const expiry = make('td', 'num');
  const cells = entries.columns.map(() => make('td', 'num'));
  node.append(keyCell, expiry, ...cells);
  return {node, keyCell, link, expiry, cells, id: e.id, fresh: true};
}

const marks = new WeakMap();
function put(td, words, mark) {
  words = String(words);
  if (td.textContent === words) return;
  td.textContent = words;
  if (!mark) return;
  td.classList.add('changed');
  clearTimeout(marks.get(td));
  marks.set(td, setTimeout(() => td.classList.remove('changed'), MARK_MS));
}

function showRow(row, e) {
  row.gone = false;
  row.until = e.expires_ms === null || e.expires_ms === undefined ? null : Date.now() + e.expires_ms;
  showExpiry(row);
  row.cells.forEach((td, i) => put(td, shownValue(valueOf(e, entries.columns[i])), !row.fresh));
  row.fresh = false;
}

function showExpiry(row) {
  const left = row.until === null ? null : row.until - Date.now();
  const over = row.gone || left !== null && left <= 0;
  text(row.expiry, row.gone ? 'gone' : over ? 'expired' : left === null ? 'never' : span(left));
  title(row.expiry, left === null ? '' : exact(row.until));
  flag(row.node, 'over', over);
}

// ---- asking ------------------------------------------------------------------------------------

// `again`: the same page once more, for what has changed meanwhile.
async function loadEntries(again) {
  const request = ++entries.request;
  const params = onShow();
  const begun = performance.now();
  if (entries.asking) entries.asking.abort();
  const asking = entries.asking = new AbortController();
  const patience = setTimeout(() => asking.abort(), PATIENCE_MS);
  entries.waiting = true;
  if (!again) {
    $('entries-scroll').classList.add('waiting');
    const t = latest && latest.tables.find((one) => one.name === entries.table);
    text($('entries-note'), 'looking' + (t ? ' through ' + entriesOf(t.entries) : '') + ' …');
  }
  let note = '';
  let failed = true;
  try {
    const answer = await fetch('/tables?' + entries.query, {cache: 'no-store', signal: asking.signal});
    if (answer.ok) {
      const state = await answer.json();
      if (request !== entries.request) return;
      const t = state.tables[0];
      failed = false;
      showColumns(t.columns);
      entries.next = state.next;
      entries.count = t.entries.length;
      entries.used = t.used;
      entries.matched = params.has('sort') ? t.matched : null;  // else it was not counted to the end
      entries.rows.show(t.entries, (e) => e.id, showRow);
      addresses();
      note = onShowNow();
      follow(entries.table, t.entries.map((e) => e.id));
    } else {
      note = (await answer.text()).trim().slice(0, 300);
    }
  } catch {
    note = 'lineq-web did not answer.';
  }
  clearTimeout(patience);
  if (request !== entries.request) return;
  entries.waiting = false;
  entries.asked = performance.now();
  entries.cost = entries.asked - begun;
  if (failed && !again) {
    entries.rows.show([], (e) => e.id, showRow);
    entries.next = null;
  }
  $('entries-scroll').classList.remove('waiting');
  flag($('entries-note'), 'alarm', failed);
  text($('entries-note'), note);
  $('entries-first').disabled = entries.page === 1 && !failed;
  const before = entries.page - 1;  // unknown of a page that somebody else has found
  $('entries-back').disabled = before === 0 || before > 1 && entries.cursors[before] === undefined;
  $('entries-next').disabled = !entries.next;
}

function onShowNow() {
  const params = onShow();
  const some = params.get('search') || params.getAll('filter').length > 0;
  const first = (entries.page - 1) * PAGE + 1;
  const table = whole.format(entries.used);
  if (entries.count === 0) {
    return entries.page > 1 ? 'There are no more.' :
      some ? 'There is no entry like this among ' + table + '.' : 'The table is empty.';
  }
  const range = whole.format(first) + (entries.count === 1 ? '' : '–' + whole.format(first + entries.count - 1));
  if (some) {
    const of = entries.matched ? ' of ' + whole.format(entries.matched) + ' that match' :
      entries.next ? ' of those that match' : entries.page > 1 ? ', the last that match' : ', all that match';
    return range + of + '; the table has ' + table;
  }
  return range + ' of ' + table;
}

// Each key leads to its entry, also in another window.
function addresses() {
  const params = onShow();
  for (const row of entries.rows.rows.values()) {
    params.set('key', row.keyCell.dataset.key);
    row.link.href = hashOf(params);
  }
}
function openEntry(key) {
  const params = onShow();
  params.set('key', key);
  go(params);
}

// Every second.
function showEntries(s, stale) {
  if (entries.table === null) return;
  entries.stale = stale;
  const t = s.tables.find((one) => one.name === entries.table);
  const others = t && rivals.get(t.name);
  text($('entries-facts'), !t ? '' : [
    keyType(t), entriesOf(t.entries), bytes(t.bytes), t.expire_ms ? 'expiry ' + duration(t.expire_ms) : 'never expires',
    stale ? '' : rate(t.per_s) + ' updates/s', others ? 'defined otherwise by ' + listed(others) : '',
  ].filter(Boolean).join(' · '));
  for (const row of entries.rows.rows.values()) showExpiry(row);
  const node = $('entries-link');
  const pushed = push.open;
  sign(node.firstElementChild, stale ? '' : pushed ? 'ok' : 'half');
  text(node.lastElementChild, stale ? 'standing still' : pushed ? 'live' : 'live, by asking again');
  if (stale || document.hidden || entries.waiting) return;
  const every = Math.max(pushed ? ASK_PUSHED_MS : ASK_MS, ASK_COST * entries.cost);
  const busy = $('entries').tBodies[0].matches(':focus-within');
  if (!busy && performance.now() - entries.asked > every) loadEntries(true);
}

// ---- changes, pushed ---------------------------------------------------------------------------

const push = {socket: null, table: null, ids: [], open: false, after: 0, tries: 0};

// Changes of these entries from now on; null: of none.
function follow(table, ids = []) {
  push.ids = ids;
  if (table !== push.table) {
    push.table = table;
    push.tries = 0;
    hangUp();
    if (table !== null) connect();
  } else if (push.open) {
    watch();
  } else if (table !== null && push.socket === null && performance.now() > push.after) {
    connect();
  }
}
function watch() {
  push.socket.send(JSON.stringify({watch: {table: push.table, ids: push.ids}}));
}
function hangUp() {
  const socket = push.socket;
  push.socket = null;
  push.open = false;
  if (socket) socket.close();
}
function connect() {
  const query = new URLSearchParams({table: push.table, format: 'v2', initial: '0'});
  const socket = new WebSocket(location.origin.replace(/^http/, 'ws') + '/ws?' + query);
  push.socket = socket;
  socket.addEventListener('open', () => {
    if (socket !== push.socket) return;
    push.open = true;
    push.tries = 0;
    watch();
  });
  socket.addEventListener('message', (event) => {
    if (socket === push.socket) heard(JSON.parse(event.data));
  });
  socket.addEventListener('close', () => {
    if (socket !== push.socket) return;
    hangUp();
    push.after = performance.now() + Math.min(30000, 2000 * 2 ** push.tries++);
  });
}
function heard(news) {
  if (news.table !== entries.table) return;
  const rows = entries.rows.rows;
  for (const e of news.entries || []) if (rows.has(e.id)) showRow(rows.get(e.id), e);
  for (const id of news.ids || []) {  // its place stays: nothing jumps
    if (!rows.has(id)) continue;
    rows.get(id).gone = true;
    showExpiry(rows.get(id));
  }
}
document.addEventListener('visibilitychange', () => {
  if (document.hidden) hangUp();
  else if (entries.table !== null) loadEntries(true);
});

// ---- search, filters, pages --------------------------------------------------------------------

for (const [op, sign] of Object.entries(OPERATORS)) {
  const option = make('option', '', op + ' ' + sign);
  option.value = op;
  $('filter-op').append(option);
}
$('filter-op').value = 'gt';

const filterRows = new Rows($('filters'), (filter) => {
  const node = make('li');
  const button = make('button', 'chip');
  button.type = 'button';
  button.append(make('span', 'mono', filter), make('span', 'cross', ' ×'));
  button.setAttribute('aria-label', 'Take the filter ' + filter + ' away');
  button.addEventListener('click', () => {
    goEntries({filter: onShow().getAll('filter').filter((one) => one !== filter)});
    $('filter-value').focus();
  });
  node.append(button);
  return {node};
});
function showFilters(filters) {
  filterRows.show([...new Set(filters)], (f) => f, () => {});
  $('filters').hidden = filters.length === 0;
}
function addFilters(more, change = {}) {
  goEntries({...change, filter: [...new Set([...onShow().getAll('filter'), ...more])]});
}
function addFilter() {
  const value = $('filter-value').value.trim();
  const pasted = filtersIn(value);
  if (!value) {
    $('filter-value').focus();
    return;
  }
  $('filter-value').value = '';
  addFilters(pasted || [$('filter-column').value + ' ' + $('filter-op').value + ' ' + value]);
}
$('filter-add').addEventListener('click', addFilter);
$('filter-value').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter') return;
  event.preventDefault();
  addFilter();
});
$('entries-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const search = $('entries-search').value;
  const pasted = filtersIn(search);
  if (pasted) addFilters(pasted, {search: ''});
  else if (search === (onShow().get('search') || '') && !onShow().has('cursor')) loadEntries(false);
  else goEntries({search});
});
$('entries-search').addEventListener('search', () => {  // its cross was pressed
  if (!$('entries-search').value && onShow().get('search')) goEntries({search: ''});
});
$('entries-open').addEventListener('click', () => {
  const key = $('entries-search').value;
  if (key) openEntry(key);
  else $('entries-search').focus();
});
$('entries-first').addEventListener('click', () => {
  if (onShow().has('cursor')) goEntries({});
  else loadEntries(false);
});
$('entries-back').addEventListener('click', () => {
  const page = entries.page - 1;
  goEntries(page <= 1 ? {} : {cursor: entries.cursors[page], page});
});
$('entries-next').addEventListener('click', () => {
  goEntries({cursor: entries.next, page: entries.page + 1});
});
$('entries-whole').addEventListener('change', () => {
  for (const row of entries.rows.rows.values()) text(row.link, shortKey(row.keyCell.dataset.key));
});

// ---- one entry ---------------------------------------------------------------------------------

let entryKey = null;
let entryRequest = 0;
const entryRows = pairRows($('entry-values'));
const partRows = new Rows($('entry-peers').tBodies[0], () => {
  const node = make('tr');
  const name = make('th');
  name.scope = 'row';
  node.append(name);
  return {node, name, cells: []};
});

function routeEntry(key) {
  const another = key !== entryKey;
  entryKey = key;
  $('entry-section').hidden = key === null;
  if (key === null || !another) return;
  text($('entry-key'), key);
  text($('entry-note'), '');
  text($('entry-form').querySelector('.answer'), '');
  entryRows.show([], (f) => f, () => {});
  $('entry-parts').hidden = true;
  $('entry-value').value = '';
  loadEntry();
  arrive($('entry-section'), $('entry-title'));
}

async function loadEntry() {
  const request = ++entryRequest;
  const query = new URLSearchParams({format: 'v2', peers: '1', table: entries.table, key: entryKey});
  try {
    const answer = await fetch('/tables?' + query, {cache: 'no-store', signal: AbortSignal.timeout(5000)});
    if (!answer.ok) throw new Error((await answer.text()).trim().slice(0, 300));
    const state = await answer.json();
    if (request === entryRequest && entryKey !== null) showEntry(state.tables[0]);
  } catch (error) {
    if (request === entryRequest) text($('entry-note'), error.name === 'Error' ? error.message : 'lineq-web did not answer.');
  }
}

function showEntry(t) {
  const e = t.entries[0];
  const columns = flat(t.columns);
  const names = columns.map((c) => c.name);
  const select = $('entry-column');
  if ([...select.options].map((o) => o.value).join() !== names.join()) {
    select.replaceChildren(...names.map((name) => make('option', '', name)));
  }
  $('entry-clear').disabled = !e;
  text($('entry-note'), e ? '' : 'There is no entry with this key (any more). To set a value makes it.');
  const now = Date.now();
  const facts = e ? [
    ...columns.map((c) => ({name: c.name + (c.period_ms ? ' / ' + duration(c.period_ms) : ''),
                            value: shownValue(valueOf(e, c)), mark: true})),
    {name: 'expires in', value: e.expires_ms === null ? 'never' : span(e.expires_ms)},
    {name: 'expires at', value: e.expires_ms === null ? '–' : exact(now + e.expires_ms)},
    {name: 'last change', value: span(e.age_ms) + (e.age_ms < 1000 ? '' : ' ago')},
    {name: 'changed at', value: exact(now - e.age_ms)},
  ] : [];
  entryRows.show(facts, (f) => f.name, (row, f) => {
    text(row.name, f.name);
    put(row.value, f.value, f.mark && row.value.textContent !== '');
  });
  const parts = Object.entries(e && e.peers || {});
  $('entry-parts').hidden = parts.length === 0;
  if (parts.length === 0) return;
  const heads = ['HAProxy', ...names];
  const tr = $('entry-peers').tHead.rows[0];
  if ([...tr.cells].map((c) => c.textContent).join() !== heads.join()) {
    tr.replaceChildren(...heads.map((name, i) => {
      const th = make('th', i === 0 ? '' : 'num', name);
      th.scope = 'col';
      return th;
    }));
  }
  partRows.show(parts, (p) => p[0], (row, [label, values]) => {
    text(row.name, label);
    while (row.cells.length < columns.length) row.node.append(row.cells[row.cells.push(make('td', 'num')) - 1]);
    columns.forEach((c, i) => put(row.cells[i], shownValue(valueOf({values}, c)), row.cells[i].textContent !== ''));
  });
}
setInterval(() => {
  if (entryKey !== null && !document.hidden && !entries.stale) loadEntry();
}, 2000);

$('entry-close').addEventListener('click', () => {
  const params = onShow();
  params.delete('key');
  go(params);
  arrive($('entries-section'), $('entries-title'));
});

const pathOfEntry = () => '/tables/' + encodeURIComponent(entries.table) + '/keys/' + encodeURIComponent(entryKey);
const changed = (made) => { if (made) { loadEntry(); loadEntries(true); } };

$('entry-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const column = $('entry-column').value;
  const value = $('entry-value').value.trim();
  // Digits as they are: 64 bits do not fit into a number of JavaScript's.
  const number = /^-?\d+$/.test(value) ? value : JSON.stringify(value);
  const expire = $('entry-expire').value;
  const body = '{"values":{' + JSON.stringify(column) + ':' + number + '}' +
    (expire === '' ? '' : ',"expire_ms":' + Math.round(Number(expire) * 1000)) + '}';
  changed(await order($('entry-form'), 'PUT', pathOfEntry(), body,
                      (result) => (result && result.created ? 'Made, with ' : 'Set: ') + column + ' = ' + value + '.'));
});
$('entry-clear').addEventListener('click', async () => {
  if (!await sure('Clear the entry ' + entryKey + ' of table ' + entries.table +
                  '? Its values become 0 on every HAProxy that is connected; one that is away brings it back.',
                  'Clear the entry')) return;
  changed(await order($('entry-form'), 'DELETE', pathOfEntry(), undefined,
                      (result) => result && result.cleared === 0 ? 'It was gone already.' : 'Cleared.'));
});
