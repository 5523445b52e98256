// Mouse, touch, wheel and keys. OHIF's mouse bindings; no key reaches Streamlit while the viewer has focus.

import { PLANES, WHEEL_SIGN, clamp, screenToVoxel } from "./geometry.js";
import { begun, measure, penKey } from "./measuring.js";

const CLICK_PX = 4;
const SCROLLBAR_PX = 14;
// One press of an arrow key moves the picture, or changes the window, as a drag over so many pixels does.
const KEY_PX = 24;
const KEYS = {
  i: "invert", x: "crosshair", s: "structures", d: "dose", b: "boxes", n: "list", " ": "reset", "?": "help", m: "layout",
  z: "zoom", p: "pan", l: "length", e: "roi", f: "flicker", w: "swipe", Delete: "erase", Backspace: "erase", Escape: "cancel",
};

const TYPED_INTO = "textarea, select, [contenteditable=true], input:not([type=checkbox], [type=radio], [type=range])";

let byPointer = false;
document.addEventListener("pointerdown", () => (byPointer = true), true);
document.addEventListener("keydown", () => (byPointer = false), true);

// Whether keys are no longer for what has the focus: a link or button stays focused after it was clicked, and so does a
// drop-down list whose entry was chosen. What was reached by keys, an open list and an open menu keep theirs.
function isDoneWith(element) {
  if (!element || element === document.body) return true;
  if (!byPointer || element.getAttribute("aria-expanded") === "true" || element.closest("[role=dialog]")) return false;
  return element.getAttribute("role") === "combobox" || !element.matches(TYPED_INTO);
}

export class Input {
  constructor(viewer) {
    this.viewer = viewer;
    this.drag = null;
    this.touches = new Map();
    this.wheelRest = 0;
    const top = viewer.top;
    top.addEventListener("pointerdown", (e) => this.down(e));
    top.addEventListener("pointermove", (e) => this.move(e));
    top.addEventListener("pointerup", (e) => this.up(e));
    top.addEventListener("pointercancel", (e) => this.up(e));
    top.addEventListener("pointerleave", () => this.leave());
    top.addEventListener("dblclick", (e) => this.doubleClick(e));
    top.addEventListener("contextmenu", (e) => e.preventDefault());
    top.addEventListener("auxclick", (e) => e.preventDefault());
    // Not passive: the page below must not scroll.
    top.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    viewer.root.addEventListener("keydown", (e) => this.key(e));
    for (const name of ["keyup", "keypress"]) viewer.root.addEventListener(name, (e) => e.stopPropagation());
    // Keys work as soon as the pointer is over the picture, unless the user is in some other control.
    viewer.root.addEventListener("pointerenter", () => {
      if (isDoneWith(document.activeElement)) viewer.root.focus({ preventScroll: true });
    });
  }

  local(e) {
    const box = this.viewer.top.getBoundingClientRect();
    return [e.clientX - box.left, e.clientY - box.top];
  }

  voxel(pane, x, y) {
    return screenToVoxel(x, y, pane.view, this.viewer.shape, pane.plane, pane.index);
  }

  mode(e, pane, x, y) {
    const v = this.viewer;
    if (e.button === 1) return "pan";
    if (e.button === 2) return "zoom";
    if (x > pane.rect.x + pane.rect.w - SCROLLBAR_PX) return "bar";
    if (v.comparing && v.state.compare === "swipe" && Math.abs(x - v.swipeX(pane)) < 12) return "divider";
    if (e.shiftKey) return "pan";
    if (e.ctrlKey) return "cross";
    return v.state.tool;
  }

  down(e) {
    const v = this.viewer;
    const [x, y] = this.local(e);
    const pane = v.paneAt(x, y);
    v.root.focus({ preventScroll: true });
    if (!pane) return;
    e.preventDefault();
    v.top.setPointerCapture(e.pointerId);
    if (e.pointerType === "touch") this.touches.set(e.pointerId, [x, y]);
    if (this.touches.size >= 2) return this.startPinch(pane); // a third finger is no click
    v.state.active = v.panes.indexOf(pane);
    const s = v.state;
    this.drag = {
      mode: this.mode(e, pane, x, y), pane, x, y, lastX: x, lastY: y, moved: false, window: [...s.window],
      voxel: this.voxel(pane, x, y), index: pane.index, button: e.button,
    };
    if (["bar", "cross", "divider"].includes(this.drag.mode)) this.dragTo(x, y);
    if (["length", "roi"].includes(this.drag.mode)) this.startMeasure();
    v.refresh();
  }

