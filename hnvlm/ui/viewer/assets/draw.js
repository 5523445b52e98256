// Lower canvas: pictures, structure outlines and dose. Letters, texts and marks are in marks.js.

import { SlicePainter, bitContours, levelContour } from "./render.js";

export function swipeX(viewer, pane) {
  return pane.rect.x + pane.rect.w * viewer.state.swipe;
}

export function drawBase(viewer) {
  const ctx = viewer.base.getContext("2d", { alpha: false });
  ctx.setTransform(viewer.ratio, 0, 0, viewer.ratio, 0, 0);
  ctx.fillStyle = "#000";
  ctx.fillRect(0, 0, viewer.stage.clientWidth, viewer.stage.clientHeight);
  for (const pane of viewer.panes) {
    if (viewer.comparing && viewer.state.compare === "swipe") {
      const x = swipeX(viewer, pane);
      const { rect } = pane;
      clipped(ctx, { ...rect, w: x - rect.x }, () => drawSeries(viewer, ctx, pane, 0));
      clipped(ctx, { ...rect, x, w: rect.x + rect.w - x }, () => drawSeries(viewer, ctx, pane, 1));
    } else clipped(ctx, pane.rect, () => drawSeries(viewer, ctx, pane, pane.series));
  }
}

export function clipped(ctx, rect, draw) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(rect.x, rect.y, rect.w, rect.h);
  ctx.clip();
  draw();
  ctx.restore();
}

function drawSeries(viewer, ctx, pane, n) {
  const source = viewer.source(n);
  if (!source) return;
  const name = `${n}|${pane.plane}`;
  let painter = viewer.painters.get(name);
  if (!painter) viewer.painters.set(name, (painter = new SlicePainter(viewer.shape, pane.plane)));
  const s = viewer.state;
  const difference = viewer.data.series[n].kind === "difference";
  const layers = maskLayers(viewer, difference);
  const dose = doseVolume(viewer, difference);
  const grey = viewer.grey();
  const fills = s.structures === "fill" ? layers.map((layer) => ({ ...layer, fill: layer.items.map((item) => [item.bit, item.rgb]) })) : [];
  painter.paint({
    index: pane.index, hu: source.hu, minus: source.minus, difference, grey, greyKey: viewer.greyKey, fills, dose, doseLevels: viewer.doseLevels, doseStep: dose ? viewer.data.dose.step : 0,
  });
  const { view } = pane;
  ctx.imageSmoothingEnabled = true;
  ctx.imageSmoothingQuality = "high";
  ctx.drawImage(painter.canvas, view.x0, view.y0, painter.nu * view.pxU, painter.nv * view.pxV);
  if (dose) strokeDose(viewer, ctx, pane, painter, dose);
  for (const layer of layers) strokeStructures(ctx, pane, painter, layer, dose ? 2.2 : 1.5);
}

// Layers that are there, each with the structures of it that are to be seen: { number, bits, items }.
function maskLayers(viewer, difference) {
  if (difference || !viewer.data.masks || viewer.state.structures === "off") return [];
  const visible = viewer.structures.filter((item) => !viewer.state.hidden.has(item.name));
  return viewer.data.masks.layers
    .map((entry, number) => ({ number, bits: viewer.volumes.get(entry.id), items: visible.filter((item) => item.layer === number) }))
    .filter(({ bits, items }) => bits?.ready && items.length);
}

function doseVolume(viewer, difference) {
  if (difference || !viewer.data.dose || !viewer.state.dose) return null;
  const volume = viewer.volumes.get(viewer.data.dose.id);
  return volume && volume.ready ? volume : null;
}

// Contours are cached in pixel coordinates and only transformed while zooming or panning.
function cached(painter, role, key, make) {
  painter.paths ??= {};
  if (painter.paths[role]?.key !== key) painter.paths[role] = { key, value: make() };
  return painter.paths[role].value;
}

function strokePath(ctx, path, view, colour, width) {
  const placed = new Path2D();
  placed.addPath(path, new DOMMatrix([view.pxU, 0, 0, view.pxV, view.x0, view.y0]));
  ctx.lineWidth = width;
  ctx.strokeStyle = colour;
  ctx.lineCap = "round";
  ctx.stroke(placed);
}

function strokeStructures(ctx, pane, painter, { number, bits, items }, width) {
  const wanted = items.reduce((all, item) => all | item.bit, 0);
  const key = `${bits.id}|${pane.index}|${wanted}`;
  const role = `bits${number}`;
  const paths = cached(painter, role, key, () => bitContours(painter.slice(role, bits, pane.index), painter.nu, painter.nv, wanted));
  for (const item of items) {
    const path = paths.get(item.bit);
    if (path) strokePath(ctx, path, pane.view, item.colour, width);
  }
}

function strokeDose(viewer, ctx, pane, painter, dose) {
  const { step } = viewer.data.dose;
  const key = `${dose.id}|${pane.index}|${viewer.doseLevels.map((level) => level.gy).join()}`;
  const lines = cached(painter, "dose", key, () => {
    const values = painter.slice("dose", dose, pane.index);
    return viewer.doseLevels.map((level) => levelContour(values, painter.nu, painter.nv, level.gy / step));
  });
  viewer.doseLevels.forEach((level, n) => strokePath(ctx, lines[n].path, pane.view, level.colour, 1));
}

// The isodose lines that a pane shows now: [{ path, points }] in the order of the levels; none where it shows no dose.
export function doseLines(viewer, pane) {
  const shown = doseVolume(viewer, viewer.data.series[pane.series].kind === "difference");
  return (shown && viewer.painters.get(`${pane.series}|${pane.plane}`)?.paths?.dose?.value) || [];
}
