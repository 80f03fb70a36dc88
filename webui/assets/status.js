// The status page as a whole: what is wrong, the first steps, the processes, and the news. Everything
// it shows comes from /status.json, pushed once a second as events from /status/events, polled when
// events do not get through.
'use strict';

const LATE_MS = 4500;        // without news for so long, ask
const POLL_MS = 3000;
const MOST_PROBLEMS = 20;

// ---- what is wrong -----------------------------------------------------------------------------

// Sentences for people, each with a key by which it is the same one second later.
function problemsOf(s) {
  const list = [];
  const add = (key, words, to) => list.push({key, words, to});
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
  if (state === 'alive') peersProblems(s, add);
  roomProblems(s, add);
  tableProblems(s, add);
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

function verdictOf(s, problems) {
  if (problems.length > 0) {
    return {kind: 'bad', words: problems.length === 1 ? 'One thing needs attention' :
            problems.length + ' things need attention'};
  }
  const up = s.peers.filter((p) => p.state === 'up').length;
  if (up === 0) return {kind: '', words: 'Ready, and no HAProxy is connected yet'};
  return {kind: 'ok', words: up === 1 ? 'All well: one HAProxy in sync' : 'All well: ' + up + ' HAProxys in sync'};
}

// Each leads to what it is about.
const problemRows = new Rows($('problems'), (p) => {
  const node = make('li');
  const words = p.to ? make('a') : make('span');
  node.append(words);
  return {node, words};
});
function showProblem(row, p) {
  text(row.words, p.words);
  if (p.to && row.words.getAttribute('href') !== p.to) row.words.setAttribute('href', p.to);
}

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
  const worst = problems.slice(0, MOST_PROBLEMS);
  if (problems.length > worst.length) {
    worst.push({key: 'more', words: 'And ' + (problems.length - worst.length) + ' more.'});
  }
  problemRows.show(worst, (p) => p.key, showProblem);
  document.title = (verdict.kind === 'bad' ? '▲ ' : '') + verdict.words + ' – LineQ ' + s.instance;

  showTeach(s);
  showMachine(s);
  for (const id of ['figures', 'peers-section', 'tables-section']) $(id).hidden = !attached;
  if (!attached) {
    for (const id of ['told-section', 'rooms-section', 'room-section', 'no-rooms-section', 'traffic-section']) {
      $(id).hidden = true;
    }
  }
  $('machine-section').hidden = false;
  if (!attached) return;

  const up = showPeers(s, now);
  showRooms(s, now, stale);
  showTold(s, now, stale);

  showTables(s, now);
  showEntries(s, stale);
  showTraffic(s, stale);
  text($('figure-peers'), stale ? '–' : up);
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

// ---- what is on show ---------------------------------------------------------------------------

function route() {
  const params = onShow();
  routeRoom(params);
  routeMake(params);
  routePeer(params);
  routeEntries(params);
  if (latest && latest.segment.attached) show(latest);
}
addEventListener('hashchange', route);

listen();
setInterval(tick, 1000);
route();
