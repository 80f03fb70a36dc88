// The status page. Everything it shows comes from /status.json, pushed once a second as events from
// /status/events, polled when events do not get through.
'use strict';

const LATE_MS = 4500;        // without news for so long, ask
const POLL_MS = 3000;
const GONE_MS = 3600 * 1000; // a HAProxy away for longer is not on show
const SILENT_MS = 6000;      // twice its heartbeat
const TEACH_MS = 15000;
const LAG = 10000;
const IN_SYNC = ['complete', 'partial'];
const PAGE = 50;
const MOST_PROBLEMS = 20;

// ---- HAProxys ----------------------------------------------------------------------------------

const PEER_WORDS = {up: 'up', connecting: 'connecting', down: 'down', unknown: 'not known'};
const PEER_SIGNS = {up: 'ok', connecting: 'half', down: 'bad', unknown: ''};

const peerRows = new Rows($('peers').tBodies[0], (p) => {
  const node = tableRow();
  const nameCell = cell(node, 'c-name', 'Name');
  const open = make('button', 'name');
  open.type = 'button';
  open.addEventListener('click', () => { location.hash = 'haproxy=' + p.record; });
  const place = make('span', 'sub');
  nameCell.append(open, place);
  const stateCell = cell(node, 'c-state', 'State');
  const state = make('span');
  const mark = make('span', 'sign');
  mark.setAttribute('aria-hidden', 'true');
  const word = make('span');
  const age = make('span', 'sub');
  state.append(mark, word);
  stateCell.append(state, age);
  return {
    node, open, place, mark, word, age,
    last: cell(node, 'c-time num', 'Last message'),
    into: cell(node, 'c-rate num', 'In/s'),
    out: cell(node, 'c-rate num', 'Out/s'),
    lag: cell(node, 'c-lag num', 'Lag'),
    sync: pair(cell(node, 'c-sync', 'Resync')),
    errors: cell(node, 'c-err num', 'Errors'),
  };
});

const LESSON = {none: 'not yet', running: 'under way', complete: 'complete', partial: 'all it had'};

function peerTitle(p) {
  return (p.name || 'nameless') + ' (' + p.address + ')';
}

function showPeer(row, p, now) {
  text(row.open, p.name || 'nameless');
  title(row.open, 'Show what it tells about each table');
  text(row.place, p.address + (p.pid ? ' · pid ' + p.pid : '') +
       (p.direction === 'out' ? ' · called by us' : ''));
  sign(row.mark, PEER_SIGNS[p.state]);
  text(row.word, PEER_WORDS[p.state]);
  flag(row.word, 'alarm', p.state === 'down');
  since(row.age, p.state === 'unknown' ? undefined : p.since_ms, now);
  since(row.last, p.silent_ms, now);
  flag(row.last, 'alarm', p.state === 'up' && p.silent_ms > SILENT_MS);
  text(row.into, rate(p.in_per_s));
  title(row.into, plural(p.updates_in, 'update') + ' received');
  text(row.out, rate(p.out_per_s));
  title(row.out, plural(p.updates_out, 'update') + ' sent');
  text(row.lag, whole.format(p.lag));
  flag(row.lag, 'alarm', p.lag > LAG);
  // A HAProxy that was not complete itself has told all it had: nothing is missing.
  const done = IN_SYNC.includes(p.taught_us) && p.we_taught === 'complete';
  text(row.sync.main, done ? 'complete' : 'from it: ' + LESSON[p.taught_us]);
  text(row.sync.sub, done ? '' : 'to it: ' + LESSON[p.we_taught]);
  title(row.sync.main, plural(p.resyncs_in, 'resynchronisation') + ' received');
  title(row.sync.sub, plural(p.resyncs_out, 'resynchronisation') + ' sent');
  text(row.errors, whole.format(p.protocol_errors));
  flag(row.errors, 'alarm', p.protocol_errors > 0);
}

// ---- what one HAProxy tells about each table ---------------------------------------------------

let told = null;  // its record

const toldRows = new Rows($('told').tBodies[0], () => {
  const node = make('tr');
  const add = (className) => {
    const td = make('td', className);
    node.append(td);
    return td;
  };
  return {node, name: add('mono'), note: add('c-note'), announced: add('num'), updated: add('num'),
          updates: add('num')};
});

