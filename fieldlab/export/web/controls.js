// Pointer, wheel and keyboard over the mesh.

const SLACK = 5; // pixels a click may stray
const DOUBLE = 320; // milliseconds between the clicks of a double click
const TURN = 0.006; // radians for a pixel
const KEY_TURN = 0.12;
const KEY_PAN = 40; // pixels
const WHEEL = {0: 0.0016, 1: 0.04, 2: 0.5}; // by the unit of the wheel: pixels, lines, pages

class Controls {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Camera} camera
   * @param {object} on moved(), clicked(x, y, more), doubled(x, y), hovered(x, y) or hovered() when the pointer left
   */
  constructor(canvas, camera, on) {
    Object.assign(this, {canvas, camera, on});
    this.fingers = new Map();
    this.last = {time: -Infinity, x: 0, y: 0};
    const listen = (name, action, options) => canvas.addEventListener(name, action.bind(this), options);
    listen('pointerdown', this.down);
    listen('pointermove', this.move);
    listen('pointerup', this.up);
    listen('pointercancel', this.lift);
    listen('pointerleave', () => on.hovered());
    listen('wheel', this.wheel, {passive: false});
    listen('keydown', this.key);
    listen('contextmenu', event => event.preventDefault());
  }

  placed(event) {
    const box = this.canvas.getBoundingClientRect();
    return {x: event.clientX - box.left, y: event.clientY - box.top};
  }

  down(event) {
    if (event.button > 2) return;
    const place = this.placed(event);
    this.canvas.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, place);
    if (this.fingers.size === 1) this.press = {...place, still: true, shift: event.button > 0 || event.shiftKey};
    else this.press.still = false;
    this.on.hovered();
  }

  move(event) {
    const place = this.placed(event);
    const before = this.fingers.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== 'touch') this.on.hovered(place.x, place.y);
      return;
    }
    if (this.press.still && Math.hypot(place.x - this.press.x, place.y - this.press.y) < SLACK) return;
    this.press.still = false;
    const apart = this.spread();
    this.fingers.set(event.pointerId, place);
    const [right, down] = [place.x - before.x, place.y - before.y];
    if (this.fingers.size > 1) this.pinch(apart, right, down);
    else if (this.press.shift) this.camera.pan(right, down);
    else this.camera.turn(right * TURN, down * TURN);
    this.on.moved();
  }

  /** Middle of two fingers, and how far they are apart. */
  spread() {
    const [a, b] = [...this.fingers.values()];
    return b ? {x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, length: Math.hypot(a.x - b.x, a.y - b.y)} : null;
  }

  pinch(before, right, down) {
    const {x, y, length} = this.spread();
    this.camera.pan(right / this.fingers.size, down / this.fingers.size);
    if (before.length > 0 && length > 0) this.camera.zoom(before.length / length, x, y);
  }

  lift(event) {
    this.fingers.delete(event.pointerId);
  }

  up(event) {
    const clicked = this.fingers.has(event.pointerId) && this.press.still && event.button === 0;
    this.lift(event);
    if (!clicked) return;
    const {x, y} = this.press;
    const {last} = this;
    const double = event.timeStamp - last.time < DOUBLE && Math.hypot(x - last.x, y - last.y) < 4 * SLACK;
    this.last = double ? {time: -Infinity, x, y} : {time: event.timeStamp, x, y};
    if (double) this.on.doubled(x, y);
    else this.on.clicked(x, y, event.shiftKey || event.ctrlKey || event.metaKey);
  }

  wheel(event) {
    event.preventDefault();
    const {x, y} = this.placed(event);
    // Browsers report the pinch of a touch pad as a wheel with Ctrl, in smaller steps.
    const step = event.deltaY * WHEEL[event.deltaMode] * (event.ctrlKey ? 5 : 1);
    this.camera.zoom(Math.exp(clamp(step, -0.5, 0.5)), x, y);
    this.on.moved();
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const {camera} = this;
    const go = (right, down) =>
      event.shiftKey ? camera.pan(-right * KEY_PAN, -down * KEY_PAN) : camera.turn(right * KEY_TURN, -down * KEY_TURN);
    const moves = {
      ArrowLeft: () => go(-1, 0), ArrowRight: () => go(1, 0), ArrowUp: () => go(0, -1), ArrowDown: () => go(0, 1),
      '+': () => camera.zoom(0.85), '=': () => camera.zoom(0.85), '-': () => camera.zoom(1 / 0.85),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
    this.on.moved();
  }
}
