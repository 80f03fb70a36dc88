// Waiting rooms on the status page: the list, and one room with its last hour and its controls.
// Called by status.js.
'use strict';

const ROOM_WORDS = {open: 'open', paused: 'paused: nobody is called', queue_all: 'everybody queues',
                    suspended: 'suspended: all pass'};
const ROOM_METHODS = {fifo: '', random: 'at random', passthrough: 'nobody waits', reject: 'nobody queues'};
const STUCK_MS = 120000;

// Its legend, which is not shown, measures with inline styles, which the page's policy forbids.
Dygraph.PLUGINS = Dygraph.PLUGINS.filter((plugin) => plugin !== Dygraph.Plugins.Legend);

const inside = (r) => whole.format(r.active);

const roomRows = new Rows($('rooms').tBodies[0], (r) => {
  const node = tableRow();
  const nameCell = cell(node, 'c-name', 'Room');
  const open = make('button', 'name');
  open.type = 'button';
  open.addEventListener('click', () => { location.hash = 'room=' + encodeURIComponent(r.name); });
  const place = make('span', 'sub');
  nameCell.append(open, place);
  const state = pair(cell(node, 'c-state', 'State'));
  const insideCell = cell(node, 'c-count num', 'Inside');
  const now = make('span');
  const of = make('span', 'of');
  const both = make('span');
  both.append(now, of);
  insideCell.append(both);
  return {
    node, open, place, state, now, of,
    called: cell(node, 'c-count num', 'Called'),
    waiting: cell(node, 'c-count num', 'Waiting'),
    oldest: cell(node, 'c-time num', 'Oldest'),
    into: cell(node, 'c-rate num', 'In/min'),
    arriving: cell(node, 'c-rate num', 'Arriving/min'),
  };
});

function showRoomRow(row, r, now, stale) {
  text(row.open, r.name);
  title(row.open, 'Its last hour and its controls');
  text(row.place, r.host ? r.host + r.path : '');
  text(row.state.main, ROOM_WORDS[r.state] || r.state);
  text(row.state.sub, ROOM_METHODS[r.method] || '');
  text(row.now, inside(r));
  text(row.of, ' of ' + whole.format(r.capacity));
  text(row.called, whole.format(r.called));
  text(row.waiting, whole.format(r.waiting));
  since(row.oldest, r.oldest_ms, now);
  text(row.into, stale ? '–' : rate(r.admit_per_min));
  title(row.into, plural(r.admitted, 'visitor') + ' came in' +
        (r.granted < 20 ? '; the rate is what the rules promise' : ''));
  text(row.arriving, stale ? '–' : rate(r.arrive_per_min));
  title(row.arriving, plural(r.issued, 'ticket') + ' issued');
}

function roomProblems(s, add) {
  for (const r of s.rooms || []) {
    const say = (kind, words) => add(kind + ' room ' + r.name, 'Room ' + r.name + ': ' + words);
    if (r.active + r.called > r.capacity && grew('over ' + r.name, r.over_limit) > 0) {
      say('over', 'more visitors inside (' + whole.format(r.active) + ') than it has places (' +
          whole.format(r.capacity) + ').');
    }
    if (r.fifo_inversions > 0) {
      say('inversions', plural(r.fifo_inversions, 'visitor') + ' called before one who came earlier.');
    }
    if (grew('refused ' + r.name, r.join_refused) > 0) {
      say('refused', 'visitors could not be queued: no memory. Is /dev/shm full?');
    }
    const free = r.capacity - r.active - r.called;
    if (r.state === 'open' && r.method !== 'reject' && r.waiting > 0 && free > 0 &&
        r.oldest_ms > STUCK_MS && (r.admitted_ms === null || r.admitted_ms > STUCK_MS)) {
      say('stuck', plural(free, 'place') + ' free and nobody called for ' +
          during(Math.min(r.oldest_ms, r.admitted_ms || r.oldest_ms)) + ', while ' +
          plural(r.waiting, 'visitor') + ' wait.');
    }
  }
}

// ---- one room ----------------------------------------------------------------------------------

let shownRoom = null;  // its name
let chart = null;
let points = [];       // [Date, inside, called, waiting]
let historyOf = null;
let filledFor = null;  // the room whose rules the form shows

