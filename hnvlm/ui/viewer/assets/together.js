// Two viewers of different CTs side by side: one window, zoom, plane and scale. Their places have nothing to do with each
// other: moved together, both go by as many mm from where each stood.

import { clamp } from "./geometry.js";

const GROUPS = (globalThis[Symbol.for("hnvlm.together")] ??= new Map());
const SHARED = ["window", "invert", "zoom", "plane", "mpr"];
const peers = (viewer) => [...(GROUPS.get(viewer.group) ?? [])].filter((other) => other !== viewer && other.state);
const mm = (viewer) => viewer.state.pos.map((v, a) => v * viewer.spacing[a]);

// Follow the viewers that were told the same name, from now on; they begin with what the leading one shows.
export function join(viewer) {
  const asked = viewer.data.together ?? null;
  const link = asked && `${asked.name}|${asked.scroll}|${viewer.memory}`;
  if (link === viewer.link) return;
  leave(viewer);
  viewer.link = link;
  if (!asked) return;
  viewer.group = asked.name;
  if (!GROUPS.has(viewer.group)) GROUPS.set(viewer.group, new Set());
  for (const other of peers(viewer)) {
    if (asked.lead) take(other, viewer);
    else if (other.data.together?.lead) take(viewer, other);
    other.told = snapshot(other);
    other.refresh();
  }
  GROUPS.get(viewer.group).add(viewer);
  viewer.told = snapshot(viewer);
}

export function leave(viewer) {
  const others = peers(viewer);
  GROUPS.get(viewer.group)?.delete(viewer);
  if (GROUPS.get(viewer.group)?.size === 0) GROUPS.delete(viewer.group);
  viewer.group = viewer.link = viewer.told = viewer.fits = viewer.apart = null;
  for (const other of others) {
    other.apart = null;
    other.refresh();
  }
}

// After each change: what changed here changes there.
export function tell(viewer) {
  const before = viewer.told;
  const now = snapshot(viewer);
  if (!viewer.group || now.key === before.key) return;
  viewer.told = now;
  const moved = viewer.data.together.scroll && now.pos !== before.pos;
  for (const other of peers(viewer)) {
    if (now.shared !== before.shared) take(other, viewer);
    if (moved && other.data.together.scroll) move(other, viewer, before);
    other.told = snapshot(other);
    other.refresh();
  }
}

function take(viewer, other) {
  for (const name of SHARED) viewer.state[name] = structuredClone(other.state[name]);
}

// The way between both is kept from the first step on, so that who met the end of its CT is in step again on the way back.
function move(other, viewer, before) {
  const start = before.mm;
  if (!viewer.apart) {
    viewer.apart = mm(other).map((v, a) => v - start[a]);
    other.apart = viewer.apart.map((v) => -v);
  }
  const wanted = mm(viewer).map((v, a) => (v + viewer.apart[a]) / other.spacing[a]);
  other.state.pos = wanted.map((v, a) => clamp(Math.round(v), 0, other.shape[a] - 1));
}

function snapshot(viewer) {
  const shared = JSON.stringify(SHARED.map((name) => viewer.state[name]));
  const pos = viewer.state.pos.join();
  return { shared, pos, key: `${shared} ${pos}`, mm: mm(viewer) };
}

// One scale: the smallest of those that fit, or a node would look larger in the CT with the smaller field of view.
export function oneScale(viewer, panes) {
  const fits = Object.fromEntries(panes.map((pane) => [`${panes.length} ${pane.plane}`, pane.fit]));
  const changed = JSON.stringify(fits) !== JSON.stringify(viewer.fits);
  viewer.fits = fits;
  for (const other of peers(viewer)) {
    for (const pane of panes) pane.fit = Math.min(pane.fit, other.fits?.[`${panes.length} ${pane.plane}`] ?? pane.fit);
    if (changed) other.refresh();
  }
}
