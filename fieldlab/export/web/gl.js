// Draws the mesh with WebGL 2.

const TABLE_WIDTH = 1024;

class Renderer {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {object} page what readPage gave
   * @param {number} nodes rows of the table
   */
  constructor(canvas, page, nodes) {
    const gl = canvas.getContext('webgl2', {antialias: true, alpha: false, powerPreference: 'high-performance'});
    if (!gl) throw new Error('WebGL 2 is missing');
    this.gl = gl;
    this.size = page.size;
    this.origin = add(page.low, page.size, 0.5);
    this.triangles = page.arrays.index.length;
    this.mesh = program(gl, MESH_VERTEX, MESH_FRAGMENT);
    this.ids = program(gl, ID_VERTEX, ID_FRAGMENT);
    this.lines = program(gl, LINES_VERTEX, LINES_FRAGMENT);
    this.corners = this.uploaded(page.arrays);
    this.pictured = page.picture !== null;
    this.picture = this.textured(page.picture ?? new ImageData(1, 1)); // every sampler needs a texture
    this.rows = Math.ceil(nodes / TABLE_WIDTH);
    this.table = plainTexture(gl);
    this.target = {width: 0, height: 0, frame: gl.createFramebuffer(), codes: null, depth: null};
    this.fresh = false; // whether the codes are those of the last picture
    gl.enable(gl.DEPTH_TEST);
  }