  move(e) {
    const v = this.viewer;
    const [x, y] = this.local(e);
    if (this.touches.has(e.pointerId)) this.touches.set(e.pointerId, [x, y]);
    if (this.pinch) return this.movePinch();
    if (this.drag) {
      const d = this.drag;
      if (!d.moved && Math.hypot(x - d.x, y - d.y) < CLICK_PX && d.mode !== "cross") return;
      d.moved = true;
      this.dragTo(x, y);
      d.lastX = x;
      d.lastY = y;
    }
    const pane = v.paneAt(x, y);
    v.hover = pane ? { pane, x, voxel: this.voxel(pane, x, y).map(Math.round) } : null;
    if (!this.drag && e.shiftKey && pane) v.moveTo(this.voxel(pane, x, y));
    const onDivider = pane && v.comparing && v.state.compare === "swipe" && Math.abs(x - v.swipeX(pane)) < 12;
    v.top.style.cursor = onDivider ? "ew-resize" : "crosshair";
    v.refresh(true);
  }

  dragTo(x, y) {
    const v = this.viewer;
    const s = v.state;
    const d = this.drag;
    const { pane } = d;
    const p = PLANES[pane.plane];
    if (d.mode === "window") {
      const [c, w] = d.window;
      s.window = dragged(c, w, x - d.x, y - d.y);
    } else if (d.mode === "pan") {
      pan(s, pane, x - d.lastX, y - d.lastY);
    } else if (d.mode === "zoom") {
      return v.zoomBy(Math.exp((d.lastY - y) / 150), pane, d.voxel);
    } else if (d.mode === "scroll") {
      const pos = [...s.pos];
      pos[p.w] = d.index + WHEEL_SIGN[p.w] * Math.round((y - d.y) / 5);
      return v.moveTo(pos);
    } else if (d.mode === "bar") {
      const t = clamp((y - pane.rect.y - 4) / (pane.rect.h - 8), 0, 1);
      const last = v.shape[p.w] - 1;
      const pos = [...s.pos];
      pos[p.w] = Math.round((WHEEL_SIGN[p.w] > 0 ? t : 1 - t) * last);
      return v.moveTo(pos);
    } else if (d.mode === "divider") {
      s.swipe = clamp((x - pane.rect.x) / pane.rect.w, 0.02, 0.98);
    } else if (d.mode === "cross") {
      return v.moveTo(this.voxel(pane, x, y));
    } else this.stretchMeasure(x, y);
    v.refresh();
  }

  up(e) {
    const v = this.viewer;
    this.touches.delete(e.pointerId);
    if (this.touches.size < 2) this.pinch = null;
    const d = this.drag;
    this.drag = null;
    if (!d) return;
    if (v.draft) this.finishMeasure(d.moved);
    else if (!d.moved && d.button === 0 && ["window", "pan", "zoom", "scroll"].includes(d.mode) && !e.shiftKey) v.moveTo(d.voxel);
    v.refresh();
  }

  leave() {
    this.viewer.hover = null;
    this.viewer.refresh(true);
  }

  doubleClick(e) {
    const v = this.viewer;
    const pane = v.paneAt(...this.local(e));
    if (!pane) return;
    if (e.ctrlKey) v.preset("0");
    else if (v.panes.length > 1 || v.state.maximised !== null) v.maximise(pane);
  }

  wheel(e) {
    const v = this.viewer;
    const [x, y] = this.local(e);
    const pane = v.paneAt(x, y);
    e.preventDefault();
    e.stopPropagation();
    if (!pane) return;
    v.state.active = v.panes.indexOf(pane);
    const delta = e.deltaY * (e.deltaMode === 1 ? 40 : e.deltaMode === 2 ? 400 : 1);
    if (e.ctrlKey) return v.zoomBy(Math.exp(-delta / 500), pane, this.voxel(pane, x, y));
    // A mouse notch is about 100 and one slice; a trackpad sends many small steps that add up.
    let steps = Math.sign(delta) * Math.max(1, Math.round(Math.abs(delta) / 120));
    if (Math.abs(delta) < 50) {
      this.wheelRest += delta;
      steps = Math.trunc(this.wheelRest / 30);
      this.wheelRest -= steps * 30;
    }
    if (steps) v.scroll(pane, steps * WHEEL_SIGN[PLANES[pane.plane].w]);
  }

