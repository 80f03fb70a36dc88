// Waiting rooms on the status page: the list, one room with its last hour and its controls, a new
// room. Called by status.js.
'use strict';

const ROOM_WORDS = {open: 'open', paused: 'paused: nobody is called', queue_all: 'everybody queues',
                    suspended: 'suspended: all pass'};
const ROOM_ORDERS = {fifo: 'first come, first served', random: 'at random', passthrough: 'all pass, counted',
                     reject: 'nobody queues'};
const ROOM_METHODS = {fifo: '', random: 'at random', passthrough: 'nobody waits', reject: 'nobody queues'};
const STUCK_MS = 120000;

const inside = (r) => whole.format(r.active);

const roomRows = new Rows($('rooms').tBodies[0], (r) => {
  const node = tableRow();
  const nameCell = cell(node, 'c-name', 'Room');
  const open = make('button', 'name');
  open.type = 'button';
  open.addEventListener('click', () => go({room: r.name}));
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

const stuck = (r) => r.state === 'open' && r.method !== 'reject' && r.waiting > 0 &&
  r.capacity > r.active + r.called && r.oldest_ms > STUCK_MS &&
  (r.admitted_ms === null || r.admitted_ms > STUCK_MS);

const roomList = new List($('rooms'), roomRows, {
  noun: ['a room', 'rooms'],
  key: (r) => r.name,
  words: (r) => [r.name, r.host, r.path, ROOM_WORDS[r.state]].join(' '),
  trouble: (r) => stuck(r) || r.fifo_inversions > 0,
  orders: [(r) => r.name, (r) => r.state, (r) => r.active, (r) => r.called, (r) => r.waiting,
           (r) => r.oldest_ms, (r) => r.admit_per_min, (r) => r.arrive_per_min],
});

function roomProblems(s, add) {
  for (const r of s.rooms || []) {
    const say = (kind, words) => add(kind + ' room ' + r.name, 'Room ' + r.name + ': ' + words, hashOf({room: r.name}));
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
    if (stuck(r)) {
      say('stuck', plural(r.capacity - r.active - r.called, 'place') + ' free and nobody called for ' +
          during(Math.min(r.oldest_ms, r.admitted_ms || r.oldest_ms)) + ', while ' +
          plural(r.waiting, 'visitor') + ' wait.');
    }
  }
}

// ---- one room ----------------------------------------------------------------------------------

let shownRoom = null;  // its name
let filledFor = null;  // the room whose rules the form shows

const roomChart = new Chart($('room-chart'), $('room-at'),
  [['inside', '--ink'], ['called', '--soft', [2, 3]], ['waiting', '--accent', [7, 4]]], whole.format);
const roomNowRows = pairRows($('room-now'));
const roomCounterRows = pairRows($('room-counters'));
const ROOM_COUNTERS = {issued: 'tickets issued', admitted: 'came in', abandoned: 'left the line',
                       lapsed: 'called and did not come', expired: 'sessions over',
                       revoked: 'sessions ended', rejected: 'turned away', adopted: 'learned back',
                       over_limit: 'let in beyond the limit', fifo_inversions: 'out of order'};

function fillForm(r) {
  text($('room-pause'), r.state === 'paused' ? 'Resume' : 'Pause');
  text($('room-all'), r.state === 'queue_all' ? 'Let visitors in again' : 'Queue everybody');
  text($('room-suspend'), r.state === 'suspended' ? 'Put back to work' : 'Suspend');
  if (filledFor === r.name) return;
  filledFor = r.name;
  $('room-capacity').value = r.capacity;
  $('room-pace').value = r.new_per_minute;
  $('room-minutes').value = r.session_ms / 60000;
  $('room-method').value = r.method;
  $('room-message').value = r.message;
  text($('room-answer'), '');
}

// By position and rate, as visitors are told (waiting-room 4), in the middle.
function waitOf(r) {
  if (r.state !== 'open' || r.method === 'passthrough' || r.method === 'reject') return '–';
  if (r.waiting === 0) return 'none';
  return r.admit_per_min > 0 ? 'about ' + span(r.waiting / r.admit_per_min * 60000) : 'not known';
}

function showRooms(s, now, stale) {
  const rooms = s.rooms || [];
  $('rooms-section').hidden = rooms.length === 0;
  $('no-rooms-section').hidden = rooms.length > 0 || $('make-section').hidden === false;
  roomList.show(rooms, (row, r) => showRoomRow(row, r, now, stale));
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
  const facts = [
    {name: 'inside', value: whole.format(r.active) + ' of ' + whole.format(r.capacity)},
    {name: 'called, on their way in', value: whole.format(r.called)},
    {name: 'waiting', value: whole.format(r.waiting)},
    {name: 'oldest waits for', ms: r.oldest_ms},
    {name: 'let in a minute', value: stale ? '–' : rate(r.admit_per_min)},
    {name: 'arriving a minute', value: stale ? '–' : rate(r.arrive_per_min)},
    {name: 'last one let in', ms: r.admitted_ms},
    {name: 'wait of the next to come', value: stale ? '–' : waitOf(r)},
  ];
  roomNowRows.show(facts, (f) => f.name, (row, f) => {
    text(row.name, f.name);
    if (f.value === undefined) since(row.value, f.ms, now); else text(row.value, f.value);
  });
  roomCounterRows.show(Object.entries(ROOM_COUNTERS), (c) => c[0], (row, [key, words]) => {
    text(row.name, words);
    text(row.value, whole.format(r[key]));
    flag(row.value, 'zero', r[key] === 0);
  });
  fillForm(r);
  if (roomChart.of !== shownRoom) roomChart.load(shownRoom, '?' + new URLSearchParams({room: shownRoom}));
  if (!stale) roomChart.add(s.time_ms, [r.active, r.called, r.waiting]);
}

function routeRoom(params) {
  const name = params.get('room') || null;
  if (name === shownRoom) return;
  shownRoom = name;
  filledFor = null;
  roomChart.of = null;
  roomChart.forget();
  $('room-section').hidden = name === null;
  if (name !== null) {
    text($('room-name'), name);
    arrive($('room-section'), $('room-title'));
  }
}

// ---- controls ----------------------------------------------------------------------------------

const pathOfRoom = () => '/waiting_rooms/' + encodeURIComponent(shownRoom);
const command = (method, path, body, done) => order($('room-form'), method, pathOfRoom() + path, body, done);
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
$('room-suspend').addEventListener('click', async () => {
  const r = current();
  const suspended = r.state === 'suspended';
  if (!suspended && !await sure('Suspend ' + shownRoom + '? Everybody who comes is let in, and the ' +
                                whole.format(r.waiting) + ' who wait too.', 'Suspend the room')) return;
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
$('room-revoke-all').addEventListener('click', async () => {
  if (!await sure('End all sessions of ' + shownRoom + '? The ' + whole.format(current().active) +
                  ' inside lose their place and have to queue.', 'End all sessions')) return;
  action({action: 'revoke_all'}, (result) => plural(result && result.revoked || 0, 'session') + ' ended.');
});
$('room-say').addEventListener('click', () => {
  change({message: $('room-message').value}, $('room-message').value ? 'Shown to all who wait.' : 'Taken away.');
});
$('room-rules').addEventListener('click', async () => {
  const method = $('room-method').value;
  const waiting = current().waiting;
  if ((method === 'passthrough' || method === 'reject') && waiting > 0 &&
      !await sure('Change ' + shownRoom + ' to “' + ROOM_ORDERS[method] + '”, while ' + whole.format(waiting) +
                  ' wait?', 'Change it')) return;
  change({session_duration: $('room-minutes').valueAsNumber || 0, queueing_method: method}, 'Set.');
});
$('room-remove').addEventListener('click', async () => {
  const r = current();
  if (!await sure('Remove ' + shownRoom + '? The ' + whole.format(r.waiting) + ' who wait are sent away and the ' +
                  whole.format(r.active) + ' sessions end. Its numbers and its history are gone.', 'Remove the room')) return;
  command('DELETE', '', undefined, 'Removed.');
});

// ---- a new room --------------------------------------------------------------------------------

for (const id of ['make-method', 'room-method']) {
  for (const [method, words] of Object.entries(ROOM_ORDERS)) {
    const option = make('option', '', words);
    option.value = method;
    $(id).append(option);
  }
}

function routeMake(params) {
  const wanted = params.has('new-room');
  const arrives = wanted && $('make-section').hidden;
  $('make-section').hidden = !wanted;
  if (arrives) arrive($('make-section'), $('make-title'));
}

// "shop.example.com", "/a/" -> "shop_example_com_a_", as lineqd -c names rooms.
const nameOf = (host, path) => host.replaceAll('.', '_') + path.replaceAll('/', '_');
function suggestName() {
  $('make-name').placeholder = nameOf($('make-host').value.trim() || 'shop.example.com', $('make-path').value.trim());
}
for (const id of ['make-host', 'make-path']) $(id).addEventListener('input', suggestName);
suggestName();

$('make-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const host = $('make-host').value.trim();
  const path = $('make-path').value.trim() || '/';
  const name = $('make-name').value.trim() || nameOf(host, path);
  const made = await order($('make-form'), 'POST', '/waiting_rooms', {
    name, host, path, total_active_users: $('make-capacity').valueAsNumber || 0,
    new_users_per_minute: $('make-pace').valueAsNumber || 0,
    session_duration: $('make-minutes').valueAsNumber || 0, queueing_method: $('make-method').value},
    'Made: ' + name + '.');
  if (made) go({room: name});
});
