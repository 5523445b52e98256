// The viewer: state, what panes there are, and when to draw. Input is in input.js, drawing in draw.js.

import { PLANES, clamp } from "./geometry.js";
import { ACTIONS } from "./actions.js";
import { drawBase, swipeX } from "./draw.js";
import { Input } from "./input.js";
import { drawTop } from "./marks.js";
import { dropPen } from "./measuring.js";
import { layoutPanes } from "./panes.js";
import { Panel } from "./panel.js";
import { greyTable, rgb } from "./render.js";
import { CSS } from "./style.js";
import { join, leave, tell } from "./together.js";
import { MEMORY, close, keepMeasures, keepView, keptMeasures, keptView, open } from "./volumes.js";

const REPORT_AFTER_MS = 300;
const NARROW_PX = 520; // below this the side list would leave too little picture

export class Viewer {
  constructor(parent) {
    this.root = document.createElement("div");
    this.root.className = "hv";
    this.root.tabIndex = 0;
    this.root.setAttribute("role", "application");
    this.root.viewer = this;
    const style = document.createElement("style");
    style.textContent = CSS;
    this.panel = new Panel(this);
    this.stage = document.createElement("div");
    this.stage.className = "stage";
    this.base = document.createElement("canvas");
    this.top = document.createElement("canvas");
    this.top.className = "top";
    this.error = document.createElement("div");
    this.error.className = "error";
    this.error.hidden = true;
    this.status = document.createElement("div");
    this.status.className = "sr";
    this.status.setAttribute("aria-live", "polite");
    const body = document.createElement("div");
    body.className = "body";
    this.stage.append(this.base, this.top, this.error);
    body.append(this.stage, this.panel.side, this.panel.help);
    this.root.append(this.panel.skip, this.panel.bar, body, this.status);
    parent.append(style, this.root);
    this.volumes = new Map();
    this.painters = new Map();
    this.panes = [];
    this.hover = null;
    this.draft = null; // measurement being drawn
    this.pen = null; // where the keys draw it
    this.onVolume = () => this.refresh();
    this.input = new Input(this);
    this.observer = new ResizeObserver(() => this.resized());
    this.observer.observe(this.stage);
  }

  // ---- data from Python -------------------------------------------------------------------------
  update(data) {
    this.data = data;
    this.shape = data.shape;
    this.spacing = data.spacing;
    this.bodySize = [0, 1, 2].map((a) => data.body[a + 3] - data.body[a]);
    this.bodyCentre = [0, 1, 2].map((a) => (data.body[a] + data.body[a + 3] - 1) / 2);
    this.root.style.height = data.height;
    this.presets = [{ key: "0", name: "Default", centre: data.window[0], width: data.window[1] }, ...data.presets];
    const memory = `${data.key}|${data.series[0].id}`;
    if (memory !== this.memory) {
      this.keepNow();
      this.memory = memory;
      if (!MEMORY.has(memory)) MEMORY.set(memory, this.freshState());
      this.state = MEMORY.get(memory);
      this.painters.clear();
    }
    if (this.state.layoutAsked !== data.layout) {
      this.state.layoutAsked = data.layout;
      this.state.mpr = data.layout === "mpr";
      this.state.compare = "panes";
      this.state.maximised = null;
    }
    this.comparing = data.layout === "side_by_side";
    // Each layer of masks holds 32 structures, one a bit.
    this.structures = data.masks ? data.masks.structures.map((s, n) => ({ ...s, layer: n >> 5, bit: 1 << (n & 31), rgb: rgb(s.colour) })) : [];
    this.doseLevels = data.dose ? data.dose.levels.map((level) => ({ ...level, rgb: rgb(level.colour) })) : [];
    this.openVolumes();
    join(this);
    this.obey(data.command);
    this.panel.build();
    this.refresh();
  }

  freshState() {
    const start = this.data.start.map((v, a) => clamp(v, 0, this.shape[a] - 1));
    return {
      pos: start, centre: [...this.bodyCentre], zoom: 1, window: [...this.data.window], invert: false,
      plane: "axial", mpr: false, layoutAsked: "", maximised: null, active: 0, tool: "window", structures: "outline",
      hidden: new Set(), dose: this.data.dose_first !== false, boxes: true, crosshair: null, list: null, compare: "panes", flicker: 0, swipe: 0.5,
      measures: keptMeasures(this.memory), edits: [], obeyed: "", ...keptView(this.memory),
    };
  }

  openVolumes() {
    const wanted = new Map();
    const z = this.state.pos[0];
    for (const entry of [...this.data.series, ...(this.data.masks?.layers ?? []), this.data.dose]) {
      if (entry && entry.id) wanted.set(entry.id, entry);
    }
    for (const [id, volume] of this.volumes) {
      if (wanted.has(id)) continue;
      close(volume, this.onVolume);
      this.volumes.delete(id);
    }
    try {
      for (const [id, entry] of wanted) this.volumes.set(id, open(entry, this.shape, z, this.onVolume));
    } catch (problem) {
      this.showError("This computer's browser has too little memory for the image.", false);
      console.warn("hnvlm viewer:", problem);
    }
  }

