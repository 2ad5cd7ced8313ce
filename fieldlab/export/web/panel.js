// The panel: colors, level, the list of parts, and what is known of the selection.

const COLORS = {photo: 'Photo', mix: 'Mix', parts: 'Segments'};
const MANY = 12; // parts from which on there is a field to find one

/** Three digits of a length or an area. */
function digits(value) {
  const large = Math.abs(value) >= 100;
  return value.toLocaleString('en', large ? {maximumFractionDigits: 0} : {maximumSignificantDigits: 3});
}

/** A coordinate as exactly as a part of this size needs it. */
function coordinate(value, size) {
  const places = clamp(Math.ceil(2 - Math.log10(size || 1)), 0, 8);
  return (Number(value.toFixed(places)) || 0).toLocaleString('en', {maximumFractionDigits: places});
}

/** Turn a place into a row of radio buttons. */
function choice(place, options, chosen, set) {
  const radios = Object.entries(options).map(([value, text]) => {
    const onchange = () => set(value);
    const radio = element('input', {type: 'radio', name: place.id, value, checked: value === chosen, onchange});
    place.append(element('label', {}, radio, element('span', {textContent: text})));
    return radio;
  });
  return value => { for (const radio of radios) radio.checked = radio.value === value; };
}

class Panel {
  /**
   * @param {Parts} parts
   * @param {object} display with `colors`, one of COLORS
   * @param {function} go called with rows that the view should turn to
   */
  constructor(parts, display, go) {
    Object.assign(this, {parts, display, go});
    const get = id => document.getElementById(id);
    this.slider = get('level');
    this.text = get('level-text');
    this.card = get('card');
    this.all = get('all');
    this.rows = new PartRows(get('tree'), parts, row => go([row]));
    this.touched = false; // whether the visitor has chosen colors
    this.setColors = choice(get('colors'), COLORS, display.colors, value => {
      this.touched = true;
      display.colors = value;
      parts.changed();
    });
    choice(get('scope'), {level: 'This level', tree: 'Whole tree'}, 'level', value => this.list(value === 'tree'));
    this.slider.max = Math.max(parts.levels.length - 1, 0);
    this.slider.disabled = parts.levels.length < 2;
    this.slider.addEventListener('input', () => this.slid());
    this.all.addEventListener('click', () => parts.showAll());
    const search = get('search');
    search.hidden = parts.nodes.length < MANY;
    search.addEventListener('input', () => {
      this.rows.words = search.value.trim();
      this.rows.update();
    });
    get('panel').hidden = false;
  }

  list(whole) {
    this.rows.whole = whole;
    if (whole) for (const root of this.parts.roots) this.rows.open.add(root);
    this.rows.update();
  }

  /** A level is to be seen: photographs alone do not show it. */
  slid() {
    if (!this.touched && this.display.colors === 'photo') this.setColors(this.display.colors = 'mix');
    this.parts.level = Number(this.slider.value);
  }

  update() {
    const {parts} = this;
    const count = parts.current.length;
    const text = `${count.toLocaleString('en')} ${count === 1 ? 'segment' : 'segments'}`;
    this.slider.value = parts.level;
    this.slider.setAttribute('aria-valuetext', text);
    const share = this.slider.max > 0 ? parts.level / this.slider.max : 0;
    this.slider.style.setProperty('--share', `${100 * share}%`);
    this.text.textContent = text;
    this.text.title = `Threshold ${digits(parts.levels[parts.level])}`;
    this.all.hidden = !parts.partial;
    this.rows.update();
    this.describe();
  }

  /** Fill the card of the selection. */
  describe() {
    const rows = [...this.parts.selection];
    const flags = this.parts.flags();
    const key = JSON.stringify([rows, rows.map(row => flags[row] & FLAG.hidden), [...this.parts.isolated]]);
    if (key === this.described) return;
    this.described = key;
    this.card.hidden = !rows.length;
    if (!rows.length) return;
    const {area, box} = this.parts.measure(rows);
    const size = box[1].map((x, k) => x - box[0][k]);
    const middle = box[1].map((x, k) => coordinate((x + box[0][k]) / 2, Math.max(...size)));
    const facts = {
      Area: `${digits(area)} square units`,
      Size: `${size.map(digits).join(' × ')} units`,
      Center: `(${middle.join(', ')})`,
    };
    this.card.replaceChildren(
      this.heading(rows),
      element('dl', {title: 'Units are the scene’s own'},
        ...Object.entries(facts).flatMap(([name, value]) => [
          element('dt', {textContent: name}), element('dd', {textContent: value})])),
      this.actions(rows, rows.every(row => flags[row] & FLAG.hidden)),
      element('p', {className: 'note', textContent: 'Size is along the world axes. Units are the scene’s own.'}),
    );
  }

  heading(rows) {
    const node = this.parts.nodes[rows[0]];
    const swatch = element('span', {className: 'swatch'});
    swatch.style.background = `rgb(${node.color.join()})`;
    const name = rows.length > 1 ? `${rows.length} segments` : node.name;
    const title = rows.map(row => this.parts.nodes[row].name).join(', ');
    const label = 'Deselect';
    const close = element('button', {type: 'button', className: 'quiet', title: `${label} (Esc)`}, icon('cross'));
    close.setAttribute('aria-label', label);
    close.addEventListener('click', () => this.parts.select([]));
    return element('div', {className: 'heading'}, swatch, element('bdi', {className: 'name', textContent: name, title}),
      close);
  }

  actions(rows, hidden) {
    const {parts} = this;
    const single = rows.length === 1 ? parts.nodes[rows[0]] : null;
    const isolated = parts.isolated.size > 0 && rows.every(row => parts.isolated.has(row));
    const button = (textContent, title, onclick, disabled = false) =>
      element('button', {type: 'button', textContent, title, onclick, disabled});
    return element('div', {className: 'actions'},
      button('Parent', 'Select the segment above it', () => parts.select([single.parent]), !(single?.parent >= 0)),
      button('Children', 'Select the segments below it', () => parts.select(single.children), !single?.children.length),
      button('Go to', 'Turn the view to it (F)', () => this.go(rows)),
      button(isolated ? 'Show others' : 'Isolate', 'Show nothing else (I)', () => parts.isolate(rows)),
      button(hidden ? 'Show' : 'Hide', 'H', () => hideOrShow(parts, rows)));
  }
}

/** Hide the rows, or where all are hidden, show them. */
function hideOrShow(parts, rows) {
  const away = row => Boolean(parts.flags()[row] & FLAG.hidden);
  const all = rows.every(away);
  for (const row of rows) if (away(row) === all) parts.toggle(row);
}
