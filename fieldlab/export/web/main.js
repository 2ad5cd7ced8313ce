// Puts the page together.

const RELIEF = {photo: 0.22, mix: 0.6, parts: 0.75, none: 0.9};
const TINT = {photo: 0, mix: 0.6, parts: 1, none: 0};
const BORDERS = {photo: 0, mix: 0.28, parts: 0.28, none: 0};
const SHARPEST = 2; // pixels of the picture for one of the page

class Viewer {
  constructor(page) {
    this.page = page;
    this.canvas = document.getElementById('canvas');
    this.tip = document.getElementById('tip');
    const middle = add(page.low, page.size, 0.5);
    this.camera = new Camera(page.up, middle, norm(page.size) / 2, page.view);
    this.colored = Boolean(page.arrays.color || page.picture);
    this.display = {colors: this.colored ? 'photo' : page.parts ? 'parts' : 'none'};
    this.parts = page.parts && new Parts(page.parts, () => this.changed());
    this.frames = 0;
    this.pointer = null; // where the pointer rests, until it is known what lies there
    this.needsTable = this.needsDraw = true; // the table of the parts, the picture
    this.renderer = this.made();
    this.panel = this.parts && new Panel(this.parts, this.display, rows => this.goTo(rows));
    this.controls = new Controls(this.canvas, this.camera, {
      moved: () => this.request(),
      clicked: (x, y, more) => this.clicked(x, y, more),
      doubled: (x, y) => this.doubled(x, y),
      hovered: (x, y) => this.hovered(x, y),
    });
    this.listen();
  }

  made() {
    return new Renderer(this.canvas, this.page, this.parts ? this.parts.nodes.length : 1);
  }

  listen() {
    new ResizeObserver(() => this.resized()).observe(this.canvas);
    this.watchScale();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.themed());
    this.canvas.addEventListener('webglcontextlost', event => event.preventDefault());
    this.canvas.addEventListener('webglcontextrestored', () => {
      this.renderer = this.made();
      this.changed();
    });
    document.getElementById('home').addEventListener('click', () => this.goHome());
    const help = document.getElementById('keys');
    document.getElementById('help').addEventListener('click', () => help.showModal());
    help.addEventListener('click', event => event.target === help && help.close());
    const fold = document.getElementById('fold');
    fold.hidden = !this.parts;
    fold.addEventListener('click', () => {
      const folded = document.body.classList.toggle('folded');
      fold.setAttribute('aria-expanded', !folded);
    });
    addEventListener('keydown', event => this.pressed(event));
    this.themed();
    this.resized();
  }

  /** The pixels of the page can become larger or smaller while its size stays, as on another screen. */
  watchScale() {
    const query = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
    query.addEventListener('change', () => { this.resized(); this.watchScale(); }, {once: true});
  }

  /** Look after everything with the next frame, once however often it is asked for. */
  schedule() {
    this.waiting ??= requestAnimationFrame(now => this.frame(now));
  }

  request() {
    this.needsDraw = true;
    this.schedule();
  }

  changed() {
    this.needsTable = true;
    this.request();
  }

  frame(now) {
    this.waiting = null;
    if (this.renderer.gl.isContextLost()) return;
    if (this.camera.flight) {
      this.camera.step(now);
      this.needsDraw = true;
    } else if (this.pointer) this.pointAt(this.pointer);
    if (this.needsTable) this.refresh();
    if (this.needsDraw) this.draw();
    if (this.camera.flight) this.request();
  }

  /** Hand what has changed of the parts to the renderer and the panel. */
  refresh() {
    this.needsTable = false;
    const plain = new Uint32Array([0xcccccc, 0, 0, 0]);
    this.renderer.setTable(this.parts ? this.parts.table() : plain);
    this.panel?.update();
  }

  draw() {
    const {colors} = this.display;
    const {selection, hover} = this.parts ?? {selection: new Set(), hover: -1};
    this.renderer.draw(this.camera, {
      tinted: TINT[colors], relief: this.colored || colors !== 'photo' ? RELIEF[colors] : RELIEF.none,
      borders: this.parts ? BORDERS[colors] : 0, marked: selection.size > 0 || hover >= 0,
      background: this.background, accent: this.accent, scale: this.scale,
    });
    this.needsDraw = false;
    this.frames++;
  }

  themed() {
    const style = getComputedStyle(this.canvas);
    const color = text => text.match(/[\d.]+/g).slice(0, 3).map(x => x / 255);
    this.background = color(style.backgroundColor);
    this.accent = color(style.color);
    this.request();
  }

  resized() {
    const {clientWidth, clientHeight} = this.canvas;
    this.scale = Math.min(devicePixelRatio || 1, SHARPEST);
    this.canvas.width = Math.max(1, Math.round(clientWidth * this.scale));
    this.canvas.height = Math.max(1, Math.round(clientHeight * this.scale));
    this.camera.width = Math.max(1, clientWidth);
    this.camera.height = Math.max(1, clientHeight);
    // At once: a canvas that changed its size is empty until it is drawn again.
    cancelAnimationFrame(this.waiting);
    this.needsDraw = true;
    this.frame(performance.now());
  }

  /** What is under a pixel of the page: {row, depth} or null. */
  under(x, y) {
    if (this.needsTable) this.refresh();
    return this.renderer.pick(this.camera, Math.floor(x * this.scale), Math.floor(y * this.scale));
  }

  clicked(x, y, more) {
    if (!this.parts) return;
    const found = this.under(x, y);
    if (found) this.parts.select([more ? this.parts.cut[found.row] : this.parts.meant(found.row)], more);
    else if (!more) this.parts.select([]);
  }

  doubled(x, y) {
    const found = this.under(x, y);
    if (!found) return;
    const target = this.camera.point(x, y, found.depth);
    const distance = 0.6 * norm(add(this.camera.eye, target, -1));
    this.fly({target, distance});
  }

  hovered(x, y) {
    if (!this.parts) return;
    this.pointer = x === undefined ? null : {x, y};
    if (!this.pointer) {
      this.parts.point(-1);
      this.tip.hidden = true;
    }
    this.schedule();
  }

  /** Mark and name what a click would select. */
  pointAt({x, y}) {
    this.pointer = null;
    const found = this.under(x, y);
    const row = found ? this.parts.cut[found.row] : -1;
    this.parts.point(row);
    this.canvas.style.cursor = row < 0 ? '' : 'pointer';
    this.tip.hidden = row < 0;
    if (row < 0) return;
    this.tip.textContent = this.parts.nodes[row].name;
    const left = clamp(x + 14, 4, this.camera.width - this.tip.offsetWidth - 4);
    const top = y + 20 + this.tip.offsetHeight > this.camera.height ? y - 10 - this.tip.offsetHeight : y + 20;
    this.tip.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
  }

  fly(place) {
    this.camera.fly(place, performance.now());
    this.request();
  }

  goHome() {
    this.fly(this.camera.home());
  }

  goTo(rows) {
    const {box} = this.parts.measure(rows);
    const size = add(box[1], box[0], -1);
    const radius = Math.max(norm(size) / 2, 0.02 * this.camera.radius);
    this.fly(this.camera.around(add(box[0], size, 0.5), radius));
  }

  /** Keys that mean the same wherever the focus is, except where text is written. */
  pressed(event) {
    const writing = event.target.matches('input:not([type=radio], [type=range])');
    if (writing || event.altKey || event.ctrlKey || event.metaKey || document.querySelector('dialog[open]')) return;
    const {parts} = this;
    const rows = parts ? [...parts.selection] : [];
    const keys = {
      '?': () => document.getElementById('keys').showModal(), Home: () => this.goHome(), 0: () => this.goHome(),
      Escape: () => parts?.select([]), '[': () => this.stepLevel(-1), ']': () => this.stepLevel(1),
    };
    if (rows.length) {
      keys.f = () => this.goTo(rows);
      keys.h = () => hideOrShow(parts, rows);
      keys.i = () => parts.isolate(rows);
    }
    if (!keys[event.key] || (event.key === 'Home' && event.target.matches('input'))) return;
    event.preventDefault();
    keys[event.key]();
  }

  stepLevel(step) {
    if (!this.parts) return;
    this.panel.slider.value = this.parts.level + step;
    this.panel.slid();
  }
}