const roomCounterRows = new Rows($('room-counters'), () => {
  const node = make('div');
  const name = make('dt');
  const value = make('dd');
  node.append(name, value);
  return {node, name, value};
});
const ROOM_COUNTERS = {issued: 'tickets issued', admitted: 'came in', abandoned: 'left the line',
                       lapsed: 'called and did not come', expired: 'sessions over',
                       revoked: 'sessions ended', rejected: 'turned away', adopted: 'learned back',
                       over_limit: 'let in beyond the limit', fifo_inversions: 'out of order'};

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function drawChart() {
  if ($('room-section').hidden || points.length === 0) return;
  const colours = [colour('--ink'), colour('--soft'), colour('--accent')];
  if (chart) {
    chart.updateOptions({file: points, colors: colours});
    return;
  }
  chart = new Dygraph($('room-chart'), points, {
    labels: ['time', 'inside', 'called', 'waiting'],
    colors: colours, legend: 'never', strokeWidth: 1.6,
    series: {called: {strokePattern: [2, 3]}, waiting: {strokePattern: [7, 4]}},
    includeZero: true, axisLabelWidth: 60, gridLineColor: colour('--rule'),
    axisLineColor: colour('--rule'), labelsKMB: true, interactionModel: {}, rightGap: 12,
    highlightCircleSize: 3,
    highlightCallback: (event, x, at) => {
      text($('room-at'), clock(x) + ': ' + at.map((p) => whole.format(p.yval) + ' ' + p.name).join(', '));
    },
    unhighlightCallback: () => text($('room-at'), ''),
  });
}

async function loadHistory(name) {
  historyOf = name;
  points = [];
  try {
    const answer = await fetch('/status/history?' + new URLSearchParams({room: name}),
                               {cache: 'no-store', signal: AbortSignal.timeout(5000)});
    if (!answer.ok) return;
    const state = await answer.json();
    if (historyOf !== name) return;
    points = state.points.map(([ms, ...values]) => [new Date(ms), ...values]);
    drawChart();
  } catch {
    // The chart begins now.
  }
}

function addPoint(s, r) {
  const at = new Date(s.time_ms);
  const last = points.at(-1);
  if (last && at - last[0] < 1000) return;
  points.push([at, r.active, r.called, r.waiting]);
  while (points.length > 1 && at - points[0][0] > 3600 * 1000) points.shift();
  drawChart();
}

function fillForm(r) {
  text($('room-pause'), r.state === 'paused' ? 'Resume' : 'Pause');
  text($('room-all'), r.state === 'queue_all' ? 'Let visitors in again' : 'Queue everybody');
  text($('room-suspend'), r.state === 'suspended' ? 'Put back to work' : 'Suspend');
  if (filledFor === r.name) return;
  filledFor = r.name;
  $('room-capacity').value = r.capacity;
  $('room-pace').value = r.new_per_minute;
  $('room-message').value = r.message;
  text($('room-answer'), '');
}

function showRooms(s, now, stale) {
  const rooms = s.rooms || [];
  $('rooms-section').hidden = rooms.length === 0;
  roomRows.show(rooms, (r) => r.name, (row, r) => showRoomRow(row, r, now, stale));
  $('room-section').hidden = shownRoom === null;
  if (shownRoom === null) return;
  const r = rooms.find((room) => room.name === shownRoom);
  text($('room-name'), shownRoom);
  $('room-none').hidden = r !== undefined;
  $('room-body').hidden = r === undefined;
  if (!r) return;
  text($('room-note'), [r.host ? r.host + r.path : '',
    r.new_per_minute ? 'at most ' + whole.format(r.new_per_minute) + ' new a minute' : '',
    'sessions of ' + duration(r.session_ms), ROOM_METHODS[r.method],
    r.message ? 'message: “' + r.message + '”' : ''].filter(Boolean).join(' · '));
  roomCounterRows.show(Object.entries(ROOM_COUNTERS), (c) => c[0], (row, [key, words]) => {
    text(row.name, words);
    text(row.value, whole.format(r[key]));
    flag(row.value, 'zero', r[key] === 0);
  });
  fillForm(r);
  if (historyOf !== shownRoom) loadHistory(shownRoom);
  if (!stale) addPoint(s, r);
}