function toldNote(t) {
  const words = [];
  if (t.missing) words.push('missing: others have this table');
  if (t.conflict) words.push('defined otherwise than by others');
  if (t.silent) words.push('silent, while others are not');
  if (t.refused_values) words.push(plural(t.refused_values, 'impossible value') + ' not used');
  return words.join(' · ');
}

function showTold(s, now, stale) {
  const p = s.peers.find((one) => one.record === told);
  $('told-section').hidden = !p;
  if (!p) return;
  text($('told-name'), 'Tables of ' + (p.label || peerTitle(p)));
  text($('told-note'), p.tables.length > 0 ? '' : 'It has announced no table yet.');
  $('told-scroll').hidden = p.tables.length === 0;
  toldRows.show(p.tables, (t) => t.name, (row, t) => {
    text(row.name, t.name);
    since(row.announced, t.announced_ms, now);
    since(row.updated, t.updated_ms, now);
    text(row.updates, whole.format(t.updates));
    const note = toldNote(t);
    text(row.note, note || (stale ? '–' : 'as it should be'));
    flag(row.note, 'alarm', note !== '');
    flag(row.note, 'soft', note === '');
  });
}

$('told-close').addEventListener('click', () => {
  history.replaceState(null, '', location.pathname);
  route();
});

const isGone = (p) => p.state !== 'up' && p.state !== 'connecting' && p.since_ms > GONE_MS;
let showGone = false;
$('gone-toggle').addEventListener('click', () => {
  showGone = !showGone;
  if (latest) show(latest);
});

// ---- tables ------------------------------------------------------------------------------------