/** A small handle for programs that drive the page. */
function handle(viewer) {
  const {parts} = viewer;
  const ids = rows => [...rows].map(row => parts.nodes[row].id);
  return {
    selected: () => (parts ? ids(parts.selection) : []),
    hidden: () => (parts ? ids(parts.hidden) : []),
    current: () => (parts ? ids(parts.current) : []),
    partAt: (x, y) => {
      const found = viewer.under(x, y);
      return found && parts ? parts.nodes[parts.cut[found.row]].id : null;
    },
    pointAt: (x, y) => {
      const found = viewer.under(x, y);
      return found && viewer.camera.point(x, y, found.depth);
    },
    get level() { return parts?.level ?? 0; },
    set level(level) { viewer.panel.slider.value = level; viewer.panel.slid(); },
    get levels() { return parts?.levels.length ?? 0; },
    get eye() { return viewer.camera.eye; },
    get frames() { return viewer.frames; },
  };
}

async function start() {
  const message = document.getElementById('message');
  try {
    const page = await readPage();
    const count = page.arrays.index.length / 3;
    const nodes = page.parts?.nodes.filter(node => node.id !== null).length;
    const parts = nodes ? ` · ${nodes.toLocaleString('en')} ${nodes === 1 ? 'segment' : 'segments'} in all` : '';
    document.getElementById('counts').textContent = `${count.toLocaleString('en')} triangles${parts}`;
    const viewer = new Viewer(page);
    message.hidden = true;
    document.getElementById('poster')?.classList.add('gone');
    return handle(viewer);
  } catch (error) {
    message.className = 'warning';
    message.textContent = `This browser cannot show the mesh: ${error.message}.`;
    throw error;
  }
}

const ready = start();
window.fieldlab = {ready};
ready.then(made => Object.defineProperties(window.fieldlab, Object.getOwnPropertyDescriptors(made)));