  obey(command) {
    if (!command || command.id === this.state.obeyed) return;
    this.state.obeyed = command.id;
    this.goTo(command.goto.map((v, a) => (v === null ? this.state.pos[a] : v)));
  }

  // The series that a pane shows, as volumes: { hu, minus } or null while they are not there.
  source(n) {
    const entry = this.data.series[n];
    if (entry.id) {
      const hu = this.volumes.get(entry.id);
      return hu ? { hu, minus: null } : null;
    }
    const minus = this.volumes.get(this.data.series[entry.of[0]].id);
    const hu = this.volumes.get(this.data.series[entry.of[1]].id);
    return hu && minus ? { hu, minus } : null;
  }

  // Number of the series under a point of a pane: with swipe, each side of the divider shows its own.
  seriesAt(pane, x) {
    return this.comparing && this.state.compare === "swipe" ? Number(x >= this.swipeX(pane)) : pane.series;
  }

  // What a mean was taken of: another synthetic image in the same place has another.
  imageOf(n) {
    const entry = this.data.series[n];
    return entry ? entry.id || entry.of.map((i) => this.data.series[i].id).join() : "";
  }

  valueAt(n, voxel) {
    const source = this.source(n);
    if (!source || voxel.some((v, a) => v < 0 || v >= this.shape[a])) return null;
    if (!source.hu.has(voxel[0]) || (source.minus && !source.minus.has(voxel[0]))) return null;
    const i = (voxel[0] * this.shape[1] + voxel[1]) * this.shape[2] + voxel[2];
    return source.hu.data[i] - (source.minus ? source.minus.data[i] : 0);
  }

  doseAt(voxel) {
    const volume = this.data.dose && this.volumes.get(this.data.dose.id);
    if (!volume || !volume.ready || voxel.some((v, a) => v < 0 || v >= this.shape[a])) return null;
    return volume.data[(voxel[0] * this.shape[1] + voxel[1]) * this.shape[2] + voxel[2]] * this.data.dose.step;
  }

  // ---- panes ------------------------------------------------------------------------------------
  get view() {
    return this.state.mpr && !this.comparing ? "mpr" : this.state.plane;
  }

  get crosshairOn() {
    return this.state.crosshair ?? this.view === "mpr";
  }

  get sideOpen() {
    if (!this.structures.length && !this.data.boxes.length) return false;
    return this.state.list ?? (!this.comparing && this.root.clientWidth > NARROW_PX);
  }

  setView(view) {
    if (view === "mpr") this.state.mpr = true;
    else Object.assign(this.state, { mpr: false, plane: view });
    this.state.maximised = null;
    this.state.active = 0;
    this.refresh();
  }

  setTool(tool) {
    this.state.tool = tool;
    this.refresh();
  }

  swipeX(pane) {
    return swipeX(this, pane);
  }

  paneAt(x, y) {
    return this.panes.find(({ rect: r }) => x >= r.x && x < r.x + r.w && y >= r.y && y < r.y + r.h) || null;
  }

  // ---- actions ----------------------------------------------------------------------------------
  moveTo(voxel) {
    this.state.pos = voxel.map((v, a) => clamp(Math.round(v), 0, this.shape[a] - 1));
    this.refresh();
  }

  scroll(pane, steps) {
    const axis = PLANES[pane.plane].w;
    const pos = [...this.state.pos];
    pos[axis] += steps;
    this.moveTo(pos);
  }

  goTo(voxel) {
    if (!voxel) return;
    this.moveTo(voxel);
    if (this.state.zoom > 1) this.state.centre = [...this.state.pos];
    this.refresh();
  }

  openBox(n) {
    const { box } = this.data.boxes[n];
    this.state.boxes = true;
    this.goTo([0, 1, 2].map((a) => Math.floor((box[a] + box[a + 3] - 1) / 2)));
  }

  preset(key) {
    const found = this.presets.find((p) => p.key === key);
    if (!found) return false;
    this.state.window = [found.centre, found.width];
    this.refresh();
    return true;
  }

  presetKey() {
    const [c, w] = this.state.window;
    const found = this.presets.find((p) => p.centre === c && p.width === w && p.key !== "0") || this.presets.find((p) => p.centre === c && p.width === w);
    return found ? found.key : "custom";
  }

  addMeasure(item) {
    this.state.measures.push(item);
    this.state.edits.push({ item, added: true });
    keepMeasures(this.memory, this.state.measures);
  }

  removeMeasure(item) {
    this.state.measures.splice(this.state.measures.indexOf(item), 1);
    this.state.edits.push({ item, added: false });
    keepMeasures(this.memory, this.state.measures);
  }

  // Take back the last drawing or removing of a measurement, on the slice where that is seen.
  undoMeasure() {
    const { measures, edits } = this.state;
    const last = edits.pop();
    if (!last) return;
    if (last.added) measures.splice(measures.indexOf(last.item), 1);
    else measures.push(last.item);
    keepMeasures(this.memory, measures);
    const { plane, index } = last.item;
    // Laid out anew: the view may have been changed since the last frame.
    if (!layoutPanes(this).some((pane) => pane.plane === plane)) this.setView(plane);
    this.moveTo(this.state.pos.map((v, a) => (a === PLANES[plane].w ? index : v)));
  }