const tableRows = new Rows($('tables').tBodies[0], (t) => {
  const node = tableRow();
  const nameCell = cell(node, 'c-name', 'Name');
  const open = make('button', 'name mono');
  open.type = 'button';
  open.addEventListener('click', () => { location.hash = 'entries=' + encodeURIComponent(t.name); });
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

function tableNote(t) {
  const words = [];
  if (t.refused) words.push(plural(t.refused, 'entry').replace('entrys', 'entries') + ' refused, full');
  if (t.evicted) words.push(whole.format(t.evicted) + ' evicted, full');
  if (t.conflicts) words.push(plural(t.conflicts, 'differing definition'));
  return words.join(' · ');
}

function showTable(row, t, now) {
  text(row.open, t.name);
  title(row.open, 'Show its entries');
  text(row.note, tableNote(t));
  flag(row.note, 'alarm', Boolean(t.refused || t.evicted));
  text(row.type, t.type === 'string' ? 'string ' + (t.key_bytes - 1) :
       t.type === 'binary' ? 'binary ' + t.key_bytes : t.type);
  text(row.entries, whole.format(t.entries));
  title(row.entries, 'memory for ' + whole.format(t.slots) + ' at present');
  text(row.rate, rate(t.per_s));
  title(row.rate, plural(t.updates, 'update') + ' in all');
  since(row.changed, t.updated_ms, now);
  text(row.expiry, duration(t.expire_ms));
  text(row.memory, bytes(t.bytes));
  text(row.columns, t.columns.map(withPeriod).join(', ') || 'the key alone');
}

// ---- what is wrong -----------------------------------------------------------------------------

// Counters that should stand still: name -> value when this page first saw it.
const baseline = new Map();
function grew(name, value) {
  if (!baseline.has(name) || value < baseline.get(name)) baseline.set(name, value);
  return value - baseline.get(name);
}

// Sentences for people, each with a key by which it is the same one second later.
function problemsOf(s) {
  const list = [];
  const add = (key, words) => list.push({key, words});
  if (!s.segment.attached) {
    add('segment', 'There is nothing to show: ' + s.segment.trouble + '.');
    return list;
  }
  const state = s.daemon.state;
  if (state === 'down') {
    add('daemon', 'lineqd is not running. What you see is its last state, of ' +
        clock(s.time_ms - s.daemon.heartbeat_age_ms) + '.');
  } else if (state === 'stalled') {
    add('daemon', 'lineqd (pid ' + s.daemon.pid + ') has stood still for ' +
        during(s.daemon.heartbeat_age_ms) + '.');
  } else if (state === 'restarting') {
    add('daemon', 'lineqd is starting and takes over what it finds.');
  }
  if (state === 'alive') {
    for (const p of s.peers) {
      if (!isGone(p)) peerProblems(p, (key, words) => add(key + ' ' + p.record, words));
    }
  }
  roomProblems(s, add);
  for (const t of s.tables) {
    if (grew('refused ' + t.name, t.refused) > 0) {
      add('refused ' + t.name, 'Table ' + t.name + ' is full and refuses new entries.');
    }
    if (grew('evicted ' + t.name, t.evicted) > 0) {
      add('evicted ' + t.name, 'Table ' + t.name + ' is full and drops its oldest entries.');
    }
  }
  if (grew('provision', s.counters.provision_failures) > 0) {
    add('provision', 'The system has refused memory for the segment: is /dev/shm full?');
  }
  const turned = grew('handshakes', s.counters.handshake_errors);
  if (turned > 0) {
    add('handshakes', plural(turned, 'connection') + ' turned away since this page was opened: ' +
        'wrong name or malformed hello.');
  }
  return list;
}

function peerProblems(p, add) {
  const name = peerTitle(p);
  if (p.state === 'down') {
    add('down', name + ' has been down for ' + during(p.since_ms) + '.');
  } else if (p.state === 'connecting') {
    add('connecting', name + ' does not answer yet.');
  } else if (p.silent_ms > SILENT_MS) {
    add('silent', name + ' has been silent for ' + during(p.silent_ms) + '.');
  }
  if (p.state === 'up' && p.since_ms > TEACH_MS && !IN_SYNC.includes(p.taught_us)) {
    add('teaching', name + ' has not finished teaching us its tables.');
  }
  if (p.lag > LAG) {
    add('lag', name + ' is ' + plural(p.lag, 'change') + ' behind.');
  }
  if (grew('errors ' + p.record, p.protocol_errors) > 0) {
    add('errors', name + ' has sent malformed messages since this page was opened.');
  }
  // One sentence of a kind, however many tables it is about.
  const about = (kind, wrong, words) => {
    const which = p.tables.filter(wrong);
    if (which.length === 0) return;
    const names = which.slice(0, 3).map((t) => t.name);
    if (which.length > 3) names.push(which.length - 3 + ' more');
    const last = names.pop();
    const list = names.length > 0 ? names.join(', ') + ' and ' + last : last;
    add(kind, words(which.length === 1 ? 'table ' + list : 'tables ' + list, which));
  };
  about('missing', (t) => t.missing, (tables) => name + ' lacks ' + tables + ', which others have.');
  about('conflict', (t) => t.conflict,
        (tables) => name + ' defines ' + tables + ' otherwise than others do.');
  about('mute', (t) => t.silent, (tables, which) => {
    const ages = which.map((t) => t.updated_ms).filter((ms) => ms !== null);
    return name + ' has told nothing about ' + tables +
      (ages.length > 0 ? ' for ' + during(Math.min(...ages)) : ' yet') + ', while others do.';
  });
  about('impossible', (t) => grew('impossible ' + p.record + ' ' + t.name, t.refused_values || 0) > 0,
        (tables) => name + ' sends impossible values for ' + tables + '; they are not used.');
}

function verdictOf(s, problems) {
  if (problems.length > 0) {
    return {kind: 'bad', words: problems.length === 1 ? 'One thing needs attention' :
            problems.length + ' things need attention'};
  }
  const up = s.peers.filter((p) => p.state === 'up').length;
  if (up === 0) return {kind: '', words: 'Ready, and no HAProxy is connected yet'};
  return {kind: 'ok', words: up === 1 ? 'All well: one HAProxy in sync' : 'All well: ' + up + ' HAProxys in sync'};
}

const problemRows = new Rows($('problems'), () => ({node: make('li')}));

// ---- first steps -------------------------------------------------------------------------------

const isLoopback = (host) => /^(localhost|127\.|::1$|\[::1\]$)/.test(host);

function showTeach(s) {
  const wanted = s.segment.attached && !s.peers.some((p) => !isGone(p));
  $('teach').hidden = !wanted;
  if (!wanted) return;
  const {name, port} = s.connect;
  let {host} = s.connect;
  const everywhere = ['0.0.0.0', '::', '*'].includes(host);
  if (everywhere) host = location.hostname.replace(/^\[|\]$/g, '');
  const address = host === 'localhost' ? '127.0.0.1' : host;
  const target = address.includes(':') ? '[' + address + ']:' + port : address + ':' + port;
  const lines = [
    ['global'],
    ['    localpeer hap1', 'its own name, another on each HAProxy'],
    [''],
    ['peers lineq'],
    ['    server hap1', 'itself, by that name'],
    ['    server ' + name + ' ' + target, 'this LineQ'],
    [''],
    ['backend per_address'],
    ['    stick-table type ip size 100k expire 30m store http_req_rate(10s) peers lineq'],
    [''],
    ['frontend web', 'in yours'],
    ['    http-request track-sc0 src table per_address'],
  ];
  const column = Math.max(...lines.filter((l) => l[1]).map((l) => l[0].length)) + 2;
  text($('teach-lines'), lines.map(([words, remark]) =>
    remark ? words.padEnd(column) + '# ' + remark : words).join('\n'));
  text($('teach-name'), name);
  const local = $('teach-local');
  local.hidden = !isLoopback(host) || everywhere;
  text(local, 'LineQ listens on ' + s.connect.host + ' only. For HAProxys on other machines start ' +
       'lineqd with SERVICE_TCP_HOST set to an address of this one.');
  const refused = s.counters ? s.counters.handshake_errors : 0;
  $('teach-refused').hidden = refused === 0;
  text($('teach-refused'), 'So far ' + plural(refused, 'connection') + (refused === 1 ? ' was' : ' were') +
       ' turned away: wrong name or malformed hello. The log of lineqd says which.');
}

if (navigator.clipboard) {
  const copy = $('teach-copy');
  copy.hidden = false;
  copy.addEventListener('click', async () => {
    await navigator.clipboard.writeText($('teach-lines').textContent);
    text(copy, 'Copied');
    setTimeout(() => text(copy, 'Copy'), 2000);
  });
}

// ---- processes and counters --------------------------------------------------------------------

function pairRows(list) {
  return new Rows(list, () => {
    const node = make('div');
    const name = make('dt');
    const value = make('dd');
    node.append(name, value);
    return {node, name, value};
  });
}
const machineRows = pairRows($('machine'));
const counterRows = pairRows($('counters'));

function showMachine(s) {
  const now = s.time_ms;
  const facts = [];
  if (s.daemon) {
    facts.push({name: 'lineqd', value: 'pid ' + s.daemon.pid});
    facts.push({name: 'lineqd running for', ms: s.daemon.state === 'down' ? null : s.daemon.started_ms});
    facts.push({name: 'last heartbeat', ms: s.daemon.heartbeat_age_ms});
    facts.push({name: 'restarts after a kill', value: whole.format(s.daemon.unclean_attaches)});
    facts.push({name: 'segment', value: bytes(s.segment.bytes)});
  }
  facts.push({name: 'lineq-web', value: 'pid ' + s.web.pid});
  facts.push({name: 'lineq-web running for', ms: s.web.started_ms});
  facts.push({name: 'open connections', value: whole.format(s.web.connections)});
  machineRows.show(facts, (f) => f.name, (row, f) => {
    text(row.name, f.name);
    if (f.value === undefined) since(row.value, f.ms, now); else text(row.value, f.value);
  });
  const counters = Object.entries(s.counters || {});
  $('counters-title').hidden = counters.length === 0;
  counterRows.show(counters, (c) => c[0], (row, [name, value]) => {
    text(row.name, name.replaceAll('_', ' '));
    text(row.value, name.includes('bytes') ? bytes(value) : whole.format(value));
    flag(row.value, 'zero', value === 0);
  });
}

// ---- the whole ---------------------------------------------------------------------------------

let latest = null;

function show(s) {
  latest = s;
  const attached = s.segment.attached;
  const now = s.time_ms - (s.data_age_ms || 0);
  const stale = attached && s.daemon.state !== 'alive' && s.daemon.state !== 'restarting';
  flag(document.body, 'stale', stale);
  if (stale) {  // nothing has a rate that nobody counts
    for (const p of s.peers) p.in_per_s = p.out_per_s = null;
    for (const t of s.tables) t.per_s = null;
  }
  text($('instance'), s.instance);
  text($('version'), 'LineQ ' + s.version);
  for (const node of document.querySelectorAll('.asof')) {
    text(node, stale ? 'as of ' + clock(s.time_ms - s.daemon.heartbeat_age_ms) : '');
  }

  const problems = problemsOf(s);
  const verdict = verdictOf(s, problems);
  $('verdict').hidden = false;
  flag($('verdict'), 'bad', verdict.kind === 'bad');
  const [mark, words] = $('verdict').querySelectorAll('.headline > span');
  sign(mark, verdict.kind);
  text(words, verdict.words);
  const listed = problems.slice(0, MOST_PROBLEMS);
  if (problems.length > listed.length) {
    listed.push({key: 'more', words: 'And ' + (problems.length - listed.length) + ' more.'});
  }
  problemRows.show(listed, (p) => p.key, (row, p) => text(row.node, p.words));
  document.title = (verdict.kind === 'bad' ? '▲ ' : '') + verdict.words + ' – LineQ ' + s.instance;

  showTeach(s);
  showMachine(s);
  for (const id of ['figures', 'peers-section', 'tables-section']) $(id).hidden = !attached;
  if (!attached) for (const id of ['told-section', 'rooms-section', 'room-section']) $(id).hidden = true;
  $('machine-section').hidden = false;
  if (!attached) return;

  const peers = [...s.peers].sort((a, b) => a.name.localeCompare(b.name) ||
                                  a.address.localeCompare(b.address) || a.record - b.record);
  const gone = peers.filter(isGone);
  const shown = showGone ? peers : peers.filter((p) => !isGone(p));
  $('peers-section').hidden = peers.length === 0;
  $('peers').hidden = shown.length === 0;
  peerRows.show(shown, (p) => p.record, (row, p) => showPeer(row, p, now));
  const toggle = $('gone-toggle');
  toggle.hidden = gone.length === 0;
  toggle.setAttribute('aria-expanded', String(showGone));
  text(toggle, showGone ? 'Hide HAProxys gone for more than an hour' :
       'Show ' + gone.length + ' gone for more than an hour');

  showRooms(s, now, stale);
  showTold(s, now, stale);

  const tables = [...s.tables].sort((a, b) => a.name.localeCompare(b.name));
  $('tables-none').hidden = tables.length > 0;
  $('tables').hidden = tables.length === 0;
  tableRows.show(tables, (t) => t.name, (row, t) => showTable(row, t, now));

  const up = s.peers.filter((p) => p.state === 'up').length;
  text($('figure-peers'), stale ? '–' : up + ' of ' + (peers.length - gone.length));
  text($('figure-in'), stale ? '–' : rate(s.in_per_s));
  text($('figure-out'), stale ? '–' : rate(s.out_per_s));
  text($('figure-entries'), whole.format(s.tables.reduce((sum, t) => sum + t.entries, 0)));
  text($('figure-memory'), bytes(s.segment.bytes));
  text($('figure-daemon'), s.daemon.state);
  flag($('figure-daemon'), 'alarm', s.daemon.state !== 'alive');
  title($('figure-daemon'), 'last heartbeat ' + exact(s.time_ms - s.daemon.heartbeat_age_ms));
}

// ---- news --------------------------------------------------------------------------------------

let source = null;
let lastNews = 0;     // Date.now() of the last state received
let lastPoll = 0;
let polled = false;   // it came by polling
let asking = false;

function link(kind, words, live) {
  const node = $('link');
  sign(node.firstElementChild, kind);
  text(node.lastElementChild, words);
  flag(node, 'live', live);
}

function received(textOfState, byPolling) {
  lastNews = Date.now();
  polled = byPolling;
  link('ok', polled ? 'live, by polling' : 'live', true);
  show(JSON.parse(textOfState));
}

function listen() {
  if (source) source.close();
  source = new EventSource('/status/events');
  source.addEventListener('status', (event) => received(event.data, false));
}

async function poll() {
  if (asking) return;
  asking = true;
  lastPoll = Date.now();
  try {
    const answer = await fetch('/status.json', {cache: 'no-store', signal: AbortSignal.timeout(5000)});
    if (answer.ok) received(await answer.text(), true);
  } catch {
    // tick() says so
  }
  asking = false;
}

function tick() {
  if (document.hidden) return;
  const now = Date.now();
  if (now - lastNews < LATE_MS && !polled) return;
  if (now - lastPoll >= POLL_MS) poll();
  if (now - lastNews >= LATE_MS + POLL_MS) {
    link('bad', lastNews ? 'no connection since ' + clock(lastNews) : 'no connection', false);
  }
  if (!source || source.readyState === EventSource.CLOSED) listen();
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden) {
    if (source) source.close();
    source = null;
  } else {
    listen();
    tick();
  }
});

