// One slice of one series as a picture at native resolution, plus contours as paths.
// Canvas2D on the CPU: exact, and as fast on a remote desktop as on a workstation.

import { clamp, extractSlice, sliceSize, windowed } from "./geometry.js";

const ARRAY_OF = { int16: Int16Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array };

// HU differences: below this nothing is coloured; at this the colour is full.
export const DIFFERENCE_FLOOR = 10;
export const DIFFERENCE_FULL = 200;

export function greyTable(centre, width, invert, table = new Uint8Array(65536)) {
  for (let i = 0; i < 65536; i++) {
    const grey = windowed(i - 32768, centre, width);
    table[i] = invert ? 255 - grey : grey;
  }
  return table;
}

// Signed HU difference -> [r, g, b, alpha]: denser orange, less dense blue (safe for red-green blindness).
export function differenceColour(hu) {
  const size = Math.abs(hu);
  if (size < DIFFERENCE_FLOOR) return [0, 0, 0, 0];
  const t = clamp((size - DIFFERENCE_FLOOR) / (DIFFERENCE_FULL - DIFFERENCE_FLOOR), 0, 1);
  const a = 0.35 + 0.65 * t;
  return hu > 0 ? [255, 120 + 100 * t, 20 + 110 * t, a] : [40 + 110 * t, 130 + 90 * t, 255, a];
}

export const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

// Dose wash: colour of the highest level reached; null below the lowest.
export function doseColour(gy, levels) {
  for (const level of levels) if (gy >= level.gy) return level.rgb;
  return null;
}

export class SlicePainter {
  constructor(shape, plane) {
    this.shape = shape;
    this.plane = plane;
    [this.nu, this.nv] = sliceSize(shape, plane);
    this.canvas = new OffscreenCanvas(this.nu, this.nv);
    this.ctx = this.canvas.getContext("2d", { willReadFrequently: true });
    this.image = this.ctx.createImageData(this.nu, this.nv);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.key = "";
    this.slices = {};
  }

  // Cached copy of one slice of a volume ("hu", "minus", "bits0", "bits1", ..., "dose").
  slice(role, volume, index) {
    const key = `${volume.id}|${index}|${volume.version}`;
    let entry = this.slices[role];
    if (!entry || entry.key !== key) {
      const type = ARRAY_OF[volume.entry.dtype];
      const out = entry && entry.out instanceof type ? entry.out : new type(this.nu * this.nv);
      entry = this.slices[role] = { key, out: extractSlice(volume.data, this.shape, this.plane, index, out) };
    }
    return entry.out;
  }

  // request: { index, hu, minus, difference, grey, greyKey, fills: [{ number, bits, fill: [[bit, rgb]] }], dose, doseLevels, doseStep }
  paint(request) {
    const { index, hu, minus, fills, dose } = request;
    const versions = [hu, minus, dose, ...fills.map(({ bits }) => bits)].map((v) => (v ? `${v.id}:${v.version}` : "-")).join();
    const fillKey = fills.map(({ fill }) => fill.map(([bit]) => bit).join()).join(";");
    const levels = dose ? request.doseLevels.map((level) => level.gy).join() : "";
    const key = [index, request.greyKey, request.difference, fillKey, levels, versions].join("|");
    if (key === this.key) return false;
    this.key = key;
    const base = this.slice("hu", hu, index);
    if (request.difference) this.paintDifference(base, minus && this.slice("minus", minus, index), request);
    else this.paintGrey(base, request.grey);
    if (dose) this.washDose(this.slice("dose", dose, index), request);
    for (const { number, bits, fill } of fills) this.fillBits(this.slice(`bits${number}`, bits, index), fill);
    this.ctx.putImageData(this.image, 0, 0);
    return true;
  }

  paintGrey(base, grey) {
    const out = this.pixels;
    for (let i = 0; i < out.length; i++) {
      const g = grey[base[i] + 32768];
      out[i] = 0xff000000 | (g << 16) | (g << 8) | g;
    }
  }

  paintDifference(base, minus, request) {
    // With two sources the original lies dimmed below the colours; a bare difference lies on dark grey.
    const rgba = this.image.data;
    for (let i = 0, o = 0; i < this.pixels.length; i++, o += 4) {
      const delta = minus ? base[i] - minus[i] : base[i];
      const under = minus ? request.grey[minus[i] + 32768] * 0.45 : 24;
      let [r, g, b, a] = [under, under, under, 0];
      if (delta >= DIFFERENCE_FLOOR || delta <= -DIFFERENCE_FLOOR) {
        [r, g, b, a] = differenceColour(delta);
        r = r * a + under * (1 - a);
        g = g * a + under * (1 - a);
        b = b * a + under * (1 - a);
      }
      rgba[o] = r;
      rgba[o + 1] = g;
      rgba[o + 2] = b;
      rgba[o + 3] = 255;
    }
  }

