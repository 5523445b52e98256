// Upper canvas: letters, corner texts, crosshair, findings, measurements, legends.

import { clipped, doseLines, swipeX } from "./draw.js";
import { PLANES, clamp, scaleBar, voxelToScreen } from "./geometry.js";
import { figurePlaces } from "./isodose.js";
import { hasPen } from "./measuring.js";
import { DIFFERENCE_FULL, differenceColour } from "./render.js";

const AMBER = "#ffb020";
const TEXT = "#d7dee7";
const DIM = "#98a3b0";
const PLATE = "rgba(0,0,0,0.82)";
const FONT = '"Source Sans", "Source Sans 3", system-ui, sans-serif';
const FIGURE = { size: 10, weight: 700 };

export function drawTop(viewer) {
  const ctx = viewer.top.getContext("2d");
  ctx.setTransform(viewer.ratio, 0, 0, viewer.ratio, 0, 0);
  ctx.clearRect(0, 0, viewer.stage.clientWidth, viewer.stage.clientHeight);
  ctx.textBaseline = "middle";
  viewer.panes.forEach((pane, n) => {
    clipped(ctx, pane.rect, () => {
      drawDoseFigures(viewer, ctx, pane);
      drawBoxes(viewer, ctx, pane);
      if (viewer.crosshairOn) drawCrosshair(viewer, ctx, pane);
      drawMeasures(viewer, ctx, pane);
      if (hasPen(viewer, pane)) drawPen(viewer, ctx, pane);
      drawScrollbar(viewer, ctx, pane);
      drawCorners(viewer, ctx, pane);
      drawScale(ctx, pane);
      // Above the scale bar, below what must not be covered.
      drawMeasured(viewer, ctx, pane);
      drawKind(viewer, ctx, pane);
      drawLetters(ctx, pane);
      if (n === 0 && viewer.data.dose && viewer.state.dose) drawDoseLegend(viewer, ctx, pane);
      drawProgress(viewer, ctx, pane);
    });
    drawFrame(viewer, ctx, pane, n === viewer.state.active && viewer.panes.length > 1);
  });
}

const isSmall = (pane) => pane.rect.w < 300 || pane.rect.h < 260;

// With a rectangle ``within``, a text aligned to the left is moved so that it stands inside, left of the scrollbar. A
// ``plate`` is for what must be read over anything: letters that are burnt into the picture move under it when zoomed.
function label(ctx, text, x, y, { align = "left", colour = TEXT, size = 12, weight = 400, within = null, plate = false } = {}) {
  ctx.font = `${weight} ${size}px ${FONT}`;
  if (within) {
    x = Math.max(within.x + 6, Math.min(x, within.x + within.w - 14 - ctx.measureText(text).width));
    y = clamp(y, within.y + size, within.y + within.h - size);
  }
  if (plate && text) {
    const width = ctx.measureText(text).width;
    ctx.fillStyle = PLATE;
    ctx.fillRect(x - width * { left: 0, center: 0.5, right: 1 }[align] - 4, y - size / 2 - 2, width + 8, size + 4);
  }
  ctx.textAlign = align;
  ctx.lineJoin = "round";
  ctx.lineWidth = 3;
  ctx.strokeStyle = "rgba(0,0,0,0.85)";
  ctx.strokeText(text, x, y);
  ctx.fillStyle = colour;
  ctx.fillText(text, x, y);
}

function drawFrame(viewer, ctx, pane, active) {
  const synthetic = viewer.data.series[pane.series].kind === "synthetic";
  ctx.strokeStyle = synthetic ? AMBER : active ? "#4ea1ff" : "#232a33";
  ctx.lineWidth = synthetic ? 2 : 1;
  if (viewer.panes.length > 1 || synthetic) ctx.strokeRect(pane.rect.x + 0.5, pane.rect.y + 0.5, pane.rect.w - 1, pane.rect.h - 1);
}

function drawLetters(ctx, pane) {
  const { rect } = pane;
  const [left, right, up, down] = PLANES[pane.plane].letters;
  const style = { align: "center", colour: "#e8edf3", size: 14, weight: 600, plate: true };
  label(ctx, left, rect.x + 12, rect.y + rect.h / 2, style);
  label(ctx, right, rect.x + rect.w - 22, rect.y + rect.h / 2, style);
  label(ctx, up, rect.x + rect.w / 2, rect.y + 13, style);
  label(ctx, down, rect.x + rect.w / 2, rect.y + rect.h - 13, style);
}

