// What keys and toolbar buttons do, by name. Each gets the viewer and its state; the viewer redraws afterwards.

import { PLANE_NAMES } from "./geometry.js";
import { showsMeasure } from "./marks.js";

const next = (list, current) => list[(list.indexOf(current) + 1) % list.length];
const hasPair = (viewer) => viewer.comparing && viewer.data.series.length > 1;
// A tool's key pressed again takes back the window tool.
const tool = (name) => (v, s) => (s.tool = s.tool === name ? "window" : name);

export const ACTIONS = {
  invert: (v, s) => (s.invert = !s.invert),
  crosshair: (v, s) => (s.crosshair = !v.crosshairOn),
  structures: (v, s) => (s.structures = next(["outline", "fill", "off"], s.structures)),
  dose: (v, s) => (s.dose = !s.dose),
  boxes: (v, s) => (s.boxes = !s.boxes),
  list: (v, s) => (s.list = !v.sideOpen),
  reset: (v) => v.resetView(),
  help: (v) => v.panel.showHelp(v.panel.help.hidden),
  layout: (v, s) => v.setView(v.comparing ? next(PLANE_NAMES, s.plane) : v.view === "mpr" ? "axial" : "mpr"),
  zoom: tool("zoom"),
  pan: tool("pan"),
  length: tool("length"),
  roi: tool("roi"),
  // Never one on another slice, where nobody would see it go.
  erase: (v, s) => {
    const last = s.measures.findLast((item) => v.panes.some((pane) => showsMeasure(v, pane, item)));
    if (last) v.removeMeasure(last);
  },
  undo: (v) => v.undoMeasure(),
  flicker: (v, s) => {
    if (!hasPair(v)) return;
    s.flicker = s.compare === "flicker" ? 1 - s.flicker : 1;
    Object.assign(s, { compare: "flicker", maximised: null });
  },
  swipe: (v, s) => {
    if (hasPair(v)) Object.assign(s, { compare: s.compare === "swipe" ? "panes" : "swipe", maximised: null });
  },
  // Leave flicker and swipe: all panes again.
  panes: (v, s) => Object.assign(s, { compare: "panes", maximised: null }),
  cancel: (v, s) => {
    if (!v.panel.help.hidden) v.panel.showHelp(false);
    else Object.assign(s, { tool: "window", compare: "panes", maximised: null });
    v.draft = null;
  },
};
