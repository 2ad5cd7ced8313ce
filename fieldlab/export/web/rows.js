// The list of parts: rows that open and close, for a pointer, a keyboard and a screen reader.

const MOST_ROWS = 400; // before a row says how many more there are

/** An element with properties and children; text is never markup. */
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function icon(name) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `#icon-${name}`);
  made.append(use);
  return made;
}

class PartRows {
  /**
   * @param {HTMLElement} place with role tree
   * @param {Parts} parts
   * @param {function} go called with a row that the view should turn to
   */
  constructor(place, parts, go) {
    Object.assign(this, {place, parts, go});
    this.whole = false; // the whole tree rather than the parts at the level
    this.words = '';
    this.open = new Set();
    this.most = MOST_ROWS;
    this.items = new Map();
    this.focused = -1;
    this.listed = '';
    this.seen = ''; // the selection that was last made visible
    this.scroll = -1;
    place.addEventListener('click', event => this.clicked(event));
    place.addEventListener('dblclick', event => this.withRow(event, row => this.go(row)));
    place.addEventListener('keydown', event => this.pressed(event));
    place.addEventListener('focusin', event => {
      const row = this.rowOf(event.target);
      if (row >= 0) this.focused = row;
    });
    place.addEventListener('pointerover', event => parts.point(this.rowOf(event.target)));
    place.addEventListener('pointerleave', () => parts.point(-1));
  }

  /** Bring the list up to date with the parts. */
  update() {
    this.reveal();
    const rows = this.visible();
    const key = JSON.stringify([rows.map(({row, depth}) => [row, depth, this.open.has(row)]), this.most]);
    if (key !== this.listed) this.rebuild(rows);
    this.listed = key;
    this.mark();
  }

  /** Open what is above a newly selected part, so that its row can be seen. */
  reveal() {
    const key = [...this.parts.selection].join();
    if (key === this.seen) return;
    this.seen = key;
    for (const row of this.parts.selection) for (const at of this.parts.path(row).slice(1)) this.open.add(at);
    this.scroll = [...this.parts.selection].at(-1) ?? -1;
  }

  /** Rows in the order of the list, with their depths. */
  visible() {
    const {nodes, roots, current} = this.parts;
    const found = [];
    if (this.words) {
      const wanted = this.words.toLowerCase();
      for (const node of nodes) if (node.name.toLowerCase().includes(wanted)) found.push({row: node.row, depth: 0});
      return found;
    }
    const walk = (rows, depth) => {
      for (const row of rows) {
        found.push({row, depth});
        if (this.open.has(row)) walk(nodes[row].children, depth + 1);
      }
    };
    walk(this.whole ? roots : current, 0);
    return found;
  }

  rebuild(rows) {
    const held = this.place.contains(document.activeElement);
    this.items.clear();
    for (const entry of rows.slice(0, this.most)) this.items.set(entry.row, this.item(entry));
    this.place.replaceChildren(...this.items.values());
    if (rows.length > this.most) {
      const text = `Show ${(rows.length - this.most).toLocaleString('en')} more`;
      const onclick = () => { this.most *= 4; this.update(); };
      this.place.append(element('button', {type: 'button', className: 'quiet more', textContent: text, onclick}));
    }
    if (!rows.length) this.place.append(element('p', {className: 'none', textContent: 'No segment has this name.'}));
    if (!this.items.has(this.focused)) this.focused = rows[0]?.row ?? -1;
    if (held) this.items.get(this.focused)?.focus({preventScroll: true});
  }