function drawCorners(viewer, ctx, pane) {
  const { rect } = pane;
  const s = viewer.state;
  const plane = PLANES[pane.plane];
  const series = viewer.data.series[pane.series];
  const small = isSmall(pane);
  const size = small ? 11 : 12;
  const left = rect.x + 8;
  const right = rect.x + rect.w - 18;
  const plate = true;
  const line = size + 4;
  const bottom = rect.y + rect.h - 12;
  const swiping = viewer.comparing && s.compare === "swipe";
  // Small secondary panes of the three planes carry the plane's name only.
  const secondary = viewer.view === "mpr" && pane.slot > 0 && viewer.panes.length > 1;
  const title = secondary ? plane.name : [viewer.data.case, swiping ? "" : series.name].filter(Boolean).join(" · ");
  label(ctx, title, left, rect.y + 13, { plate, size, weight: 600, colour: secondary ? plane.colour : TEXT });
  if (!secondary) label(ctx, plane.name, left, rect.y + 13 + line, { plate, size, colour: viewer.view === "mpr" ? plane.colour : DIM });
  const state = swiping ? viewer.data.series[1].state : series.state;
  if (state) label(ctx, state, right, rect.y + 13, { plate, size, weight: 700, align: "right", colour: AMBER });
  if (viewer.data.dose?.state && s.dose && !secondary)
    label(ctx, `Dose: ${viewer.data.dose.state}`, right, rect.y + 13 + line, { plate, size, align: "right", colour: AMBER });

  const count = viewer.shape[plane.w];
  const mm = viewer.data.origin[plane.w] + pane.index * viewer.spacing[plane.w];
  label(ctx, `${pane.index + 1} / ${count}`, right, bottom - line, { plate, size: size + 1, weight: 600, align: "right" });
  label(ctx, `${["z", "y", "x"][plane.w]} ${mm.toFixed(1)} mm`, right, bottom, { plate, size, align: "right", colour: DIM });

  const texts = [];
  if (!secondary && series.kind !== "difference") texts.push(windowText(viewer, small));
  const zoom = `${Math.round(s.zoom * 100)} %`;
  const probe = probeText(viewer, pane);
  texts.push(secondary ? probe : probe ? `${zoom} · ${probe}` : zoom);
  texts.reverse().forEach((text, n) => text && label(ctx, text, left, bottom - n * line, { plate, size, colour: n ? TEXT : DIM }));
}

function windowText(viewer, small) {
  const [c, w] = viewer.state.window;
  const key = viewer.presetKey();
  const preset = viewer.presets.find((p) => p.key === key);
  return small || !preset ? `W ${w} L ${c}` : `W ${w} L ${c} · ${preset.name}`;
}

function probeText(viewer, pane) {
  const { hover } = viewer;
  if (!hover || hover.pane.plane !== pane.plane || (viewer.view === "mpr" && hover.pane.slot !== pane.slot)) return "";
  // The pointer may rest while the wheel turns: the voxel is on the slice shown now.
  const voxel = [...hover.voxel];
  voxel[PLANES[pane.plane].w] = pane.index;
  const series = viewer.seriesAt(pane, hover.x);
  const value = viewer.valueAt(series, voxel);
  if (value === null) return "";
  const signed = viewer.data.series[series].kind === "difference" && value > 0 ? `+${value}` : `${value}`;
  const dose = viewer.state.dose ? viewer.doseAt(voxel) : null;
  return `${signed.replace("-", "−")} HU${dose === null ? "" : ` · ${dose.toFixed(1)} Gy`}`;
}

function drawScale(ctx, pane) {
  const { rect, view } = pane;
  if (rect.w < 220) return;
  const mm = scaleBar(view.scale, rect.w * 0.22);
  const length = mm * view.scale;
  // Above the slice number, where no other text stands.
  const x = rect.x + rect.w - 18 - length;
  const y = rect.y + rect.h - 56;
  // Dark below light: a light line alone is lost on bone.
  for (const [width, style] of [[4, PLATE], [1.5, "#e8edf3"]]) {
    ctx.strokeStyle = style;
    ctx.lineWidth = width;
    ctx.beginPath();
    ctx.moveTo(x, y - 4);
    ctx.lineTo(x, y);
    ctx.lineTo(x + length, y);
    ctx.lineTo(x + length, y - 4);
    ctx.stroke();
  }
  const text = mm >= 10 ? `${mm / 10} cm` : `${mm} mm`;
  label(ctx, text, x + length / 2, y - 11, { align: "center", size: 11, colour: DIM, plate: true });
}