  washDose(dose, request) {
    const rgba = this.image.data;
    for (let i = 0, o = 0; i < dose.length; i++, o += 4) {
      const colour = doseColour(dose[i] * request.doseStep, request.doseLevels);
      if (colour) blend(rgba, o, colour, 0.32);
    }
  }

  fillBits(bits, fill) {
    const rgba = this.image.data;
    for (let i = 0, o = 0; i < bits.length; i++, o += 4) {
      if (!bits[i]) continue;
      for (const [bit, colour] of fill) if (bits[i] & bit) blend(rgba, o, colour, 0.28);
    }
  }

  // The exact 8-bit picture now on the offscreen canvas (for tests and exports).
  read() {
    return this.ctx.getImageData(0, 0, this.nu, this.nv).data;
  }
}

function blend(rgba, o, colour, alpha) {
  for (let c = 0; c < 3; c++) rgba[o + c] = rgba[o + c] * (1 - alpha) + colour[c] * alpha;
}

// Marching squares through pixel centres. cases: corners a b / d c -> pairs of edges (top, right, bottom, left).
const CASES = [[], [3, 0], [0, 1], [3, 1], [1, 2], [3, 0, 1, 2], [0, 2], [3, 2], [2, 3], [2, 0], [0, 1, 2, 3], [2, 1], [1, 3], [1, 0], [0, 3], []];

// Outlines of every wanted bit: Map bit -> Path2D in pixel coordinates (pixel centres at n + 0.5).
export function bitContours(bits, nu, nv, wanted) {
  const paths = new Map();
  const at = (col, row) => (col < 0 || row < 0 || col >= nu || row >= nv ? 0 : bits[row * nu + col] & wanted);
  const [c0, r0, c1, r1] = extent(bits, nu, nv, wanted);
  // One ring outside the extent (and even the picture), so that every outline is closed.
  for (let row = r0 - 1; row <= r1; row++) {
    for (let col = c0 - 1; col <= c1; col++) {
      const a = at(col, row);
      const b = at(col + 1, row);
      const c = at(col + 1, row + 1);
      const d = at(col, row + 1);
      let mixed = (a | b | c | d) & ~(a & b & c & d);
      while (mixed) {
        const bit = mixed & -mixed;
        mixed &= ~bit;
        const shape = (a & bit ? 1 : 0) | (b & bit ? 2 : 0) | (c & bit ? 4 : 0) | (d & bit ? 8 : 0);
        let path = paths.get(bit);
        if (!path) paths.set(bit, (path = new Path2D()));
        const edges = CASES[shape];
        for (let e = 0; e < edges.length; e += 2) {
          path.moveTo(...midpoint(edges[e], col, row));
          path.lineTo(...midpoint(edges[e + 1], col, row));
        }
      }
    }
  }
  return paths;
}

function extent(bits, nu, nv, wanted) {
  let [c0, r0, c1, r1] = [nu, nv, -1, -1];
  for (let row = 0, i = 0; row < nv; row++) {
    for (let col = 0; col < nu; col++, i++) {
      if (!(bits[i] & wanted)) continue;
      if (row < r0) r0 = row;
      if (col < c0) c0 = col;
      if (col > c1) c1 = col;
      r1 = row;
    }
  }
  return [c0, r0, c1, r1];
}

function midpoint(edge, col, row) {
  if (edge === 0) return [col + 1, row + 0.5];
  if (edge === 1) return [col + 1.5, row + 1];
  if (edge === 2) return [col + 1, row + 1.5];
  return [col + 0.5, row + 1];
}

// Line where the values cross a level, interpolated between pixel centres: { path, points: [x, y, x, y, ...] }.
export function levelContour(values, nu, nv, level) {
  const path = new Path2D();
  const points = [];
  const mix = (p, q) => clamp((level - p) / (q - p), 0, 1);
  for (let row = 0; row < nv - 1; row++) {
    for (let col = 0; col < nu - 1; col++) {
      const i = row * nu + col;
      const a = values[i];
      const b = values[i + 1];
      const c = values[i + nu + 1];
      const d = values[i + nu];
      const shape = (a >= level ? 1 : 0) | (b >= level ? 2 : 0) | (c >= level ? 4 : 0) | (d >= level ? 8 : 0);
      const edges = CASES[shape];
      for (let e = 0; e < edges.length; e++) {
        const edge = edges[e];
        let x = col + 0.5;
        let y = row + 0.5;
        if (edge === 0) x += mix(a, b);
        else if (edge === 1) [x, y] = [x + 1, y + mix(b, c)];
        else if (edge === 2) [x, y] = [x + mix(d, c), y + 1];
        else y += mix(a, d);
        if (e % 2) path.lineTo(x, y);
        else path.moveTo(x, y);
        if (e % 2) points.push(x, y);
      }
    }
  }
  return { path, points };
}
