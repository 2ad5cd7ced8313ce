// A camera that turns around a point, upright along the scene's axis. Lengths are the scene's units, angles radians.

const FOV = 0.7; // of the shorter side of the picture
const STEEPEST = 1.55;
const FLIGHT = 350; // milliseconds

const add = (a, b, k = 1) => [a[0] + k * b[0], a[1] + k * b[1], a[2] + k * b[2]];
const scaled = (a, k) => [a[0] * k, a[1] * k, a[2] * k];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const norm = a => Math.hypot(a[0], a[1], a[2]);
const unit = a => scaled(a, 1 / (norm(a) || 1));
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

class Camera {
  /**
   * @param {number[]} up direction of the axis it turns around
   * @param {number[]} middle and
   * @param {number} radius of a ball around everything
   * @param {?number[][]} view eye and target to begin with
   */
  constructor(up, middle, radius, view) {
    this.up = unit(up);
    const other = Math.abs(this.up[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0];
    this.side = unit(add(other, this.up, -dot(other, this.up)));
    this.ahead = cross(this.up, this.side);
    this.middle = middle;
    this.radius = radius || 1;
    this.width = this.height = 1;
    this.flight = null;
    this.home = view ? () => this.lookingFrom(...view) : () => this.around(middle, radius, -1.1, 0.42);
    Object.assign(this, this.home());
  }

  /** A place: what is looked at, from how far, and from which side. */
  around(target, radius, azimuth = this.azimuth, elevation = this.elevation) {
    return {target, distance: 1.12 * radius / Math.sin(FOV / 2), azimuth, elevation};
  }

  lookingFrom(eye, target) {
    const back = add(eye, target, -1);
    const distance = norm(back) || this.radius;
    const elevation = clamp(Math.asin(clamp(dot(back, this.up) / distance, -1, 1)), -STEEPEST, STEEPEST);
    return {target, distance, azimuth: Math.atan2(dot(back, this.ahead), dot(back, this.side)), elevation};
  }

  /** Unit vectors to the right, up and back in the picture. */
  get axes() {
    const level = Math.cos(this.elevation);
    let back = scaled(this.up, Math.sin(this.elevation));
    back = add(back, this.side, level * Math.cos(this.azimuth));
    back = add(back, this.ahead, level * Math.sin(this.azimuth));
    const right = unit(cross(this.up, back));
    return {right, above: cross(back, right), back};
  }

  get eye() {
    return add(this.target, this.axes.back, this.distance);
  }

  /** Half the height of the picture at distance 1. */
  get slope() {
    return Math.tan(FOV / 2) * Math.max(1, this.height / this.width);
  }

  /** World units that a pixel of the page covers where the target is. */
  get pixel() {
    return 2 * this.distance * this.slope / this.height;
  }

  /** Column-major view and projection of points that are given relative to `origin`. */
  matrix(origin) {
    const {right, above, back} = this.axes;
    const eye = add(this.eye, origin, -1);
    const away = norm(add(this.eye, this.middle, -1));
    const far = away + 1.01 * this.radius;
    const near = Math.max(away - 1.01 * this.radius, far * 5e-4);
    const y = 1 / this.slope;
    const x = y * this.height / this.width;
    const z = (far + near) / (near - far);
    const rows = [scaled(right, x), scaled(above, y), scaled(back, z), scaled(back, -1)];
    const last = rows.map((row, i) => -dot(row, eye) + (i === 2 ? 2 * far * near / (near - far) : 0));
    return new Float32Array([0, 1, 2].flatMap(k => rows.map(row => row[k])).concat(last));
  }

  /** World point at a depth along the view, seen at a pixel. */
  point(x, y, depth) {
    const {right, above, back} = this.axes;
    const scale = 2 * this.slope / this.height * depth;
    const across = add(scaled(right, (x - this.width / 2) * scale), above, (this.height / 2 - y) * scale);
    return add(add(this.eye, back, -depth), across);
  }

  turn(right, down) {
    this.flight = null;
    this.azimuth -= right;
    this.elevation = clamp(this.elevation + down, -STEEPEST, STEEPEST);
  }

  /** Shift the picture by pixels. */
  pan(right, down) {
    this.flight = null;
    const axes = this.axes;
    this.target = add(add(this.target, axes.right, -right * this.pixel), axes.above, down * this.pixel);
  }

  /** Come closer (`factor` below 1) so that what is under a pixel stays there. */
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    this.flight = null;
    const distance = clamp(this.distance * factor, 2e-3 * this.radius, 20 * this.radius);
    const under = this.point(x, y, this.distance);
    this.target = add(this.target, add(under, this.target, -1), 1 - distance / this.distance);
    this.distance = distance;
  }

  /** Go somewhere, smoothly unless the visitor wants nothing to move. */
  fly(place, now) {
    if (matchMedia('(prefers-reduced-motion: reduce)').matches) {
      Object.assign(this, place);
      return;
    }
    const {target, distance, azimuth, elevation} = this;
    const turn = (place.azimuth ?? azimuth) - azimuth;
    const to = {target, distance, elevation, ...place, azimuth: azimuth + Math.atan2(Math.sin(turn), Math.cos(turn))};
    this.flight = {from: {target, distance, azimuth, elevation}, to, start: now};
  }

  /** Go on with a flight. */
  step(now) {
    const {from, to, start} = this.flight;
    const t = clamp((now - start) / FLIGHT, 0, 1);
    const s = t * t * (3 - 2 * t);
    this.target = add(scaled(from.target, 1 - s), to.target, s);
    this.distance = from.distance * (to.distance / from.distance) ** s;
    this.azimuth = from.azimuth + s * (to.azimuth - from.azimuth);
    this.elevation = from.elevation + s * (to.elevation - from.elevation);
    if (t >= 1) this.flight = null;
  }
}
