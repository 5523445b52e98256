// Where the figures of the isodose lines stand: green and orange lines are one colour to some eyes, their figures are not.

// Lines lie within each other, so each figure goes to the end of its line in another direction: eighths of a turn.
const TURNS = [1, 7, 3, 5, 0, 4, 2, 6];
const SMALL_PX = 40; // a line that is smaller has its figure beside it, not on it

// lines: [{ text, points }], in pixels of the slice, the points as [x, y, x, y, ...]. room: rectangle that is free for figures;
// taken: rectangles in it that are not. width: of a text. Returns [{ n, x, y }]: number of the line, middle of its figure.
export function figurePlaces(lines, view, room, taken, height, width) {
  const full = [...taken];
  const places = [];
  lines.forEach(({ text, points }, n) => {
    const w = width(text) + 4;
    const seen = visible(points, view, room, w / 2, height / 2);
    if (!seen.length) return;
    const beside = extent(seen) < SMALL_PX ? 1 : 0;
    for (let step = 0; step < TURNS.length; step++) {
      const turn = (TURNS[(n + step) % TURNS.length] * Math.PI) / 4;
      const [dx, dy] = [Math.cos(turn), Math.sin(turn)];
      const [px, py] = farthest(seen, dx, dy);
      const x = px + beside * dx * (w / 2 + 3);
      const y = py + beside * dy * (height / 2 + 3);
      const box = { x: x - w / 2, y: y - height / 2, w, h: height };
      if (full.some((other) => overlap(box, other))) continue;
      full.push(box);
      places.push({ n, x, y });
      return;
    }
  });
  return places;
}

const overlap = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

// Points on the screen at which a text still lies within the room.
function visible(points, view, room, w, h) {
  const out = [];
  for (let i = 0; i < points.length; i += 2) {
    const x = view.x0 + points[i] * view.pxU;
    const y = view.y0 + points[i + 1] * view.pxV;
    if (x >= room.x + w && x <= room.x + room.w - w && y >= room.y + h && y <= room.y + room.h - h) out.push([x, y]);
  }
  return out;
}

function extent(points) {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of points) [x0, y0, x1, y1] = [Math.min(x0, x), Math.min(y0, y), Math.max(x1, x), Math.max(y1, y)];
  return Math.max(x1 - x0, y1 - y0);
}

function farthest(points, dx, dy) {
  let best = points[0];
  for (const point of points) if (point[0] * dx + point[1] * dy > best[0] * dx + best[1] * dy) best = point;
  return best;
}