  toggleStructure(name) {
    const hidden = this.state.hidden;
    if (!hidden.delete(name)) hidden.add(name);
    if (this.state.structures === "off") this.state.structures = "outline";
    this.refresh();
  }

  toggleAll() {
    const hidden = this.state.hidden;
    const names = this.structures.map((s) => s.name);
    if (names.every((name) => hidden.has(name))) hidden.clear();
    else names.forEach((name) => hidden.add(name));
    this.refresh();
  }

  zoomBy(factor, pane, voxel) {
    const s = this.state;
    const before = s.zoom;
    s.zoom = clamp(s.zoom * factor, 0.25, 30);
    if (pane && voxel) {
      const p = PLANES[pane.plane];
      for (const a of [p.u, p.v]) s.centre[a] = voxel[a] + ((s.centre[a] - voxel[a]) * before) / s.zoom;
    }
    this.refresh();
  }

  resetView() {
    const s = this.state;
    Object.assign(s, { zoom: 1, centre: [...this.bodyCentre], window: [...this.data.window], invert: false });
    this.refresh();
  }

  act(name) {
    ACTIONS[name](this, this.state);
    this.refresh();
  }

  maximise(pane) {
    const s = this.state;
    s.maximised = s.maximised === null ? pane.slot : null;
    s.active = s.maximised === null ? pane.slot : 0;
    this.refresh();
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.root.requestFullscreen?.().catch(() => {});
  }

  // ---- drawing ----------------------------------------------------------------------------------
  resized() {
    const ratio = globalThis.devicePixelRatio || 1;
    for (const canvas of [this.base, this.top]) {
      canvas.width = Math.max(1, Math.round(this.stage.clientWidth * ratio));
      canvas.height = Math.max(1, Math.round(this.stage.clientHeight * ratio));
    }
    this.ratio = ratio;
    this.refresh();
  }

  grey() {
    const [c, w] = this.state.window;
    const key = `${c}|${w}|${this.state.invert}`;
    if (key !== this.greyKey) {
      this.greyKey = key;
      this.greyLut = greyTable(c, w, this.state.invert, this.greyLut);
    }
    return this.greyLut;
  }

  // Everything may have changed; hovering needs the upper canvas only.
  refresh(topOnly = false) {
    if (!topOnly) this.baseDirty = true;
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.drawNow();
    });
  }

  drawNow() {
    if (!this.data || !this.ratio) return;
    const began = performance.now();
    if (this.baseDirty) {
      tell(this);
      this.panes = layoutPanes(this);
      dropPen(this);
      this.panel.sync();
      drawBase(this);
      this.baseDirty = false;
      this.reportSoon();
      this.keepSoon();
      this.checkErrors();
    }
    drawTop(this);
    this.lastDrawMs = performance.now() - began;
  }

  checkErrors() {
    const broken = [...this.volumes.values()].find((volume) => volume.error);
    if (broken) this.showError(broken.error, true);
    else if (!this.error.dataset.kept) this.error.hidden = true;
  }

  showError(text, canRetry) {
    this.error.textContent = text;
    this.error.hidden = false;
    this.error.dataset.kept = canRetry ? "" : "1";
    if (!canRetry) return;
    const retry = document.createElement("button");
    retry.textContent = "Try again";
    retry.onclick = () => this.openVolumes();
    this.error.append(retry);
  }

  // ---- position to Python -----------------------------------------------------------------------
  reportSoon() {
    const s = this.state;
    const pane = this.panes[s.active] || this.panes[0];
    const body = JSON.stringify({ key: this.data.key, volume: this.data.series[0].id, index: s.pos });
    const here = `${body} ${pane.plane} ${pane.series}`; // the pane is told to screen readers alone
    if (here === this.reported) return;
    this.reported = here;
    clearTimeout(this.reportTimer);
    this.reportTimer = setTimeout(() => this.report(body, pane), REPORT_AFTER_MS);
  }

  report(body, pane) {
    const count = this.shape[PLANES[pane.plane].w];
    const text = `${PLANES[pane.plane].name} slice ${pane.index + 1} of ${count}`;
    this.root.setAttribute("aria-label", `CT viewer, ${this.data.series[pane.series].name}, ${text}. Press ? for keys.`);
    this.status.textContent = text;
    fetch(this.data.position_url, { method: "POST", body, keepalive: true, credentials: "same-origin" }).catch(() => {
      this.reported = ""; // the next move tries again
    });
  }

  // Not at each step of a drag: the browser's storage is written while everything waits.
  keepSoon() {
    clearTimeout(this.keepTimer);
    this.keepTimer = setTimeout(() => this.keepNow(), REPORT_AFTER_MS);
  }

  keepNow() {
    clearTimeout(this.keepTimer);
    if (this.state) keepView(this.memory, this.state);
  }

  dispose() {
    leave(this);
    this.keepNow();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.reportTimer);
    this.observer.disconnect();
    for (const volume of this.volumes.values()) close(volume, this.onVolume);
    this.volumes.clear();
    this.painters.clear();
  }
}
