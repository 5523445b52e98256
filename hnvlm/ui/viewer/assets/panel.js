// Toolbar, side list and help: plain HTML around the canvas, each control with a name, a tooltip and its key.

const ICONS = {
  window: '<circle cx="8" cy="8" r="6"/><path d="M8 2a6 6 0 0 1 0 12z" fill="currentColor"/>',
  scroll: '<path d="M8 2v12M5 5l3-3 3 3M5 11l3 3 3-3"/>',
  pan: '<path d="M8 2v12M2 8h12M6 4l2-2 2 2M6 12l2 2 2-2M4 6 2 8l2 2M12 6l2 2-2 2"/>',
  zoom: '<circle cx="7" cy="7" r="4.5"/><path d="m10.5 10.5 3.5 3.5M5 7h4M7 5v4"/>',
  length: '<path d="m2 11 9-9 3 3-9 9zM5 8l1.5 1.5M7.5 5.5 9 7"/>',
  roi: '<ellipse cx="8" cy="8" rx="6" ry="4.5" stroke-dasharray="2.5 2"/>',
  cross: '<path d="M8 1v5M8 10v5M1 8h5M10 8h5"/>',
  invert: '<rect x="2" y="2" width="12" height="12" rx="1"/><path d="M2 14 14 2v12z" fill="currentColor"/>',
  structures: '<path d="M3 9c-1-4 2-7 5-6s6 2 5 6-5 5-7 4-2.500-2-3-4z"/>',
  dose: '<circle cx="8" cy="8" r="6"/><circle cx="8" cy="8" r="3.500"/><circle cx="8" cy="8" r="1" fill="currentColor"/>',
  boxes: '<path d="M2 5V2h3M11 2h3v3M14 11v3h-3M5 14H2v-3"/>',
  reset: '<path d="M3 8a5 5 0 1 0 1.500-3.500M3 2v3h3"/>',
  full: '<path d="M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4"/>',
  list: '<path d="M2 4h12M2 8h12M2 12h12"/>',
};
// Who drew a structure: the mark beside its name, and what the tooltip says.
const DRAWN_BY = { AI: "AI draft, research use only", clinic: "drawn by the clinic" };
const TOOLS = [
  ["window", "Window: drag changes brightness and contrast (Esc)"],
  ["scroll", "Scroll: drag moves through the slices"],
  ["pan", "Pan: drag moves the picture (p)"],
  ["zoom", "Zoom: drag up to enlarge (z)"],
  ["length", "Length in mm (l)"],
  ["roi", "Mean HU in an ellipse (e)"],
];

function element(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "text") node.textContent = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function iconButton(icon, label, onclick) {
  const button = element("button", { title: label, "aria-label": label, type: "button", onclick });
  // Icons are constants of this file, never data.
  if (ICONS[icon]) button.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true">${ICONS[icon]}</svg>`;
  else button.textContent = icon;
  return button;
}

export class Panel {
  constructor(viewer) {
    this.viewer = viewer;
    this.bar = element("div", { class: "bar", role: "toolbar", "aria-label": "Viewer tools" });
    this.side = element("div", { class: "side", "aria-label": "Structures and findings" });
    this.help = element("div", { class: "help", role: "dialog", "aria-label": "Keys and mouse" });
    this.help.hidden = true;
    this.pressed = [];
    this.skip = element("button", { class: "skip", type: "button", text: "Skip the images", onclick: () => this.leave() });
  }

  // On to what stands after the viewer: by Tab alone there are some forty controls in between.
  leave() {
    const host = this.viewer.root.getRootNode().host ?? this.viewer.root;
    const stops = [...document.querySelectorAll("a[href], button, input, select, textarea, [tabindex]")].filter(
      (node) => node.tabIndex >= 0 && !node.disabled && node.checkVisibility() && node !== host,
    );
    const after = stops.find((node) => host.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_FOLLOWING);
    (after ?? stops[0])?.focus();
  }

  toggle(icon, label, isOn, action) {
    const button = iconButton(icon, label, () => {
      action();
      this.viewer.root.focus({ preventScroll: true });
    });
    this.pressed.push([button, isOn]);
    return button;
  }