// ---- entries of a table ------------------------------------------------------------------------

const entries = {table: null, cursor: null, request: 0};

function shortKey(key) {
  return key.length > 16 && !$('entries-whole').checked ? key.slice(0, 10) + '…' + key.slice(-3) : key;
}

function entriesHead(columns) {
  const tr = $('entries').tHead.rows[0];
  const cells = [make('th', '', 'Key'), make('th', 'num', 'Expires in')];
  for (const c of columns) {
    for (let i = 0; i < (c.elements || 1); ++i) {
      cells.push(make('th', 'num', c.name + (c.elements ? '[' + i + ']' : '') +
                      (c.period_ms ? ' / ' + duration(c.period_ms) : '')));
    }
  }
  for (const c of cells) c.scope = 'col';
  tr.replaceChildren(...cells);
}

function entriesRow(e, columns) {
  const tr = make('tr');
  const key = make('td', 'key mono', shortKey(e.key));
  key.dataset.key = e.key;
  tr.append(key, make('td', 'num', e.expires_ms === null ? 'never' : span(e.expires_ms)));
  for (const c of columns) {
    for (const v of [e.values[c.name]].flat()) {
      tr.append(make('td', 'num', v === null ? '–' : typeof v === 'number' ? whole.format(v) : v));
    }
  }
  return tr;
}