function routeRoom() {
  const match = /^#room=(.*)$/.exec(location.hash);
  let name = null;
  try {
    name = match && decodeURIComponent(match[1]);
  } catch {
    // not ours
  }
  if (name === shownRoom) return;
  shownRoom = name;
  filledFor = null;
  if (chart) {
    chart.destroy();
    chart = null;
  }
  $('room-section').hidden = name === null;
  if (name !== null) {
    text($('room-name'), name);
    $('room-title').focus({preventScroll: true});
    $('room-section').scrollIntoView({block: 'start'});
  }
}

// ---- controls ----------------------------------------------------------------------------------

async function command(method, path, body, done) {
  const token = $('room-token').value;
  const answerNode = $('room-answer');
  flag(answerNode, 'alarm', false);
  if (!token) {
    flag(answerNode, 'alarm', true);
    text(answerNode, 'The admin token is missing.');
    $('room-token').focus();
    return;
  }
  text(answerNode, 'asking lineqd …');
  try {
    const answer = await fetch('/waiting_rooms/' + encodeURIComponent(shownRoom) + path, {
      method, headers: {'Content-Type': 'application/json', 'Authorization': 'Bearer ' + token},
      body: JSON.stringify(body), signal: AbortSignal.timeout(10000)});
    const state = await answer.json().catch(() => null);
    if (answer.ok) {
      text(answerNode, typeof done === 'function' ? done(state && state.result) : done);
      return;
    }
    const errors = state && state.errors ? state.errors.map((e) => e.message || e).join('; ') : '';
    text(answerNode, errors || 'refused (' + answer.status + ')');
  } catch {
    text(answerNode, 'lineq-web did not answer.');
  }
  flag(answerNode, 'alarm', true);
}

const current = () => (latest.rooms || []).find((r) => r.name === shownRoom);
const change = (body, done) => command('PATCH', '', body, done);
const action = (body, done) => command('POST', '/actions', body, done);

$('room-form').addEventListener('submit', (event) => event.preventDefault());
$('room-pause').addEventListener('click', () => {
  const paused = current().state === 'paused';
  change({paused: !paused}, paused ? 'Resumed.' : 'Paused: nobody is called.');
});
$('room-all').addEventListener('click', () => {
  const all = current().state === 'queue_all';
  change({queue_all: !all}, all ? 'Visitors come in again.' : 'Everybody queues.');
});
$('room-suspend').addEventListener('click', () => {
  const suspended = current().state === 'suspended';
  if (!suspended && !confirm('Suspend ' + shownRoom + '? Everybody who comes is let in.')) return;
  change({suspended: !suspended}, suspended ? 'The room is at work again.' : 'Suspended: all pass.');
});
$('room-limits').addEventListener('click', () => {
  change({total_active_users: $('room-capacity').valueAsNumber || 0,
          new_users_per_minute: $('room-pace').valueAsNumber || 0}, 'Set.');
});
$('room-admit').addEventListener('click', () => {
  action({action: 'admit', count: $('room-n').valueAsNumber || 1},
         (result) => plural(result && result.admitted || 0, 'visitor') + ' called.');
});
$('room-revoke').addEventListener('click', () => {
  const session = $('room-session').value.trim();
  if (!session) {
    $('room-session').focus();
    return;
  }
  action({action: 'revoke', session},
         (result) => plural(result && result.revoked || 0, 'session') + ' ended.');
});
$('room-revoke-all').addEventListener('click', () => {
  if (!confirm('End all sessions of ' + shownRoom + '? Those inside have to queue.')) return;
  action({action: 'revoke_all'}, (result) => plural(result && result.revoked || 0, 'session') + ' ended.');
});
$('room-say').addEventListener('click', () => {
  change({message: $('room-message').value}, $('room-message').value ? 'Shown to all who wait.' : 'Taken away.');
});
$('room-close').addEventListener('click', () => {
  history.replaceState(null, '', location.pathname);
  routeRoom();
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  if (chart) {
    chart.destroy();
    chart = null;
    drawChart();
  }
});