  item({row, depth}) {
    const node = this.parts.nodes[row];
    const inner = node.children.length > 0 && !this.words;
    const swatch = element('span', {className: 'swatch'});
    swatch.style.background = `rgb(${node.color.join()})`;
    const eye = element('button', {type: 'button', className: 'eye', tabIndex: -1}, icon('eye'));
    const made = element('div', {className: 'row', tabIndex: -1},
      element('span', {className: inner ? 'twist' : 'twist none'}, icon('twist')), swatch,
      element('bdi', {className: 'name', textContent: node.name, title: node.name}),
      element('span', {className: 'share', textContent: this.share(node)}), eye);
    made.dataset.row = row;
    made.style.paddingInlineStart = `${6 + 14 * Math.min(depth, 10)}px`;
    made.setAttribute('role', 'treeitem');
    made.setAttribute('aria-level', depth + 1);
    made.setAttribute('aria-label', node.name);
    if (inner) made.setAttribute('aria-expanded', this.open.has(row));
    return made;
  }

  share(node) {
    const percent = 100 * node.area / this.parts.roots.reduce((sum, root) => sum + this.parts.nodes[root].area, 0);
    return percent >= 0.95 ? `${percent.toFixed(0)}%` : '<1%';
  }

  /** Show what is selected, hidden and pointed at. */
  mark() {
    const flags = this.parts.flags();
    for (const [row, item] of this.items) {
      const hidden = Boolean(flags[row] & FLAG.hidden);
      item.setAttribute('aria-selected', this.parts.selection.has(row));
      item.classList.toggle('within', Boolean(flags[row] & FLAG.selected));
      item.classList.toggle('hidden', hidden);
      item.classList.toggle('hover', this.parts.hover === row);
      item.tabIndex = row === this.focused ? 0 : -1;
      const eye = item.querySelector('.eye');
      const text = `${hidden ? 'Show' : 'Hide'} ${this.parts.nodes[row].name}`;
      if (eye.title === text) continue;
      eye.title = text;
      eye.setAttribute('aria-label', text);
      eye.replaceChildren(icon(hidden ? 'closed' : 'eye'));
    }
    if (this.scroll >= 0) this.items.get(this.scroll)?.scrollIntoView({block: 'nearest'});
    this.scroll = -1;
  }

  rowOf(target) {
    return Number(target.closest('.row')?.dataset.row ?? -1);
  }

  withRow(event, action) {
    const row = this.rowOf(event.target);
    if (row >= 0 && !event.target.closest('.eye, .twist')) action(row);
  }

  clicked(event) {
    const row = this.rowOf(event.target);
    if (row < 0) return;
    if (event.target.closest('.eye')) this.parts.toggle(row);
    else if (event.target.closest('.twist:not(.none)')) this.fold(row);
    else this.choose(row, event.shiftKey || event.ctrlKey || event.metaKey);
  }

  choose(row, more) {
    this.parts.select([row], more);
    this.seen = [...this.parts.selection].join(); // the row is where the visitor looks already: open nothing
  }

  fold(row, open = !this.open.has(row)) {
    if (open) this.open.add(row);
    else this.open.delete(row);
    this.update();
  }

  pressed(event) {
    const rows = [...this.items.keys()];
    const at = rows.indexOf(this.focused);
    const node = this.parts.nodes[this.focused];
    if (!node || event.altKey) return;
    const open = this.open.has(node.row);
    const moves = {
      ArrowDown: () => this.focus(rows[at + 1]),
      ArrowUp: () => this.focus(rows[at - 1]),
      Home: () => this.focus(rows[0]),
      End: () => this.focus(rows.at(-1)),
      ArrowRight: () => (open || !node.children.length ? this.focus(rows[at + 1]) : this.fold(node.row, true)),
      ArrowLeft: () => (open ? this.fold(node.row, false) : this.focus(node.parent)),
      Enter: () => this.choose(node.row, event.shiftKey),
      ' ': () => this.choose(node.row, true),
      h: () => this.parts.toggle(node.row),
    };
    if (!moves[event.key] || event.target.closest('.more')) return;
    event.preventDefault();
    event.stopPropagation();
    moves[event.key]();
  }

  focus(row) {
    if (!this.items.has(row)) return;
    this.focused = row;
    this.mark();
    this.items.get(row).focus();
  }
}
