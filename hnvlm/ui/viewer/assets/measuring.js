// What a measurement is, and measuring by keys: Enter brings a pen to the crosshair, arrow keys move it, Enter sets one
// end and then the other.

import { PLANES, clamp, distanceMm, ellipseStats, screenToVoxel, voxelToPixel, voxelToScreen } from "./geometry.js";

const WAYS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
const FAR = 10; // voxels at one press with Shift

// A measurement that begins at a voxel; x: where that is on the screen.
export function begun(viewer, kind, pane, voxel, x) {
  const series = viewer.seriesAt(pane, x);
  return { kind, plane: pane.plane, index: pane.index, series, image: viewer.imageOf(series), a: voxel, b: voxel, text: "", value: 0, unit: "" };
}

// Fill value, unit and text of a measurement.
export function measure(item, viewer) {
  if (item.kind === "length") {
    item.value = Math.round(distanceMm(item.a, item.b, viewer.spacing) * 10) / 10;
    item.unit = "mm";
    item.text = `${item.value.toFixed(1)} mm`;
    return;
  }
  const painter = viewer.painters.get(`${item.series}|${item.plane}`);
  const source = viewer.source(item.series);
  if (!painter || !source) return;
  let values = painter.slice("hu", source.hu, item.index);
  if (source.minus) {
    const minus = painter.slice("minus", source.minus, item.index);
    values = Float32Array.from(values, (value, i) => value - minus[i]);
  }
  const corners = [item.a, item.b].map((voxel) => voxelToPixel(voxel, viewer.shape, item.plane));
  const stats = ellipseStats(values, painter.nu, painter.nv, ...corners);
  item.value = Math.round(stats.mean * 10) / 10;
  item.unit = "HU";
  item.text = stats.n ? `${stats.mean.toFixed(0)} ± ${stats.sd.toFixed(0)} HU` : "";
}

// Whether the pen is in a pane: it stays on the slice it was taken to.
export const hasPen = (viewer, pane) => viewer.pen?.slot === pane.slot && viewer.pen.plane === pane.plane && viewer.pen.index === pane.index;

const isMeasuring = (viewer) => ["length", "roi"].includes(viewer.state.tool);

// Put the pen away where another slice, plane or tool was chosen meanwhile.
export function dropPen(viewer) {
  if (viewer.pen && !(isMeasuring(viewer) && viewer.panes.some((pane) => hasPen(viewer, pane)))) viewer.pen = viewer.draft = null;
}

// What a key does while a tool that measures is chosen; false where it is none of the pen's.
export function penKey(viewer, event) {
  const { key } = event;
  const pane = viewer.panes[viewer.state.active] || viewer.panes[0];
  if (viewer.pen && !hasPen(viewer, pane)) viewer.pen = viewer.draft = null;
  if (!isMeasuring(viewer) || event.ctrlKey || event.metaKey || event.altKey || event.composedPath()[0] !== viewer.root) return false;
  if (key === "Enter") press(viewer, pane);
  else if (!viewer.pen) return false;
  else if (key === "Escape") viewer.pen = viewer.draft = null;
  else if (WAYS[key]) move(viewer, pane, WAYS[key], event.shiftKey ? FAR : 1);
  else return false;
  return true;
}

function press(viewer, pane) {
  const { pen, draft } = viewer;
  if (!pen) {
    viewer.pen = { slot: pane.slot, plane: pane.plane, index: pane.index, voxel: start(viewer, pane) };
    viewer.status.textContent = "Pen: arrow keys move it, Enter sets the first end";
  } else if (!draft) {
    const [x] = voxelToScreen(pen.voxel, pane.view, viewer.shape, pane.plane);
    viewer.draft = begun(viewer, viewer.state.tool, pane, pen.voxel, x);
    viewer.status.textContent = "First end set: arrow keys move the pen, Enter sets the other end";
  } else if (draft.text) {
    viewer.addMeasure(draft);
    viewer.pen = viewer.draft = null;
    viewer.status.textContent = draft.text;
  }
}

// The crosshair's place; where that is out of sight, the middle of the pane.
function start(viewer, pane) {
  if (inSight(viewer, pane, viewer.state.pos)) return [...viewer.state.pos];
  const { x, y, w, h } = pane.rect;
  const middle = screenToVoxel(x + w / 2, y + h / 2, pane.view, viewer.shape, pane.plane, pane.index);
  return middle.map((v, a) => clamp(Math.round(v), 0, viewer.shape[a] - 1));
}

function move(viewer, pane, [right, down], far) {
  const p = PLANES[pane.plane];
  const to = [...viewer.pen.voxel];
  to[p.u] = clamp(to[p.u] + right * far, 0, viewer.shape[p.u] - 1);
  to[p.v] = clamp(to[p.v] + (p.flip ? -down : down) * far, 0, viewer.shape[p.v] - 1);
  if (!inSight(viewer, pane, to)) return;
  viewer.pen.voxel = to;
  if (!viewer.draft) return;
  viewer.draft.b = to;
  measure(viewer.draft, viewer);
}

function inSight(viewer, { rect, view, plane }, voxel) {
  const [x, y] = voxelToScreen(voxel, view, viewer.shape, plane);
  return x >= rect.x && x <= rect.x + rect.w && y >= rect.y && y <= rect.y + rect.h;
}
