// Voxels in the browser: fetched once per content, shared by all viewers, kept over page switches.

const KEEP_BYTES = 900e6;
const REGISTRY = (globalThis[Symbol.for("hnvlm.volumes")] ??= new Map());
// Where each viewer stood, per viewer key and volume: survives reruns and page switches.
export const MEMORY = (globalThis[Symbol.for("hnvlm.memory")] ??= new Map());

// Measurements live as long as the tab: in its session storage, which a reload leaves and closing the tab empties.
const measuresKey = (memory) => `hnvlm.measures|${memory}`;

export function keptMeasures(memory) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(measuresKey(memory)) ?? "[]");
    return Array.isArray(kept) ? kept : [];
  } catch {
    return []; // storage switched off, or written by somebody else
  }
}

export function keepMeasures(memory, measures) {
  try {
    if (measures.length) sessionStorage.setItem(measuresKey(memory), JSON.stringify(measures));
    else sessionStorage.removeItem(measuresKey(memory));
  } catch (problem) {
    console.warn("hnvlm viewer: measurements do not outlive a reload:", problem);
  }
}

// The view lives as long as the measurements: a page that is loaded anew opens as it was left.
const VIEW = ["window", "invert", "zoom", "centre", "plane", "mpr", "layoutAsked", "structures", "hidden", "dose", "boxes", "crosshair", "list", "compare", "flicker", "swipe"];
// The number grows when what is kept means something else.
const viewKey = (memory) => `hnvlm.view.1|${memory}`;

export function keptView(memory) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(viewKey(memory)) ?? "{}");
    return kept.hidden ? { ...kept, hidden: new Set(kept.hidden) } : {};
  } catch {
    return {};
  }
}

export function keepView(memory, state) {
  try {
    const view = Object.fromEntries(VIEW.map((name) => [name, state[name]]));
    sessionStorage.setItem(viewKey(memory), JSON.stringify({ ...view, hidden: [...state.hidden] }));
  } catch (problem) {
    console.warn("hnvlm viewer: the view does not outlive a reload:", problem);
  }
}

const ARRAYS = { int16: Int16Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array };

export class VolumeData {
  constructor(entry, shape) {
    this.id = entry.id;
    this.entry = entry;
    this.shape = shape;
    this.sliceLength = shape[1] * shape[2];
    this.data = new ARRAYS[entry.dtype](shape[0] * this.sliceLength);
    if (entry.dtype === "int16") this.data.fill(-1024);
    this.bytes = new Uint8Array(this.data.buffer);
    this.prefix = 0; // whole slices received from the start
    this.slab = [0, 0];
    this.error = "";
    this.loading = false;
    this.version = 0; // grows as slices arrive, so that caches know
    this.users = new Set();
    this.used = 0;
  }

  get ready() {
    return this.prefix >= this.shape[0];
  }

  has(z) {
    return z < this.prefix || (z >= this.slab[0] && z < this.slab[1]);
  }

  get fraction() {
    return this.prefix / this.shape[0];
  }

  changed() {
    this.version += 1;
    for (const user of this.users) user();
  }

  async load(entry, z) {
    this.entry = entry;
    if (this.ready || this.loading) return;
    this.loading = true;
    this.error = "";
    try {
      if (entry.slab && !this.has(z)) await this.loadSlab(z, entry.slab);
      await this.loadAll();
    } catch (problem) {
      this.error =
        problem && problem.status === 404
          ? "This image is no longer open for this browser. Reload the page."
          : "The image could not be loaded. Is the app still running?";
      console.warn("hnvlm viewer:", problem);
    }
    this.loading = false;
    this.changed();
  }

  async get(query) {
    const response = await fetch(this.entry.url + query, { credentials: "same-origin", cache: "no-store" });
    if (!response.ok) throw Object.assign(new Error(`HTTP ${response.status}`), { status: response.status });
    return response;
  }

  async loadSlab(z, size) {
    const z0 = Math.max(0, Math.min(this.shape[0] - size, Math.round(z - size / 2)));
    const z1 = Math.min(this.shape[0], z0 + size);
    const part = new Uint8Array(await (await this.get(`?z0=${z0}&z1=${z1}`)).arrayBuffer());
    this.bytes.set(part, z0 * this.sliceLength * this.data.BYTES_PER_ELEMENT);
    this.slab = [z0, z1];
    this.changed();
  }

  async loadAll() {
    const reader = (await this.get("")).body.getReader();
    const step = this.sliceLength * this.data.BYTES_PER_ELEMENT;
    let offset = 0;
    let shown = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (offset + value.length > this.bytes.length) throw new Error("more bytes than announced");
      this.bytes.set(value, offset);
      offset += value.length;
      this.prefix = Math.floor(offset / step);
      if (performance.now() - shown > 120) {
        shown = performance.now();
        this.changed();
      }
    }
    if (offset !== this.bytes.length) throw new Error(`got ${offset} of ${this.bytes.length} bytes`);
  }
}

// Return the shared volume of an entry, starting its load around slice z if needed.
export function open(entry, shape, z, user) {
  let volume = REGISTRY.get(entry.id);
  if (!volume) {
    volume = new VolumeData(entry, shape);
    REGISTRY.set(entry.id, volume);
  }
  volume.used = performance.now();
  volume.users.add(user);
  volume.load(entry, z);
  forgetOld();
  return volume;
}

export function close(volume, user) {
  volume.users.delete(user);
}

function forgetOld() {
  let total = 0;
  for (const volume of REGISTRY.values()) total += volume.bytes.length;
  const idle = [...REGISTRY.values()].filter((v) => !v.users.size).sort((a, b) => a.used - b.used);
  for (const volume of idle) {
    if (total <= KEEP_BYTES) return;
    total -= volume.bytes.length;
    REGISTRY.delete(volume.id);
  }
}