async function loadEntries(cursor) {
  const request = ++entries.request;
  const query = new URLSearchParams({format: 'v2', table: entries.table, limit: PAGE});
  const key = $('entries-key').value;
  if (key) query.set('key', key);
  if (cursor) query.set('cursor', cursor);
  let note = '';
  let rows = [];
  let next = null;
  try {
    const answer = await fetch('/tables?' + query, {signal: AbortSignal.timeout(15000)});
    if (request !== entries.request) return;
    if (answer.ok) {
      const state = await answer.json();
      if (request !== entries.request) return;
      const t = state.tables[0];
      entriesHead(t.columns);
      rows = t.entries.map((e) => entriesRow(e, t.columns));
      next = state.next;
      note = rows.length > 0 ? plural(rows.length, 'entry').replace('entrys', 'entries') +
             (next ? ', and more behind them' : cursor ? ', the last' : '') :
             key ? 'There is no entry with this key.' : cursor ? 'There are no more.' : 'The table is empty.';
    } else {
      note = (await answer.text()).trim();
    }
  } catch {
    note = 'lineq-web did not answer.';
  }
  if (request !== entries.request) return;
  entries.cursor = next;
  $('entries').tBodies[0].replaceChildren(...rows);
  text($('entries-note'), note);
  $('entries-next').disabled = !next;
}