function drawCrosshair(viewer, ctx, pane) {
  const plane = PLANES[pane.plane];
  const [x, y] = voxelToScreen(viewer.state.pos, pane.view, viewer.shape, pane.plane);
  const { rect } = pane;
  const colourOf = (axis) => Object.values(PLANES).find((p) => p.w === axis).colour;
  const gap = 10;
  ctx.lineWidth = 1;
  ctx.globalAlpha = 0.75;
  for (const [axis, segments] of [
    [plane.u, [[x, rect.y, x, y - gap], [x, y + gap, x, rect.y + rect.h]]],
    [plane.v, [[rect.x, y, x - gap, y], [x + gap, y, rect.x + rect.w, y]]],
  ]) {
    ctx.strokeStyle = colourOf(axis);
    ctx.beginPath();
    for (const [x0, y0, x1, y1] of segments) {
      ctx.moveTo(x0, y0);
      ctx.lineTo(x1, y1);
    }
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
}

function drawBoxes(viewer, ctx, pane) {
  if (!viewer.state.boxes) return;
  const p = PLANES[pane.plane];
  const nv = viewer.shape[p.v];
  const { view } = pane;
  for (const item of viewer.data.boxes) {
    const { box } = item;
    if (pane.index < box[p.w] || pane.index >= box[p.w + 3]) continue;
    const pad = 3;
    const x0 = view.x0 + box[p.u] * view.pxU - pad;
    const x1 = view.x0 + box[p.u + 3] * view.pxU + pad;
    const [r0, r1] = p.flip ? [nv - box[p.v + 3], nv - box[p.v]] : [box[p.v], box[p.v + 3]];
    const y0 = view.y0 + r0 * view.pxV - pad;
    const y1 = view.y0 + r1 * view.pxV + pad;
    corners(ctx, x0, y0, x1, y1, item.colour);
    if (pane.slot === 0) label(ctx, item.label, Math.max(x0, pane.rect.x + 8), Math.max(y0 - 9, pane.rect.y + 48), { size: 12, colour: item.colour, weight: 600, within: pane.rect, plate: true });
  }
}

// Corner marks instead of a full rectangle: the border of the lesion stays visible.
function corners(ctx, x0, y0, x1, y1, colour) {
  const k = Math.min(14, (x1 - x0) / 3, (y1 - y0) / 3);
  for (const [width, style] of [[4, "rgba(0,0,0,0.6)"], [1.8, colour]]) {
    ctx.lineWidth = width;
    ctx.strokeStyle = style;
    ctx.beginPath();
    for (const [x, sx] of [[x0, 1], [x1, -1]]) {
      for (const [y, sy] of [[y0, 1], [y1, -1]]) {
        ctx.moveTo(x + sx * k, y);
        ctx.lineTo(x, y);
        ctx.lineTo(x, y + sy * k);
      }
    }
    ctx.stroke();
  }
}

// Whether a pane shows a measurement. A mean belongs to the picture it was taken of, so it goes where the divider of
// swipe shows the other one, and with the synthetic picture that it was taken of.
export function showsMeasure(viewer, pane, item) {
  if (item.plane !== pane.plane || item.index !== pane.index) return false;
  const [x] = voxelToScreen(item.a, pane.view, viewer.shape, pane.plane);
  return item.kind !== "roi" || (item.series === viewer.seriesAt(pane, x) && item.image === viewer.imageOf(item.series));
}

function measuresOf(viewer, pane) {
  const items = [...viewer.state.measures, ...(viewer.draft ? [viewer.draft] : [])];
  return items.filter((item) => showsMeasure(viewer, pane, item));
}

function drawMeasures(viewer, ctx, pane) {
  for (const item of measuresOf(viewer, pane)) {
    const [ax, ay] = voxelToScreen(item.a, pane.view, viewer.shape, pane.plane);
    const [bx, by] = voxelToScreen(item.b, pane.view, viewer.shape, pane.plane);
    for (const [width, style] of [[4, "rgba(0,0,0,0.6)"], [1.6, "#7ee7ff"]]) {
      ctx.lineWidth = width;
      ctx.strokeStyle = style;
      ctx.beginPath();
      if (item.kind === "length") {
        ctx.moveTo(ax, ay);
        ctx.lineTo(bx, by);
        for (const [x, y] of [[ax, ay], [bx, by]]) {
          ctx.moveTo(x - 4, y);
          ctx.lineTo(x + 4, y);
          ctx.moveTo(x, y - 4);
          ctx.lineTo(x, y + 4);
        }
      } else ctx.ellipse((ax + bx) / 2, (ay + by) / 2, Math.abs(bx - ax) / 2, Math.abs(by - ay) / 2, 0, 0, 2 * Math.PI);
      ctx.stroke();
    }
  }
}

// A circle around the place, which stays free.
function drawPen(viewer, ctx, pane) {
  const [x, y] = voxelToScreen(viewer.pen.voxel, pane.view, viewer.shape, pane.plane);
  for (const [width, style] of [[4, "rgba(0,0,0,0.6)"], [1.6, "#7ee7ff"]]) {
    ctx.lineWidth = width;
    ctx.strokeStyle = style;
    ctx.beginPath();
    for (const [dx, dy] of [[1, 0], [0, 1], [-1, 0], [0, -1]]) {
      ctx.moveTo(x + 7 * dx, y + 7 * dy);
      ctx.lineTo(x + 13 * dx, y + 13 * dy);
    }
    ctx.moveTo(x + 7, y);
    ctx.arc(x, y, 7, 0, 2 * Math.PI);
    ctx.stroke();
  }
}

// The numbers; the two lines of text in the upper corners stay free.
function drawMeasured(viewer, ctx, pane) {
  const { x, y, w, h } = pane.rect;
  const within = isSmall(pane) ? pane.rect : { x, y: y + 32, w, h: h - 32 };
  for (const item of measuresOf(viewer, pane)) {
    const [ax, ay] = voxelToScreen(item.a, pane.view, viewer.shape, pane.plane);
    const [bx, by] = voxelToScreen(item.b, pane.view, viewer.shape, pane.plane);
    label(ctx, item.text, Math.max(ax, bx) + 8, (ax > bx ? ay : by) + 10, { colour: "#7ee7ff", weight: 600, within, plate: true });
  }
}

function drawScrollbar(viewer, ctx, pane) {
  const plane = PLANES[pane.plane];
  const { rect } = pane;
  const last = Math.max(1, viewer.shape[plane.w] - 1);
  const top = rect.y + 4;
  const height = rect.h - 8;
  const x = rect.x + rect.w - 6;
  const place = (index) => top + (plane.w === 0 ? 1 - index / last : index / last) * height;
  ctx.fillStyle = "rgba(255,255,255,0.10)";
  ctx.fillRect(x, top, 3, height);
  if (viewer.state.boxes) {
    for (const { box, colour } of viewer.data.boxes) {
      const y0 = place(box[plane.w]);
      const y1 = place(box[plane.w + 3] - 1);
      ctx.fillStyle = colour;
      ctx.fillRect(x - 1, Math.min(y0, y1) - 1, 5, Math.abs(y1 - y0) + 2);
    }
  }
  ctx.fillStyle = "#e8edf3";
  ctx.fillRect(x - 3, place(pane.index) - 2, 9, 4);
}

// What must not be mistaken: synthetic pictures, and what the colours of a difference mean.
function drawKind(viewer, ctx, pane) {
  const { rect } = pane;
  const { series } = viewer.data;
  const small = isSmall(pane);
  const style = { align: "center", size: small ? 14 : 18, weight: 800, colour: AMBER };
  const mark = (text, centre) => label(ctx, text, centre, rect.y + (small ? 48 : 38), style);
  if (viewer.comparing && viewer.state.compare === "swipe") {
    const x = swipeX(viewer, pane);
    ctx.fillStyle = "#e8edf3";
    ctx.fillRect(x - 1, rect.y, 2, rect.h);
    label(ctx, "‹ ›", x, rect.y + rect.h / 2, { align: "center", size: 18, weight: 700 });
    label(ctx, series[0].name, x - 10, rect.y + 34, { align: "right", weight: 600 });
    label(ctx, series[1].name, x + 10, rect.y + 34, { weight: 600 });
    if (series[1].kind === "synthetic") mark("SYNTHETIC", (x + rect.x + rect.w) / 2);
    return;
  }
  const { kind } = series[pane.series];
  if (kind === "synthetic") mark("SYNTHETIC", rect.x + rect.w / 2);
  if (kind === "difference") drawDifferenceLegend(ctx, pane);
}

function drawDifferenceLegend(ctx, { rect }) {
  const h = Math.min(100, rect.h * 0.3);
  const x = rect.x + 8;
  const y = rect.y + rect.h - 34 - h;
  for (let i = 0; i < h; i++) {
    const [r, g, b, a] = differenceColour(DIFFERENCE_FULL * (1 - (2 * i) / h));
    ctx.fillStyle = a ? `rgb(${24 * (1 - a) + r * a},${24 * (1 - a) + g * a},${24 * (1 - a) + b * a})` : "#181818";
    ctx.fillRect(x, y + i, 9, 1);
  }
  label(ctx, `+${DIFFERENCE_FULL} HU denser`, x + 14, y + 5, { size: 11 });
  label(ctx, "0 unchanged", x + 14, y + h / 2, { size: 11, colour: DIM });
  label(ctx, `−${DIFFERENCE_FULL} HU less dense`, x + 14, y + h - 5, { size: 11 });
}

// On each isodose line its per cent, as in the legend; where texts of the viewer stand, there is none.
export function doseFigures(viewer, ctx, pane) {
  const lines = isSmall(pane) ? [] : doseLines(viewer, pane);
  const { x, y, w, h } = pane.rect;
  const legend = { x, y, w: 112, h: 72 + 15 * viewer.doseLevels.length };
  ctx.font = `${FIGURE.weight} ${FIGURE.size}px ${FONT}`;
  const told = lines.map(({ points }, n) => ({ text: `${viewer.doseLevels[n].percent} %`, points }));
  const room = { x: x + 4, y: y + 34, w: w - 22, h: h - 72 };
  const places = figurePlaces(told, pane.view, room, pane.slot === 0 ? [legend] : [], FIGURE.size + 2, (text) => ctx.measureText(text).width);
  // Half way to white: dark red and navy letters would not show on a dark picture.
  const light = (rgb) => `rgb(${rgb.map((v) => Math.round((v + 255) / 2)).join()})`;
  return places.map((place) => ({ ...place, text: told[place.n].text, colour: light(viewer.doseLevels[place.n].rgb) }));
}

function drawDoseFigures(viewer, ctx, pane) {
  for (const { text, x, y, colour } of doseFigures(viewer, ctx, pane)) label(ctx, text, x, y, { ...FIGURE, colour, align: "center" });
}

function drawDoseLegend(viewer, ctx, pane) {
  if (isSmall(pane)) return;
  const x = pane.rect.x + 8;
  let y = pane.rect.y + 56;
  viewer.doseLevels.forEach((level) => {
    ctx.fillStyle = level.colour;
    ctx.fillRect(x, y - 5, 10, 10);
    label(ctx, `${level.percent} %`, x + 46, y, { size: 11, align: "right" });
    label(ctx, `${level.gy.toFixed(1)} Gy`, x + 94, y, { size: 11, align: "right", colour: DIM });
    y += 15;
  });
  label(ctx, `100 % = ${viewer.data.dose.prescription.toFixed(1)} Gy`, x, y + 2, { size: 11, colour: DIM });
}

function drawProgress(viewer, ctx, pane) {
  const { rect } = pane;
  const source = viewer.source(pane.series);
  if (!source) return;
  const parts = [source.hu, source.minus].filter(Boolean);
  const fraction = Math.min(...parts.map((volume) => volume.fraction));
  if (fraction >= 1) return;
  ctx.fillStyle = "#4ea1ff";
  ctx.fillRect(rect.x, rect.y + rect.h - 2, rect.w * fraction, 2);
  const here = pane.plane === "axial" && parts.every((volume) => volume.has(pane.index));
  if (!here) label(ctx, `Loading ${Math.round(fraction * 100)} %`, rect.x + rect.w / 2, rect.y + rect.h / 2 - 20, { align: "center" });
}