  // Rebuild for new data: which controls exist depends on what is shown.
  build() {
    const v = this.viewer;
    const s = v.state;
    this.pressed = [];
    const gap = () => element("span", { class: "gap" });
    const parts = [];
    const views = v.comparing ? ["axial", "coronal", "sagittal"] : ["axial", "coronal", "sagittal", "mpr"];
    const names = { axial: "Ax", coronal: "Cor", sagittal: "Sag", mpr: "MPR" };
    for (const view of views) {
      const label = view === "mpr" ? "Three linked planes (m)" : `${view[0].toUpperCase()}${view.slice(1)} plane (m)`;
      parts.push(this.toggle(names[view], label, () => v.view === view, () => v.setView(view)));
    }
    parts.push(gap(), this.presets(), gap());
    for (const [tool, label] of TOOLS) parts.push(this.toggle(tool, label, () => s.tool === tool, () => v.setTool(tool)));
    parts.push(gap(), this.toggle("invert", "Invert grey (i)", () => s.invert, () => v.act("invert")));
    parts.push(this.toggle("cross", "Crosshair (x)", () => v.crosshairOn, () => v.act("crosshair")));
    if (v.structures.length)
      parts.push(this.toggle("structures", "Structures: outline, filled, off (s)", () => s.structures !== "off", () => v.act("structures")));
    if (v.data.dose) parts.push(this.toggle("dose", "Dose (d)", () => s.dose, () => v.act("dose")));
    if (v.data.boxes.length) parts.push(this.toggle("boxes", "Findings (b)", () => s.boxes, () => v.act("boxes")));
    if (v.comparing) {
      parts.push(gap(), this.toggle("Panes", "All pictures side by side (Esc)", () => s.compare === "panes", () => v.act("panes")));
      parts.push(this.toggle("Flicker", "One picture, switch original and synthetic (f)", () => s.compare === "flicker", () => v.act("flicker")));
      parts.push(this.toggle("Swipe", "One picture with a movable divider (w)", () => s.compare === "swipe", () => v.act("swipe")));
    }
    parts.push(element("span", { class: "push" }));
    if (v.structures.length || v.data.boxes.length)
      parts.push(this.toggle("list", "List of structures and findings (n)", () => v.sideOpen, () => v.act("list")));
    parts.push(this.toggle("reset", "Reset zoom and window (space)", () => false, () => v.act("reset")));
    parts.push(this.toggle("full", "Full screen", () => false, () => v.fullScreen()));
    parts.push(this.toggle("?", "Keys and mouse (?)", () => !this.help.hidden, () => v.act("help")));
    this.bar.replaceChildren(...parts);
    this.buildSide();
    this.sync();
  }

  presets() {
    const v = this.viewer;
    this.select = element("select", {
      title: "Window preset (keys 0 to 8)",
      "aria-label": "Window preset",
      onchange: () => {
        if (this.select.value !== "custom") v.preset(this.select.value);
        v.root.focus({ preventScroll: true });
      },
    });
    for (const p of v.presets)
      this.select.append(element("option", { value: p.key, text: `${p.key}  ${p.name}`, title: `W ${p.width} L ${p.centre}` }));
    this.select.append(element("option", { value: "custom", text: "Own window", disabled: "" }));
    return this.select;
  }

  buildSide() {
    const v = this.viewer;
    const rows = [];
    this.boxesOf = [];
    if (v.structures.length) {
      const all = element("button", { type: "button", text: "all / none", title: "Show or hide all structures", onclick: () => v.toggleAll() });
      rows.push(element("h4", {}, element("span", { text: "Structures" }), all));
      for (const item of v.structures) rows.push(this.structureRow(item));
    }
    if (v.data.boxes.length) {
      rows.push(element("h4", {}, element("span", { text: "Findings" })));
      v.data.boxes.forEach((box, n) => rows.push(this.findingRow(box, n)));
    }
    this.side.replaceChildren(...rows);
  }

