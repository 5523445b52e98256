// Planes, letters and coordinates. Pure functions; tested with node and against numpy in the browser.
//
// Voxel order is (z, y, x): z to the head, y to the back, x to the patient's left (DICOM LPS). All planes
// follow the radiological convention: patient right on the left of the screen, head or front at the top.

export const PLANES = {
  axial: { u: 2, v: 1, w: 0, flip: false, letters: ["R", "L", "A", "P"], colour: "#ff5a5a", name: "Axial" },
  coronal: { u: 2, v: 0, w: 1, flip: true, letters: ["R", "L", "H", "F"], colour: "#3fd36b", name: "Coronal" },
  sagittal: { u: 1, v: 0, w: 2, flip: true, letters: ["A", "P", "H", "F"], colour: "#e6d33c", name: "Sagittal" },
};
export const PLANE_NAMES = Object.keys(PLANES);

// Which way one step "down the wheel" moves along (z, y, x): towards feet, back, left.
export const WHEEL_SIGN = [-1, 1, 1];

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

export function sliceSize(shape, plane) {
  const p = PLANES[plane];
  return [shape[p.u], shape[p.v]];
}

// Copy one slice into out (row-major, first row at the top of the screen). Returns out.
export function extractSlice(data, shape, plane, index, out) {
  const p = PLANES[plane];
  const stride = [shape[1] * shape[2], shape[2], 1];
  const nu = shape[p.u];
  const nv = shape[p.v];
  const su = stride[p.u];
  let o = 0;
  for (let row = 0; row < nv; row++) {
    let i = index * stride[p.w] + (p.flip ? nv - 1 - row : row) * stride[p.v];
    if (su === 1) {
      out.set(data.subarray(i, i + nu), o);
      o += nu;
    } else {
      for (let col = 0; col < nu; col++, i += su) out[o++] = data[i];
    }
  }
  return out;
}

// Column and row (pixel centres at whole numbers) of a voxel (z, y, x) in a slice picture.
export function voxelToPixel(voxel, shape, plane) {
  const p = PLANES[plane];
  return [voxel[p.u], p.flip ? shape[p.v] - 1 - voxel[p.v] : voxel[p.v]];
}

// Screen transform of a pane: { scale (px per mm), x0, y0 } so that x = x0 + (u + 0.5) * pxU.
export function paneView(rect, shape, spacing, plane, zoom, centre, fit) {
  const p = PLANES[plane];
  const scale = fit * zoom;
  const pxU = spacing[p.u] * scale;
  const pxV = spacing[p.v] * scale;
  const [cu, cv] = voxelToPixel(centre, shape, plane);
  return {
    scale,
    pxU,
    pxV,
    x0: rect.x + rect.w / 2 - (cu + 0.5) * pxU,
    y0: rect.y + rect.h / 2 - (cv + 0.5) * pxV,
  };
}

// Pixels per mm at which a box of so many voxels (z, y, x) fits the rectangle.
export function fitScale(rect, size, spacing, plane) {
  const p = PLANES[plane];
  return Math.min(rect.w / (size[p.u] * spacing[p.u]), rect.h / (size[p.v] * spacing[p.v]));
}

// Screen point -> fractional voxel (z, y, x) on the slice of the plane.
export function screenToVoxel(x, y, view, shape, plane, index) {
  const p = PLANES[plane];
  const out = [0, 0, 0];
  const row = (y - view.y0) / view.pxV - 0.5;
  out[p.u] = (x - view.x0) / view.pxU - 0.5;
  out[p.v] = p.flip ? shape[p.v] - 1 - row : row;
  out[p.w] = index;
  return out;
}

export function voxelToScreen(voxel, view, shape, plane) {
  const [col, row] = voxelToPixel(voxel, shape, plane);
  return [view.x0 + (col + 0.5) * view.pxU, view.y0 + (row + 0.5) * view.pxV];
}

export const distanceMm = (a, b, spacing) =>
  Math.hypot((a[0] - b[0]) * spacing[0], (a[1] - b[1]) * spacing[1], (a[2] - b[2]) * spacing[2]);

// DICOM PS3.3 C.11.2.1.2.1 (LINEAR): HU -> 0..255.
export function windowed(hu, centre, width) {
  if (width <= 1) return hu <= centre - 0.5 ? 0 : 255;
  return clamp(Math.floor(((hu - (centre - 0.5)) / (width - 1) + 0.5) * 255 + 0.5), 0, 255);
}

// Columns x rows that show n pictures of a given aspect (w / h) largest.
export function bestGrid(n, width, height, aspect) {
  let best = [n, 1];
  let bestSize = -1;
  for (let cols = 1; cols <= n; cols++) {
    const rows = Math.ceil(n / cols);
    const size = Math.min(width / cols / aspect, height / rows);
    if (size > bestSize * 1.0001) {
      best = [cols, rows];
      bestSize = size;
    }
  }
  return best;
}

// A round length in mm for a scale bar of at most maxPx pixels.
export function scaleBar(pxPerMm, maxPx) {
  const steps = [500, 200, 100, 50, 20, 10, 5, 2, 1];
  return steps.find((mm) => mm * pxPerMm <= maxPx) || 0.5;
}

// Mean, spread and count of the voxels inside the ellipse that two opposite corners of a slice span.
export function ellipseStats(slice, nu, nv, a, b) {
  const cu = (a[0] + b[0]) / 2;
  const cv = (a[1] + b[1]) / 2;
  const ru = Math.max(Math.abs(a[0] - b[0]) / 2, 1e-6);
  const rv = Math.max(Math.abs(a[1] - b[1]) / 2, 1e-6);
  let n = 0;
  let sum = 0;
  let squares = 0;
  for (let row = Math.max(0, Math.ceil(cv - rv)); row <= Math.min(nv - 1, Math.floor(cv + rv)); row++) {
    for (let col = Math.max(0, Math.ceil(cu - ru)); col <= Math.min(nu - 1, Math.floor(cu + ru)); col++) {
      if (((col - cu) / ru) ** 2 + ((row - cv) / rv) ** 2 > 1) continue;
      const value = slice[row * nu + col];
      n += 1;
      sum += value;
      squares += value * value;
    }
  }
  if (!n) return { n: 0, mean: NaN, sd: NaN };
  const mean = sum / n;
  return { n, mean, sd: Math.sqrt(Math.max(0, squares / n - mean * mean)) };
}
