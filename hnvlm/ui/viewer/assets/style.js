// Styles of the viewer's own shadow root: dark and quiet, so that the picture is the brightest thing.

export const CSS = `
.hv { position: relative; display: flex; flex-direction: column; box-sizing: border-box; width: 100%;
  background: #0e1116; color: #c9d1d9; border: 1px solid #232a33; border-radius: 6px; overflow: hidden;
  font: 13px/1.35 "Source Sans", "Source Sans 3", system-ui, sans-serif; outline: none; user-select: none; }
.hv:focus { border-color: #3a5575; }
.hv:focus-visible { border-color: #4ea1ff; box-shadow: 0 0 0 1px #4ea1ff; }
.hv * { box-sizing: border-box; }
.bar { display: flex; align-items: center; flex-wrap: wrap; gap: 2px; padding: 3px 4px; background: #12161d;
  border-bottom: 1px solid #232a33; }
.bar .gap { width: 1px; height: 18px; background: #2b333d; margin: 0 4px; }
.bar .push { flex: 1; }
button { all: unset; box-sizing: border-box; cursor: pointer; color: #aab4c0; border-radius: 4px; }
button:hover { background: #222a35; color: #fff; }
button:focus-visible, select:focus-visible, input:focus-visible { outline: 2px solid #4ea1ff; outline-offset: -1px; }
button[disabled] { opacity: 0.35; cursor: default; }
.bar button { display: inline-flex; align-items: center; justify-content: center; height: 26px; min-width: 26px;
  padding: 0 4px; font-size: 12px; }
.bar button[aria-pressed=true] { background: #1d3a5c; color: #cfe6ff; }
.bar svg { width: 16px; height: 16px; fill: none; stroke: currentColor; stroke-width: 1.6;
  stroke-linecap: round; stroke-linejoin: round; }
select { background: #171c24; color: #c9d1d9; border: 1px solid #2b333d; border-radius: 4px; height: 26px;
  font: inherit; font-size: 12px; max-width: 150px; }
.skip { position: absolute; left: 4px; top: 3px; z-index: 4; padding: 4px 10px; background: #1d3a5c; color: #fff; }
.skip:not(:focus) { width: 1px; height: 1px; padding: 0; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.body { position: relative; display: flex; flex: 1; min-height: 0; }
.stage { position: relative; flex: 1; min-width: 0; background: #000; overflow: hidden; }
.stage canvas { position: absolute; inset: 0; width: 100%; height: 100%; display: block; }
.stage canvas.top { touch-action: none; cursor: crosshair; }
.side { width: 208px; flex: none; background: #12161d; border-left: 1px solid #232a33; overflow: auto; padding: 6px;
  scrollbar-width: thin; scrollbar-color: #38424e transparent; }
.side[hidden], .help[hidden] { display: none; }
.side h4 { margin: 8px 0 3px; font-size: 11px; font-weight: 600; color: #8b96a3; letter-spacing: 0.03em;
  display: flex; justify-content: space-between; align-items: center; }
.side h4:first-child { margin-top: 0; }
.side h4 button { font-size: 11px; padding: 0 4px; color: #7fb8ff; font-weight: 400; }
.row { display: flex; align-items: center; gap: 4px; min-height: 24px; }
.row input { accent-color: #4ea1ff; margin: 0; width: 14px; height: 14px; flex: none; cursor: pointer; }
.row i { width: 10px; height: 10px; border-radius: 2px; flex: none; }
.row button { flex: 1; min-width: 0; padding: 2px 2px; font-size: 12px; color: #c9d1d9; overflow: hidden;
  text-overflow: ellipsis; white-space: nowrap; }
.row small { color: #7d8794; font-size: 11px; font-variant-numeric: tabular-nums; flex: none; }
.row.wrap button { white-space: normal; }
.row button.who { display: flex; text-align: left; }
.row .name { min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.row .mark { flex: none; white-space: pre; color: #9aa5b1; }
.help { position: absolute; inset: 0; background: rgba(10, 13, 18, 0.95); overflow: auto; padding: 14px 18px; z-index: 3; }
.help h3 { margin: 0 0 8px; font-size: 15px; color: #fff; }
.help .cols { display: grid; grid-template-columns: repeat(auto-fit, minmax(250px, 1fr)); gap: 2px 24px; }
.help div.item { display: flex; gap: 10px; padding: 2px 0; font-size: 12.5px; }
.help kbd { flex: 0 0 112px; color: #9ecbff; font: inherit; font-weight: 600; }
.help button { position: absolute; top: 10px; right: 12px; padding: 3px 10px; background: #222a35; }
.sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.error { position: absolute; left: 50%; top: 50%; transform: translate(-50%, -50%); max-width: 80%; padding: 10px 14px;
  background: #2a1a1a; border: 1px solid #7a3a3a; border-radius: 6px; color: #ffd9d9; text-align: center; z-index: 2; }
.error button { margin-left: 10px; padding: 2px 10px; background: #4a2a2a; color: #fff; }
`;
