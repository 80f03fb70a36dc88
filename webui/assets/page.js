// Words, numbers, nodes and addresses of the status page. Text from strangers only ever becomes text nodes.
'use strict';

const $ = (id) => document.getElementById(id);

// ---- words and numbers -------------------------------------------------------------------------

const whole = new Intl.NumberFormat('en-US', {maximumFractionDigits: 0});
const tenth = new Intl.NumberFormat('en-US', {minimumFractionDigits: 1, maximumFractionDigits: 1});

function rate(n) {
  if (n === null || n === undefined) return '–';
  return n === 0 ? '0' : n < 10 ? tenth.format(n) : whole.format(n);
}
function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  while (n >= 1024 && i + 1 < units.length) { n /= 1024; ++i; }
  return (i === 0 || n >= 100 ? whole : tenth).format(n) + ' ' + units[i];
}
// 0.4 s is 'now': nothing should flicker.
function span(ms) {
  const s = Math.floor(ms / 1000);
  if (s < 1) return 'now';
  if (s < 60) return s + ' s';
  if (s < 3600) return Math.floor(s / 60) + ' min' + (s < 600 ? ' ' + s % 60 + ' s' : '');
  if (s < 86400) return Math.floor(s / 3600) + ' h ' + Math.floor(s % 3600 / 60) + ' min';
  return Math.floor(s / 86400) + ' d ' + Math.floor(s % 86400 / 3600) + ' h';
}
// In a sentence.
const during = (ms) => ms < 1000 ? 'less than a second' : span(ms);
function duration(ms) {
  if (ms === 0) return 'never';
  for (const [unit, size] of [['d', 86400000], ['h', 3600000], ['min', 60000], ['s', 1000]]) {
    if (ms >= size && ms % size === 0) return ms / size + ' ' + unit;
  }
  return ms < 1000 ? ms + ' ms' : span(ms);
}
const clock = (ms) => new Date(ms).toLocaleTimeString();
const exact = (ms) => new Date(ms).toLocaleString(undefined, {dateStyle: 'medium', timeStyle: 'medium'});
const plural = (n, word) => whole.format(n) + ' ' + word + (n === 1 ? '' : 's');
const entriesOf = (n) => n === 1 ? '1 entry' : whole.format(n) + ' entries';
// 'a, b, c and 7 more'
function listed(names, most = 3) {
  const some = names.slice(0, most);
  if (names.length > most) some.push(whole.format(names.length - most) + ' more');
  const last = some.pop();
  return some.length > 0 ? some.join(', ') + ' and ' + last : last;
}

// ---- the address -------------------------------------------------------------------------------

// What is on show is in the address, behind the #: it can be sent to a colleague, and the browser's
// back button goes one step back.
const onShow = () => new URLSearchParams(location.hash.slice(1));
const hashOf = (params) => '#' + new URLSearchParams(params);
const go = (params) => { location.hash = hashOf(params); };
function leave() {
  history.pushState(null, '', location.pathname);
  dispatchEvent(new HashChangeEvent('hashchange'));
}
// A view that was opened by the reader is read from its title.
function arrive(section, heading) {
  heading.focus({preventScroll: true});
  section.scrollIntoView({block: 'start'});
}
for (const button of document.querySelectorAll('button.close')) button.addEventListener('click', leave);

// ---- the document ------------------------------------------------------------------------------

function text(node, s) {
  s = String(s);
  if (node.textContent !== s) node.textContent = s;
}
function title(node, s) {
  if (node.title !== s) node.title = s;
}
function flag(node, name, on) {
  if (node.classList.contains(name) !== on) node.classList.toggle(name, on);
}
function make(tag, className, content) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (content !== undefined) node.textContent = content;
  return node;
}
function sign(node, kind) {
  const wanted = 'sign ' + kind;
  if (node.className !== wanted) node.className = wanted;
}
// A span of time up to now, exact on hover.
function since(node, ms, now) {
  if (ms === null || ms === undefined) {
    text(node, ms === null ? '–' : '');
    title(node, '');
    return;
  }
  text(node, span(ms));
  title(node, exact(now - ms));
}

// Rows kept by key: what does not change is not touched, so nothing jumps and a selection stays.
class Rows {
  constructor(body, build) {
    this.body = body;
    this.build = build;
    this.rows = new Map();
  }
  show(items, key, update) {
    const seen = new Set();
    let at = this.body.firstElementChild;
    for (const item of items) {
      const k = key(item);
      seen.add(k);
      let row = this.rows.get(k);
      if (!row) {
        row = this.build(item);
        this.rows.set(k, row);
      }
      update(row, item);
      if (row.node === at) {
        at = at.nextElementSibling;
      } else {
        this.body.insertBefore(row.node, at);
      }
    }
    for (const [k, row] of this.rows) {
      if (!seen.has(k)) {
        row.node.remove();
        this.rows.delete(k);
      }
    }
  }
}

// Names and values beside each other, in a list of pairs.
function pairRows(list) {
  return new Rows(list, () => {
    const node = make('div');
    const name = make('dt');
    const value = make('dd');
    node.append(name, value);
    return {node, name, value};
  });
}

function cell(row, className, label) {
  const td = make('td', className);
  td.setAttribute('role', 'cell');
  td.dataset.label = label;
  row.append(td);
  return td;
}
function tableRow() {
  const tr = make('tr');
  tr.setAttribute('role', 'row');
  return tr;
}
function pair(cellNode) {
  const main = make('span');
  const sub = make('span', 'sub');
  cellNode.append(main, sub);
  return {main, sub};
}

// ---- what grows --------------------------------------------------------------------------------

// Counters that should stand still: name -> value when this page first saw it.
const baseline = new Map();
function grew(name, value) {
  if (!baseline.has(name) || value < baseline.get(name)) baseline.set(name, value);
  return value - baseline.get(name);
}