  key(e) {
    const v = this.viewer;
    if (e.key === "Tab" || /^F\d+$/.test(e.key)) return;
    if ((e.ctrlKey || e.metaKey) && !e.shiftKey && !e.altKey && e.key.toLowerCase() === "z") {
      e.stopPropagation();
      e.preventDefault();
      return v.act("undo");
    }
    if (!this.drag && penKey(v, e)) {
      e.stopPropagation();
      e.preventDefault();
      return v.refresh();
    }
    const way = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[e.key];
    if (way && e.ctrlKey !== e.shiftKey && !e.metaKey && !e.altKey && e.composedPath()[0].tagName !== "SELECT") {
      e.stopPropagation();
      e.preventDefault();
      return this.nudge(way.map((step) => step * KEY_PX), e.ctrlKey);
    }
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    // Streamlit binds bare letters (r, c) on the document.
    e.stopPropagation();
    const target = e.composedPath()[0];
    if (target.tagName === "SELECT") return;
    // Buttons, and the boxes of the list: their own keys are these, all others are for the picture.
    if (["BUTTON", "INPUT"].includes(target.tagName) && (e.key === "Enter" || e.key === " ")) return;
    if (this.navigate(e.key) || /^[0-8]$/.test(e.key)) {
      if (/^[0-8]$/.test(e.key)) v.preset(e.key);
    } else if (KEYS[e.key] || KEYS[e.key.toLowerCase()]) v.act(KEYS[e.key] || KEYS[e.key.toLowerCase()]);
    else return;
    e.preventDefault();
  }

  // What a drag does, by arrow keys: with Ctrl the window (up brighter, right wider), with Shift the picture.
  nudge([x, y], window) {
    const v = this.viewer;
    if (window) v.state.window = dragged(...v.state.window, x, y);
    else pan(v.state, v.panes[v.state.active] || v.panes[0], x, y);
    v.refresh();
  }

  navigate(key) {
    const v = this.viewer;
    const s = v.state;
    const pane = v.panes[s.active] || v.panes[0];
    const axis = PLANES[pane.plane].w;
    const sign = WHEEL_SIGN[axis];
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -1e6, End: 1e6 }[key];
    if (steps !== undefined) v.scroll(pane, steps * sign);
    else if (key === "ArrowRight") s.active = (s.active + 1) % v.panes.length;
    else if (key === "ArrowLeft") s.active = (s.active + v.panes.length - 1) % v.panes.length;
    else if (key === "+") v.zoomBy(1.25);
    else if (key === "-") v.zoomBy(0.8);
    else if (key === "=") Object.assign(s, { zoom: 1, centre: [...v.bodyCentre] });
    else return false;
    v.refresh();
    return true;
  }

  // ---- two fingers ------------------------------------------------------------------------------
  startPinch(pane) {
    this.drag = null;
    this.viewer.draft = null;
    const [a, b] = [...this.touches.values()];
    this.pinch = { pane, distance: Math.hypot(a[0] - b[0], a[1] - b[1]), middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] };
  }

  movePinch() {
    const [a, b] = [...this.touches.values()];
    const distance = Math.max(10, Math.hypot(a[0] - b[0], a[1] - b[1]));
    const middle = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    const { pane } = this.pinch;
    pan(this.viewer.state, pane, middle[0] - this.pinch.middle[0], middle[1] - this.pinch.middle[1]);
    this.viewer.zoomBy(distance / this.pinch.distance, pane, this.voxel(pane, ...middle));
    Object.assign(this.pinch, { distance, middle });
  }

  // ---- measuring --------------------------------------------------------------------------------
  startMeasure() {
    const d = this.drag;
    this.viewer.pen = null;
    this.viewer.draft = begun(this.viewer, d.mode, d.pane, d.voxel, d.x);
  }

  stretchMeasure(x, y) {
    const draft = this.viewer.draft;
    if (!draft) return;
    // It ends at the border of its pane: nobody sees what he measures beyond.
    const { rect } = this.drag.pane;
    const [u, v] = [clamp(x, rect.x, rect.x + rect.w), clamp(y, rect.y, rect.y + rect.h)];
    draft.b = this.voxel(this.drag.pane, u, v);
    measure(draft, this.viewer);
  }

  finishMeasure(moved) {
    const v = this.viewer;
    if (moved && Number.isFinite(v.draft.value)) v.addMeasure(v.draft);
    v.draft = null;
  }
}

// Centre and width of a window after a drag over so many pixels.
function dragged(centre, width, x, y) {
  const step = Math.max(width, 80);
  return [Math.round(centre + (y * step) / 400), Math.max(1, Math.round(width + (x * step) / 300))];
}

// Move the picture of a pane by so many pixels.
function pan(state, pane, x, y) {
  const p = PLANES[pane.plane];
  state.centre[p.u] -= x / pane.view.pxU;
  state.centre[p.v] -= ((p.flip ? -1 : 1) * y) / pane.view.pxV;
}