  structureRow(item) {
    const v = this.viewer;
    const whole = item.mark ? `${item.label} · ${item.mark}` : item.label;
    const box = element("input", { type: "checkbox", "aria-label": `Show ${whole}`, onchange: () => v.toggleStructure(item.name) });
    this.boxesOf.push([box, item.name]);
    const swatch = element("i", {});
    swatch.style.background = item.colour;
    const told = item.mark ? `Go to ${item.label} (${DRAWN_BY[item.mark] ?? item.mark})` : `Go to ${item.label}`;
    const name = element("span", { class: "name", text: item.label });
    const jump = element("button", { type: "button", class: "who", title: told, onclick: () => v.goTo(item.jump) }, name);
    // A part of its own: a long name is cut, who drew it never.
    if (item.mark) jump.append(element("span", { class: "mark", text: ` · ${item.mark}` }));
    if (!item.jump) jump.disabled = true;
    return element("div", { class: "row" }, box, swatch, jump, element("small", { text: `${item.ml} ml` }));
  }

  findingRow(box, n) {
    const v = this.viewer;
    const swatch = element("i", {});
    swatch.style.background = box.colour;
    const jump = element("button", { type: "button", text: box.label, title: "Go to this finding", onclick: () => v.openBox(n) });
    return element("div", { class: "row wrap" }, swatch, jump);
  }

  // Bring pressed states and the preset name in line with the viewer's state.
  sync() {
    const v = this.viewer;
    for (const [button, isOn] of this.pressed) button.setAttribute("aria-pressed", String(Boolean(isOn())));
    for (const [box, name] of this.boxesOf || []) box.checked = !v.state.hidden.has(name);
    if (this.select) this.select.value = v.presetKey();
    this.side.hidden = !v.sideOpen;
  }

  showHelp(open) {
    const v = this.viewer;
    this.help.hidden = !open;
    if (!open) return;
    const items = [
      ["Wheel", "slices (down: feet, back, left)"], ["Left drag", "window: up brighter, right wider"],
      ["Middle or Shift drag", "pan"], ["Right drag", "zoom"], ["Ctrl + wheel", "zoom at the pointer"],
      ["Click", "set crosshair"], ["Shift + move", "crosshair follows in all planes"],
      ["Double click", "one pane large, and back"], ["Ctrl + double click", "window back to default"],
      ["↑ ↓", "one slice"], ["PgUp PgDn", "ten slices"], ["Home End", "first, last slice (head, feet)"],
      ["Shift + ↑ ↓ ← →", "move the picture"], ["Ctrl + ↑ ↓ ← →", "window: brighter, darker, narrower, wider"],
      ["← →", "previous, next pane"], ["+ − =", "larger, smaller, fit"], ["Space", "reset zoom and window"],
      ["i", "invert grey"], ["m", v.comparing ? "next plane" : "axial or three planes"], ["x", "crosshair on or off"],
      ["s", "structures: outline, filled, off"], ["d", "dose on or off"], ["b", "findings on or off"], ["n", "list on or off"],
      ["p", "pan (drag)"], ["z", "zoom (drag)"],
      ["l", "measure length (drag)"], ["e", "mean HU in an ellipse (drag)"], ["Delete", "remove the last measurement on screen"],
      ["Ctrl + z", "undo: drawing or removing one"],
      ["Enter", "after l or e: a pen at the crosshair; arrows move it (Shift: faster), Enter sets one end, then the other"],
      ["f", "flicker: original or synthetic"], ["w", "swipe: movable divider"],
      ["Esc", "back to window (drag); leave flicker, swipe or help"],
      ...v.presets.map((p) => [p.key, `${p.name}  (W ${p.width}, L ${p.centre})`]),
    ];
    const cols = element("div", { class: "cols" });
    for (const [key, text] of items)
      cols.append(element("div", { class: "item" }, element("kbd", { text: key }), element("span", { text })));
    const shut = element("button", { type: "button", text: "Close", onclick: () => v.act("help") });
    this.help.replaceChildren(element("h3", { text: "Keys and mouse" }), shut, cols);
  }
}
