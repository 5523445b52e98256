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
  const bits = maskVolume(viewer, difference);
  const visible = bits ? viewer.structures.filter((item) => !s.hidden.has(item.name)) : [];
  const dose = doseVolume(viewer, difference);
  const grey = viewer.grey();
  const fill = s.structures === "fill" ? visible.map((item) => [item.bit, item.rgb]) : [];
  painter.paint({
    index: pane.index, hu: source.hu, minus: source.minus, difference, grey, greyKey: viewer.greyKey, bits, bitFill: fill,
    fillKey: fill.map(([bit]) => bit).join(), dose, doseLevels: viewer.doseLevels, doseStep: dose ? viewer.data.dose.step : 0,
  });
  const { view } = pane;
  ctx.imageSmoothingEnabled = true;
  ctx.imageSmoothingQuality = "high";
  ctx.drawImage(painter.canvas, view.x0, view.y0, painter.nu * view.pxU, painter.nv * view.pxV);
  if (dose) strokeDose(viewer, ctx, pane, painter, dose);
  if (visible.length) strokeStructures(ctx, pane, painter, bits, visible, dose ? 2.2 : 1.5);
}

function maskVolume(viewer, difference) {
  if (difference || !viewer.data.masks || viewer.state.structures === "off") return null;
  const volume = viewer.volumes.get(viewer.data.masks.id);
  return volume && volume.ready ? volume : null;
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

function strokeStructures(ctx, pane, painter, bits, visible, width) {
  const wanted = visible.reduce((all, item) => all | item.bit, 0);
  const key = `${bits.id}|${pane.index}|${wanted}`;
  const paths = cached(painter, "bits", key, () => bitContours(painter.slice("bits", bits, pane.index), painter.nu, painter.nv, wanted));
  for (const item of visible) {
    const path = paths.get(item.bit);
    if (path) strokePath(ctx, path, pane.view, item.colour, width);
  }
}

function strokeDose(viewer, ctx, pane, painter, dose) {
  const { step } = viewer.data.dose;
  const key = `${dose.id}|${pane.index}|${viewer.doseLevels.map((level) => level.gy).join()}`;
  const paths = cached(painter, "dose", key, () => {
    const values = painter.slice("dose", dose, pane.index);
    return viewer.doseLevels.map((level) => levelContour(values, painter.nu, painter.nv, level.gy / step));
  });
  viewer.doseLevels.forEach((level, n) => strokePath(ctx, paths[n], pane.view, level.colour, 1));
}
