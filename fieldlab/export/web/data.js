// What the page carries: facts as JSON, arrays of the mesh, and perhaps a picture for it.

const KINDS = {1: Uint8Array, 2: Uint16Array, 4: Uint32Array};

/** The facts, with `arrays` by name, and the picture as an ImageBitmap or null. */
async function readPage() {
  const text = id => document.getElementById(id).textContent;
  const facts = JSON.parse(text('facts'));
  const bytes = await unzipped(decoded(text('arrays')));
  const arrays = {};
  let at = 0;
  for (const {name, bytes: size, rows, columns} of facts.arrays) {
    arrays[name] = unpacked(bytes, at, rows, columns, size);
    at += rows * columns * size;
  }
  const uri = text('picture');
  return {...facts, arrays, picture: uri ? await pictureOf(uri) : null};
}

function decoded(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function unzipped(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** An array from the sorted bytes of the differences of its rows. */
function unpacked(bytes, start, rows, columns, size) {
  const count = rows * columns;
  const made = new KINDS[size](count);
  for (let i = 0; i < count; i++) {
    let code = 0;
    for (let k = 0; k < size; k++) code |= bytes[start + k * count + i] << (8 * k);
    const step = (code >>> 1) ^ -(code & 1);
    made[i] = (i < columns ? 0 : made[i - columns]) + step; // the array wraps around as the packing did
  }
  return made;
}

async function pictureOf(uri) {
  const blob = new Blob([decoded(uri.slice(uri.indexOf(',') + 1))], {type: uri.slice(5, uri.indexOf(';'))});
  return createImageBitmap(blob, {colorSpaceConversion: 'none', premultiplyAlpha: 'none'});
}
