// Three programs: the colored mesh, which part and how deep every pixel is, and lines around parts.

// The table has one texel for each node: color at the level, part at the level, flags.
const TABLE = `
uniform highp usampler2D table;
uvec4 entry(uint row) { return texelFetch(table, ivec2(row & 1023u, row >> 10), 0); }
const uint HIDDEN = 1u, SELECTED = 2u, HOVER = 4u, DIM = 8u;
`;

const PLACED = `
uniform mat4 view;
uniform vec3 size;
layout(location = 0) in vec3 position;
layout(location = 2) in uint row;
vec3 local() { return (position - 0.5) * size; }
vec4 placed(uint flags) { return (flags & HIDDEN) != 0u ? vec4(2.0, 2.0, 2.0, 1.0) : view * vec4(local(), 1.0); }
`;

const MESH_VERTEX = `#version 300 es
precision highp float;
${TABLE}${PLACED}
layout(location = 1) in vec2 bent;
layout(location = 3) in vec3 color;
layout(location = 4) in vec2 uv;
out vec3 at, normal, own;
out vec2 where;
flat out vec3 tint;
flat out uint flags;
vec3 unbent(vec2 e) {
  vec3 n = vec3(e, 1.0 - abs(e.x) - abs(e.y));
  float fold = max(-n.z, 0.0);
  n.xy -= vec2(n.x < 0.0 ? -fold : fold, n.y < 0.0 ? -fold : fold);
  return normalize(n);
}
void main() {
  uvec4 node = entry(row);
  at = local();
  normal = unbent((bent * 255.0 - 128.0) / 127.0);
  own = color;
  where = vec2(uv.x, 1.0 - uv.y);
  tint = vec3(node.r & 255u, (node.r >> 8) & 255u, (node.r >> 16) & 255u) / 255.0;
  flags = node.b;
  gl_Position = placed(flags);
}`;

const MESH_FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
${TABLE}
uniform sampler2D picture;
uniform bool pictured;
uniform float tinted, relief;
uniform vec3 eye, background, above;
in vec3 at, normal, own;
in vec2 where;
flat in vec3 tint;
flat in uint flags;
out vec4 made;
void main() {
  vec3 photo = pictured ? texture(picture, where).rgb : own;
  vec3 toward = normalize(eye - at);
  vec3 n = normalize(normal);
  n = gl_FrontFacing ? n : -n;
  float light = 0.55 * max(dot(n, toward), 0.0) + 0.45 * (0.5 + 0.5 * dot(n, normalize(toward + above)));
  vec3 lit = mix(photo, tint, tinted) * mix(1.0, 0.3 + 0.78 * light, relief);
  if ((flags & DIM) != 0u) lit = mix(vec3(dot(lit, vec3(0.3, 0.59, 0.11))), background, 0.64);
  if ((flags & HOVER) != 0u) lit = mix(lit, vec3(1.0), 0.1);
  made = vec4(lit, 1.0);
}`;

const ID_VERTEX = `#version 300 es
precision highp float;
${TABLE}${PLACED}
flat out uint code;
out float depth;
void main() {
  uint flags = entry(row).b;
  gl_Position = placed(flags);
  depth = gl_Position.w;
  code = (row + 1u) | (flags << 24);
}`;

const ID_FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
flat in uint code;
in float depth;
out uvec2 made;
void main() { made = uvec2(code, floatBitsToUint(depth)); }`;

const LINES_VERTEX = `#version 300 es
void main() { gl_Position = vec4(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0, 0.0, 1.0); }`;

// Around marked parts a line as wide as the disk it looks at, smooth by how much of the disk is marked.
const LINES_FRAGMENT = `#version 300 es
precision highp float;
precision highp int;
${TABLE}
uniform highp usampler2D ids;
uniform vec3 accent;
uniform float borders, width;
uniform bool marked;
out vec4 made;
uint code(ivec2 p) { return texelFetch(ids, clamp(p, ivec2(0), textureSize(ids, 0) - 1), 0).r; }
uint part(uint c) { uint row = c & 0xffffffu; return row == 0u ? 0u : entry(row - 1u).g + 1u; }
void main() {
  ivec2 p = ivec2(gl_FragCoord.xy);
  uint here = code(p);
  made = vec4(0.0);
  if (borders > 0.0) {
    uint own = part(here), right = part(code(p + ivec2(1, 0))), over = part(code(p + ivec2(0, 1)));
    if (own != 0u && ((right != 0u && right != own) || (over != 0u && over != own))) made = vec4(0, 0, 0, borders);
  }
  if (!marked) return;
  int r = int(width);
  uint same = here, any = here; // most pixels are far from any line
  for (int i = 0; i < 4; i++) {
    uint c = code(p + ivec2(i < 2 ? -r : r, (i & 1) == 0 ? -r : r));
    same &= c;
    any |= c;
  }
  if (((same ^ any) >> 24 & (SELECTED | HOVER)) == 0u) return;
  vec2 share = vec2(0.0);
  for (int i = 0; i < 16; i++) {
    float angle = float(i) * 2.39996, away = width * sqrt((float(i) + 0.5) / 16.0);
    uint flags = code(p + ivec2(round(away * vec2(cos(angle), sin(angle))))) >> 24;
    share += vec2((flags & SELECTED) != 0u ? 1.0 : 0.0, (flags & HOVER) != 0u ? 1.0 : 0.0) / 16.0;
  }
  vec2 edge = smoothstep(0.15, 0.75, 4.0 * share * (1.0 - share));
  float strength = max(edge.x, 0.7 * edge.y);
  if (strength > made.a) made = vec4(accent, strength);
}`;