function route() {
  routeRoom();
  const haproxy = /^#haproxy=(\d+)$/.exec(location.hash);
  told = haproxy ? Number(haproxy[1]) : null;
  if (latest && latest.segment.attached) show(latest);
  if (told === null) {
    $('told-section').hidden = true;
  } else {
    $('told-title').focus({preventScroll: true});
    $('told-section').scrollIntoView({block: 'nearest'});
  }
  const match = /^#entries=(.*)$/.exec(location.hash);
  let name = null;
  try {
    name = match && decodeURIComponent(match[1]);
  } catch {
    // not ours
  }
  $('entries-section').hidden = !name;
  entries.table = name;
  if (!name) return;
  text($('entries-title'), 'Entries of ' + name);
  $('entries-key').value = '';
  $('entries').tBodies[0].replaceChildren();
  loadEntries(null);
  $('entries-title').focus({preventScroll: true});
  $('entries-section').scrollIntoView({block: 'start'});
}

$('entries-form').addEventListener('submit', (event) => {
  event.preventDefault();
  loadEntries(null);
});
$('entries-first').addEventListener('click', () => loadEntries(null));
$('entries-next').addEventListener('click', () => loadEntries(entries.cursor));
$('entries-close').addEventListener('click', () => {
  history.replaceState(null, '', location.pathname);
  route();
});
$('entries-whole').addEventListener('change', () => {
  for (const td of document.querySelectorAll('#entries td.key')) text(td, shortKey(td.dataset.key));
});
addEventListener('hashchange', route);

listen();
setInterval(tick, 1000);
route();
