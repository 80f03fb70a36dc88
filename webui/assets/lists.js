// Lists that stay usable with thousands of rows: what is in trouble comes first, a word finds the
// rest, every column sorts. A short list is just a list.
'use strict';

const FEW = 12;           // so many are overlooked without tools
const MOST_ROWS = 20;     // at first
const MORE_ROWS = 100;    // at a time
const ORDER_MS = 5000;    // numbers change every second, the order less often

// Nothing moves under a pointer (a finger is none) or a focus.
const HELD = matchMedia('(hover: hover)').matches ? ':hover, :focus-within' : ':focus-within';

class List {
  // `words` of an item are what it is found by; `trouble` is true of those to look at first;
  // `orders` has for every column a function item -> number or text, or null.
  constructor(table, rows, {noun, key, words, trouble, orders}) {
    Object.assign(this, {table, rows, noun, key, words, trouble, orders});
    this.most = MOST_ROWS;
    this.choice = {column: -1, down: false};
    this.places = new Map();
    this.sorted = 0;
    this.build();
  }

  build() {
    const labels = [...this.table.tHead.rows[0].cells].map((th) => th.textContent);
    this.find = make('input');
    this.find.type = 'search';
    this.find.autocomplete = 'off';
    this.find.spellcheck = false;
    this.find.addEventListener('input', () => { this.most = MOST_ROWS; this.again(); });
    this.select = make('select');
    for (const [i, label] of [[-1, 'trouble first'], ...labels.entries()]) {
      if (i >= 0 && !this.orders[i]) continue;
      const option = make('option', '', label);
      option.value = i;
      this.select.append(option);
    }
    this.select.addEventListener('change', () => this.choose(Number(this.select.value)));
    this.count = make('span', 'soft');
    this.count.setAttribute('role', 'status');
    const label = (words, control) => {
      const node = make('label', '', words + ' ');
      node.append(control);
      return node;
    };
    this.tools = make('div', 'bar');
    this.tools.hidden = true;
    this.tools.append(label('Find ' + this.noun[0], this.find), label('Order', this.select), this.count);
    this.more = make('button', 'quiet');
    this.more.type = 'button';
    this.more.hidden = true;
    this.more.addEventListener('click', () => { this.most += MORE_ROWS; this.again(); });
    const whole = this.table.closest('.scroll') || this.table;
    whole.before(this.tools);
    whole.after(this.more);
  }

  // Headings sort once there is something to sort.
  makeHeads() {
    if (this.heads) return;
    this.heads = [...this.table.tHead.rows[0].cells];
    this.heads.forEach((th, i) => {
      if (!this.orders[i]) return;
      const button = make('button', 'sort');
      button.type = 'button';
      button.append(...th.childNodes);
      button.addEventListener('click', () => this.choose(i));
      th.append(button);
    });
  }

  choose(column) {
    const number = column >= 0 && this.heads && this.heads[column].classList.contains('num');
    const down = this.choice.column === column ? !this.choice.down : number;
    this.choice = {column, down};
    this.select.value = column;
    this.heads.forEach((th, i) => {
      if (i === column) th.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      else th.removeAttribute('aria-sort');
    });
    this.sorted = 0;
    this.again();
  }

  sort(items) {
    const held = performance.now() - this.sorted < ORDER_MS ||
      this.table.tBodies[0].matches(HELD);
    if (this.sorted > 0 && held) {  // newcomers at the end
      const place = (item) => this.places.get(this.key(item)) ?? Infinity;
      return items.map((item) => [place(item), item])
        .sort((a, b) => a[0] === b[0] ? 0 : a[0] - b[0]).map((p) => p[1]);
    }
    const {column, down} = this.choice;
    const value = column < 0 ? (item) => this.trouble(item) ? 0 : 1 : this.orders[column];
    const sign = down ? -1 : 1;
    const compare = (a, b) => {
      if (a === b) return 0;
      if (a === null || a === undefined) return 1;  // what is not known is last, either way
      if (b === null || b === undefined) return -1;
      return sign * (typeof a === 'string' ? a.localeCompare(b) : a - b);
    };
    const sorted = items.map((item) => [value(item), item]).sort((a, b) => compare(a[0], b[0]))
      .map((p) => p[1]);
    this.sorted = performance.now();
    this.places = new Map(sorted.map((item, i) => [this.key(item), i]));
    return sorted;
  }

  again() {
    if (this.items) this.show(this.items, this.update);
  }
  show(items, update) {
    this.items = items;
    this.update = update;
    const word = this.find.value.trim().toLowerCase();
    const many = items.length > FEW;
    if (many) this.makeHeads();
    this.tools.hidden = !many && !word;
    let list = this.sort(items);
    if (word) list = list.filter((item) => this.words(item).toLowerCase().includes(word));
    const shown = list.slice(0, this.most);
    this.table.hidden = shown.length === 0;
    this.rows.show(shown, this.key, update);
    text(this.count, word ? list.length === 0 ? 'none of ' + whole.format(items.length) + ' has “' + word + '”' :
      whole.format(list.length) + ' of ' + whole.format(items.length) : whole.format(items.length) + ' ' + this.noun[1]);
    const left = list.length - shown.length;
    this.more.hidden = left === 0;
    text(this.more, left <= MORE_ROWS ? 'Show the other ' + whole.format(left) :
      'Show ' + whole.format(MORE_ROWS) + ' more of ' + whole.format(left));
  }
}
