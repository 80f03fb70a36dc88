// HAProxys on the status page: the list, what one tells about each table, and what is wrong with
// them. Called by status.js.
'use strict';

const GONE_MS = 3600 * 1000; // a HAProxy away for longer is not on show
const SILENT_MS = 6000;      // twice its heartbeat
const TEACH_MS = 15000;
const LAG = 10000;
const IN_SYNC = ['complete', 'partial'];

// ---- HAProxys ----------------------------------------------------------------------------------

const PEER_WORDS = {up: 'up', connecting: 'connecting', down: 'down', unknown: 'not known'};
const PEER_SIGNS = {up: 'ok', connecting: 'half', down: 'bad', unknown: ''};

const peerRows = new Rows($('peers').tBodies[0], (p) => {
  const node = tableRow();
  const nameCell = cell(node, 'c-name', 'Name');
  const open = make('button', 'name');
  open.type = 'button';
  open.addEventListener('click', () => go({haproxy: p.record}));
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

const toldList = new List($('told'), toldRows, {
  noun: ['one of its tables', 'tables'],
  key: (t) => t.name,
  words: (t) => t.name + ' ' + toldNote(t),
  trouble: (t) => toldNote(t) !== '',
  orders: [(t) => t.name, toldNote, (t) => t.announced_ms, (t) => t.updated_ms, (t) => t.updates],
});

function routePeer(params) {
  const record = params.has('haproxy') ? Number(params.get('haproxy')) : null;
  if (record === told) return;
  told = record;
  toldList.sorted = 0;
  if (told === null) $('told-section').hidden = true;
  else toldArrives = true;
}
let toldArrives = false;

function showTold(s, now, stale) {
  const p = s.peers.find((one) => one.record === told);
  $('told-section').hidden = !p;
  if (!p) return;
  if (toldArrives) arrive($('told-section'), $('told-title'));
  toldArrives = false;
  text($('told-name'), 'Tables of ' + (p.label || peerTitle(p)));
  text($('told-note'), [
    p.state === 'unknown' ? PEER_WORDS.unknown : PEER_WORDS[p.state] + ' for ' + during(p.since_ms),
    p.silent_ms > SILENT_MS ? 'last message ' + span(p.silent_ms) + ' ago' : '',
    p.lag > 0 ? plural(p.lag, 'change') + ' behind' : '',
    p.protocol_errors > 0 ? plural(p.protocol_errors, 'malformed message') : '',
    p.tables.length > 0 ? '' : 'it has announced no table yet',
  ].filter(Boolean).join(' · '));
  $('told-scroll').hidden = p.tables.length === 0;
  toldList.show(p.tables, (row, t) => {
    text(row.name, t.name);
    since(row.announced, t.announced_ms, now);
    since(row.updated, t.updated_ms, now);
    text(row.updates, whole.format(t.updates));
    const note = toldNote(t);
    text(row.note, note || (stale || p.state !== 'up' ? '–' : 'as it should be'));
    flag(row.note, 'alarm', note !== '');
    flag(row.note, 'soft', note === '');
  });
}

// ---- the list ----------------------------------------------------------------------------------

const isGone = (p) => p.state !== 'up' && p.state !== 'connecting' && p.since_ms > GONE_MS;
let showGone = false;
$('gone-toggle').addEventListener('click', () => {
  showGone = !showGone;
  if (latest) show(latest);
});


const inTrouble = (p) => p.state !== 'up' || p.silent_ms > SILENT_MS || p.lag > LAG ||
  !IN_SYNC.includes(p.taught_us) || p.tables.some((t) => t.missing || t.conflict || t.silent);

const peerList = new List($('peers'), peerRows, {
  noun: ['a HAProxy', 'HAProxys'],
  key: (p) => p.record,
  words: (p) => [p.label || peerTitle(p), p.name, p.address, PEER_WORDS[p.state]].join(' '),
  trouble: inTrouble,
  orders: [(p) => p.name, (p) => p.state, (p) => p.silent_ms, (p) => p.in_per_s, (p) => p.out_per_s,
           (p) => p.lag, (p) => p.taught_us, (p) => p.protocol_errors],
});

function showPeers(s, now) {
  const peers = [...s.peers].sort((a, b) => a.name.localeCompare(b.name) ||
                                  a.address.localeCompare(b.address) || a.record - b.record);
  const gone = peers.filter(isGone);
  const shown = showGone ? peers : peers.filter((p) => !isGone(p));
  $('peers-section').hidden = peers.length === 0;
  peerList.show(shown, (row, p) => showPeer(row, p, now));
  const toggle = $('gone-toggle');
  toggle.hidden = gone.length === 0;
  toggle.setAttribute('aria-expanded', String(showGone));
  text(toggle, showGone ? 'Hide HAProxys gone for more than an hour' :
       'Show ' + gone.length + ' gone for more than an hour');
  const up = s.peers.filter((p) => p.state === 'up').length;
  return up + ' of ' + (peers.length - gone.length);
}

// ---- what is wrong -----------------------------------------------------------------------------

// The worst first; what many have in common is one sentence.
const MANY = 3;
const ABOUT_MANY = {
  down: 'are down', connecting: 'do not answer yet', silent: 'are silent',
  teaching: 'have not finished teaching us their tables', lag: 'are behind',
  errors: 'have sent malformed messages since this page was opened',
  missing: 'lack tables which others have', conflict: 'define tables otherwise than others do',
  mute: 'tell nothing about tables, while others do',
  impossible: 'send impossible values; they are not used',
};

function peersProblems(s, add) {
  const kinds = new Map();
  for (const p of s.peers) {
    if (isGone(p)) continue;
    peerProblems(p, (kind, words) => {
      if (!kinds.has(kind)) kinds.set(kind, []);
      kinds.get(kind).push({p, words});
    });
  }
  for (const kind of Object.keys(ABOUT_MANY)) {
    const all = kinds.get(kind) || [];
    if (all.length > MANY) {
      add(kind + ' many', whole.format(all.length) + ' HAProxys ' + ABOUT_MANY[kind] + ': ' +
          listed(all.map((one) => peerTitle(one.p))) + '.', '#peers-title');
    } else {
      for (const {p, words} of all) add(kind + ' ' + p.record, words, hashOf({haproxy: p.record}));
    }
  }
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
    const names = listed(which.map((t) => t.name));
    add(kind, words((which.length === 1 ? 'table ' : 'tables ') + names, which));
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
