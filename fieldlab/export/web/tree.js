// The hierarchy of the parts, and what the visitor makes of it: a level, a selection, what is hidden.

const FLAG = {hidden: 1, selected: 2, hover: 4, dim: 8};

class Parts {
  /**
   * @param {object} facts nodes with parents before children, levels (thresholds, coarse first), level
   * @param {function} changed called after every change
   */
  constructor({nodes, levels, level}, changed) {
    this.nodes = nodes.map((node, row) => ({...node, row, children: [], shown: node.box !== null}));
    this.levels = levels;
    this.changed = changed;
    this.selection = new Set();
    this.hidden = new Set();
    this.isolated = new Set();
    this.hover = -1;
    for (const node of [...this.nodes].reverse()) {
      if (node.parent < 0) continue;
      const above = this.nodes[node.parent];
      above.children.unshift(node.row);
      above.area += node.area;
      above.box = joinedBox(above.box, node.box);
    }
    for (const node of this.nodes) this.bySize(node.children);
    this.roots = this.bySize(this.nodes.filter(node => node.parent < 0).map(node => node.row));
    this.cuts = levels.map(threshold => this.cutAt(threshold));
    this.at = level;
  }

  /** Largest first, what is of no part last. */
  bySize(rows) {
    const {nodes} = this;
    const rest = row => Number(nodes[row].id === null);
    return rows.sort((a, b) => rest(a) - rest(b) || nodes[b].area - nodes[a].area);
  }

  /** For every row that of its highest ancestor born below a threshold, or its own. */
  cutAt(threshold) {
    const made = new Uint32Array(this.nodes.length);
    for (const {row, parent} of this.nodes) {
      const joined = parent >= 0 && this.nodes[parent].birth < threshold;
      made[row] = joined ? made[parent] : row;
    }
    return made;
  }

  get cut() {
    return this.cuts[this.at];
  }

  set level(level) {
    this.at = clamp(Math.round(level), 0, this.levels.length - 1);
    this.changed();
  }

  get level() {
    return this.at;
  }

  /** Rows of the parts at the level, largest first. */
  get current() {
    const found = new Set(this.nodes.filter(node => node.shown).map(node => this.cut[node.row]));
    return this.bySize([...found]);
  }

  /** A row and all above it, from itself to the root. */
  path(row) {
    const found = [];
    for (let at = row; at >= 0; at = this.nodes[at].parent) found.push(at);
    return found;
  }

  /** What a click on a finest part means: the part at the level, or where that is selected, the next finer one. */
  meant(leaf) {
    const down = this.path(leaf).reverse();
    const part = this.cut[leaf];
    if (this.selection.size !== 1) return part;
    const [chosen] = this.selection;
    const at = down.indexOf(chosen);
    return at < down.indexOf(part) ? part : down[at + 1] ?? part;
  }

  select(rows, more = false) {
    if (!more) this.selection.clear();
    for (const row of rows) {
      if (more && this.selection.has(row)) this.selection.delete(row);
      else this.selection.add(row);
    }
    this.changed();
  }

  point(row) {
    if (row === this.hover) return;
    this.hover = row;
    this.changed();
  }

  /** Hide or show a node and all below it; to show one, what hides it above gives way. */
  toggle(row) {
    const path = this.path(row);
    const away = this.flags()[row] & FLAG.hidden;
    for (const at of path) this.hidden.delete(at);
    if (!away) this.hidden.add(row);
    else if (this.isolated.size && !path.some(at => this.isolated.has(at))) this.isolated.add(row);
    this.changed();
  }

  isolate(rows) {
    const same = rows.length === this.isolated.size && rows.every(row => this.isolated.has(row));
    this.isolated = new Set(same ? [] : rows);
    for (const row of rows) for (const at of this.path(row)) this.hidden.delete(at);
    this.changed();
  }

  showAll() {
    this.hidden.clear();
    this.isolated.clear();
    this.changed();
  }

  get partial() {
    return this.hidden.size + this.isolated.size > 0;
  }

  /** Flags of every row: whether it or something above it is hidden, selected, pointed at, or not selected. */
  flags() {
    const made = new Uint8Array(this.nodes.length);
    const isolated = new Uint8Array(this.nodes.length);
    for (const {row, parent} of this.nodes) {
      let flags = parent < 0 ? 0 : made[parent] & ~FLAG.dim;
      isolated[row] = this.isolated.has(row) || (parent >= 0 && isolated[parent]) ? 1 : 0;
      if (this.hidden.has(row)) flags |= FLAG.hidden;
      if (this.selection.has(row)) flags |= FLAG.selected;
      if (this.hover === row) flags |= FLAG.hover;
      if (this.selection.size && !(flags & FLAG.selected)) flags |= FLAG.dim;
      made[row] = flags;
    }
    if (this.isolated.size) for (const {row} of this.nodes) if (!isolated[row]) made[row] |= FLAG.hidden;
    return made;
  }

  /** What the renderer needs of every node. */
  table() {
    const flags = this.flags();
    const made = new Uint32Array(4 * this.nodes.length);
    for (const {row} of this.nodes) {
      const part = this.cut[row];
      const [red, green, blue] = this.nodes[part].color;
      made.set([red | (green << 8) | (blue << 16), part, flags[row]], 4 * row);
    }
    return made;
  }

  /** Area and box of some nodes and all below them, each counted once. */
  measure(rows) {
    const chosen = new Set(rows);
    const apart = rows.filter(row => !this.path(row).slice(1).some(at => chosen.has(at)));
    const area = apart.reduce((sum, row) => sum + this.nodes[row].area, 0);
    return {area, box: apart.reduce((box, row) => joinedBox(box, this.nodes[row].box), null)};
  }
}

function joinedBox(a, b) {
  if (!a || !b) return a ?? b;
  return [a[0].map((x, k) => Math.min(x, b[0][k])), a[1].map((x, k) => Math.max(x, b[1][k]))];
}
