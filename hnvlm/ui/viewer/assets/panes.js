// Which panes there are, where they stand, and how voxels map to the screen in each.

import { PLANES, PLANE_NAMES, bestGrid, fitScale, paneView } from "./geometry.js";
import { oneScale } from "./together.js";

const MAIN_SHARE = 0.62; // of the width, for the axial plane beside the two others

// Each pane: { series, plane, slot, rect, fit, view, index }.
export function layoutPanes(viewer) {
  const { state, shape, spacing, bodySize } = viewer;
  let panes = choosePanes(viewer);
  panes.forEach((pane, n) => (pane.slot = n));
  const three = viewer.view === "mpr" && state.maximised === null;
  if (state.maximised !== null && panes[state.maximised]) panes = [panes[state.maximised]];
  placePanes(panes, viewer.stage.clientWidth, viewer.stage.clientHeight, three, bodySize, spacing);
  for (const pane of panes) pane.fit = fitScale(pane.rect, bodySize, spacing, pane.plane);
  // Widths round to whole pixels; pictures to compare must have one scale all the same.
  if (viewer.comparing) {
    const fit = Math.min(...panes.map((pane) => pane.fit));
    for (const pane of panes) pane.fit = fit;
  }
  if (viewer.group) oneScale(viewer, panes);
  for (const pane of panes) {
    pane.view = paneView(pane.rect, shape, spacing, pane.plane, state.zoom, state.centre, pane.fit);
    pane.index = state.pos[PLANES[pane.plane].w];
  }
  if (state.active >= panes.length) state.active = 0;
  return panes;
}

function choosePanes(viewer) {
  const { state } = viewer;
  if (viewer.comparing) {
    const all = viewer.data.series.map((_, n) => n);
    const shown = state.compare === "panes" ? all : [state.compare === "flicker" ? state.flicker : 0];
    return shown.map((series) => ({ series, plane: state.plane }));
  }
  if (viewer.view === "mpr") return PLANE_NAMES.map((plane) => ({ series: 0, plane }));
  return [{ series: 0, plane: state.plane }];
}

function placePanes(panes, w, h, three, size, spacing) {
  if (three) {
    const left = Math.round(w * MAIN_SHARE);
    const half = Math.round(h / 2);
    panes[0].rect = { x: 0, y: 0, w: left - 1, h };
    panes[1].rect = { x: left, y: 0, w: w - left, h: half - 1 };
    panes[2].rect = { x: left, y: half, w: w - left, h: h - half };
    return;
  }
  const p = PLANES[panes[0].plane];
  const aspect = (size[p.u] * spacing[p.u]) / (size[p.v] * spacing[p.v]);
  const [cols, rows] = bestGrid(panes.length, w, h, aspect);
  panes.forEach((pane, n) => {
    const [col, row] = [n % cols, Math.floor(n / cols)];
    const x = Math.round((col * w) / cols);
    const y = Math.round((row * h) / rows);
    const gap = panes.length > 1 ? 1 : 0;
    pane.rect = { x, y, w: Math.round(((col + 1) * w) / cols) - x - gap, h: Math.round(((row + 1) * h) / rows) - y - gap };
  });
}