  uploaded({position, normal, row, color, uv, index}) {
    const gl = this.gl;
    const corners = gl.createVertexArray();
    gl.bindVertexArray(corners);
    const buffer = (where, values, columns, kind) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(where);
      if (kind === gl.UNSIGNED_INT) gl.vertexAttribIPointer(where, columns, kind, 0, 0);
      else gl.vertexAttribPointer(where, columns, kind, true, 0, 0);
    };
    buffer(0, position, 3, gl.UNSIGNED_SHORT);
    buffer(1, normal, 2, gl.UNSIGNED_BYTE);
    buffer(2, row, 1, gl.UNSIGNED_INT);
    if (color) buffer(3, color, 3, gl.UNSIGNED_BYTE);
    else gl.vertexAttrib3f(3, 0.8, 0.8, 0.8);
    if (uv) buffer(4, uv, 2, gl.UNSIGNED_SHORT);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, index, gl.STATIC_DRAW);
    gl.bindVertexArray(null);
    return corners;
  }

  textured(picture) {
    const gl = this.gl;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, picture);
    gl.generateMipmap(gl.TEXTURE_2D);
    const sharper = gl.getExtension('EXT_texture_filter_anisotropic');
    if (sharper) gl.texParameteri(gl.TEXTURE_2D, sharper.TEXTURE_MAX_ANISOTROPY_EXT, 4);
    return texture;
  }

  /** Fill the table: Uint32Array of four numbers for each node. */
  setTable(values) {
    const gl = this.gl;
    const all = new Uint32Array(4 * TABLE_WIDTH * this.rows);
    all.set(values);
    gl.bindTexture(gl.TEXTURE_2D, this.table);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32UI, TABLE_WIDTH, this.rows, 0, gl.RGBA_INTEGER, gl.UNSIGNED_INT, all);
    this.fresh = false;
  }

  /**
   * @param {Camera} camera
   * @param {object} style tinted, relief and borders in [0,1]; background and accent colors; marked; scale of pixels
   */
  draw(camera, style) {
    const gl = this.gl;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight);
    gl.clearColor(...style.background, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const set = this.use(this.mesh, camera);
    gl.uniform1f(set.tinted, style.tinted);
    gl.uniform1f(set.relief, style.relief);
    gl.uniform3fv(set.background, style.background);
    gl.uniform3fv(set.eye, add(camera.eye, this.origin, -1));
    gl.uniform3fv(set.above, camera.up);
    gl.uniform1i(set.pictured, this.pictured ? 1 : 0);
    bound(gl, 1, this.picture);
    gl.uniform1i(set.picture, 1);
    this.triangulate();
    this.fresh = false;
    if (style.borders > 0 || style.marked) this.drawLines(camera, style);
  }

  drawLines(camera, style) {
    const gl = this.gl;
    this.identify(camera);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight);
    const set = this.use(this.lines);
    bound(gl, 2, this.target.codes);
    gl.uniform1i(set.ids, 2);
    gl.uniform3fv(set.accent, style.accent);
    gl.uniform1f(set.borders, style.borders);
    gl.uniform1f(set.width, 2 * style.scale);
    gl.uniform1i(set.marked, style.marked ? 1 : 0);
    gl.disable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    gl.bindVertexArray(null);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.disable(gl.BLEND);
    gl.enable(gl.DEPTH_TEST);
  }

  /** What is at a pixel of the drawing buffer, counted from the top: {row, depth}, or null where nothing is. */
  pick(camera, x, y) {
    const gl = this.gl;
    if (!this.fresh) this.identify(camera);
    const found = new Uint32Array(4);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target.frame);
    gl.readPixels(x, gl.drawingBufferHeight - 1 - y, 1, 1, gl.RGBA_INTEGER, gl.UNSIGNED_INT, found);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    const row = (found[0] & 0xffffff) - 1;
    return row < 0 ? null : {row, depth: new Float32Array(found.buffer)[1]};
  }

  /** Draw which node and how deep every pixel is. */
  identify(camera) {
    const gl = this.gl;
    this.resizeTarget();
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.target.frame);
    gl.viewport(0, 0, this.target.width, this.target.height);
    gl.clearBufferuiv(gl.COLOR, 0, [0, 0, 0, 0]);
    gl.clear(gl.DEPTH_BUFFER_BIT);
    this.use(this.ids, camera);
    bound(gl, 2, null); // what is drawn into must not be read
    this.triangulate();
    this.fresh = true;
  }

  resizeTarget() {
    const {gl, target} = this;
    const [width, height] = [gl.drawingBufferWidth, gl.drawingBufferHeight];
    if (target.width === width && target.height === height) return;
    gl.deleteTexture(target.codes);
    gl.deleteRenderbuffer(target.depth);
    Object.assign(target, {width, height, codes: plainTexture(gl), depth: gl.createRenderbuffer()});
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RG32UI, width, height);
    gl.bindRenderbuffer(gl.RENDERBUFFER, target.depth);
    gl.renderbufferStorage(gl.RENDERBUFFER, gl.DEPTH_COMPONENT24, width, height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, target.frame);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, target.codes, 0);
    gl.framebufferRenderbuffer(gl.FRAMEBUFFER, gl.DEPTH_ATTACHMENT, gl.RENDERBUFFER, target.depth);
  }

  use({handle, uniforms}, camera) {
    const gl = this.gl;
    gl.useProgram(handle);
    bound(gl, 0, this.table);
    gl.uniform1i(uniforms.table, 0);
    if (camera) {
      gl.uniformMatrix4fv(uniforms.view, false, camera.matrix(this.origin));
      gl.uniform3fv(uniforms.size, this.size);
    }
    return uniforms;
  }

  triangulate() {
    this.gl.bindVertexArray(this.corners);
    this.gl.drawElements(this.gl.TRIANGLES, this.triangles, this.gl.UNSIGNED_INT, 0);
  }
}

function program(gl, ...sources) {
  const handle = gl.createProgram();
  sources.forEach((source, i) => {
    const shader = gl.createShader(i ? gl.FRAGMENT_SHADER : gl.VERTEX_SHADER);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(handle, shader);
    if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost())
      throw new Error(gl.getShaderInfoLog(shader));
  });
  gl.linkProgram(handle);
  if (!gl.getProgramParameter(handle, gl.LINK_STATUS) && !gl.isContextLost())
    throw new Error(gl.getProgramInfoLog(handle));
  const uniforms = {};
  for (let i = 0; i < gl.getProgramParameter(handle, gl.ACTIVE_UNIFORMS); i++) {
    const {name} = gl.getActiveUniform(handle, i);
    uniforms[name] = gl.getUniformLocation(handle, name);
  }
  return {handle, uniforms};
}

function bound(gl, unit, texture) {
  gl.activeTexture(gl.TEXTURE0 + unit);
  gl.bindTexture(gl.TEXTURE_2D, texture);
}

/** A texture of whole numbers, which no filter can read. */
function plainTexture(gl) {
  const texture = gl.createTexture();
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  return texture;
}
