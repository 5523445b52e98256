// Sends typed text in every pause of typing, and lets a click or a step back that leads to another page wait until the
// server has taken what was entered before. See __init__.py for why.

const PAUSE_MS = 1500; // a pause between two sentences, not between two words
const QUIET_MS = 150; // a box that was left is sent within this
const LONGEST_MS = 6000; // whoever wants to leave gets away at last
const POLL_MS = 50;
const CALM_MS = 1000; // after which the page of a step back should be there
const STEPS_ANEW = 2; // how often a step that the server overlooked is asked for again

const RENEWED_MS = 20_000; // how long it stands that the program was restarted

const heard = {
  touched: 0, // when something was entered or pressed last
  sent: 0, // when the server was last told something
  turned: 0, // when a run of the page began or ended last
  quiet: 0, // when the last run ended
};
let installed = false;
let session = null; // which of the server's sessions this page is of
let typing = null; // the box with text that was not sent yet
let composing = false; // an input method (accents, dictation, Chinese) is in the middle of a word
let timer = 0;
let going = null; // what waits: a link, or BACK
let arriving = 0; // looks whether the page of a step back is there
let followed = null; // the link or the event of the browser's history that is let through now

const BACK = "a step in the browser's history";

const LINKS = '[data-testid="stHeader"] a[href]';
const app = () => document.querySelector('[data-testid="stApp"]');
const running = () => /^(running|rerunRequested)$/.test(app()?.dataset.testScriptState ?? "");
const pending = () => running() || heard.sent > heard.turned;

function send() {
  clearTimeout(timer);
  const box = typing;
  typing = null;
  // What Ctrl+Enter does in a box of several lines: Streamlit sends its text.
  const press = { key: "Enter", code: "Enter", keyCode: 13, ctrlKey: true, bubbles: true, cancelable: true };
  if (box?.isConnected) box.dispatchEvent(new KeyboardEvent("keydown", press));
}

function later() {
  clearTimeout(timer);
  // A run that is going on is not cut short: on a slow machine a page would never come to its end.
  timer = setTimeout(() => (running() || composing ? later() : send()), PAUSE_MS);
}

function entered(event) {
  if (!event.target.closest?.('[data-testid="stMain"]')) return;
  heard.touched = performance.now();
  if (event.type === "focusout") {
    composing = false;
    // Streamlit sends by itself what is in a box that is left.
    if (event.target === typing) {
      clearTimeout(timer);
      typing = null;
    }
  } else if (event.type === "compositionstart") {
    composing = true;
  } else if (event.type === "input" || event.type === "compositionend") {
    // No input follows the end of a composition: what was composed would wait for the next key.
    composing = event.type === "input" && Boolean(event.isComposing);
    if (event.target.tagName !== "TEXTAREA") return;
    typing = event.target;
    later();
  }
}

// The server answers seconds later while it loads the models: that Stop was pressed is said at once.
function acknowledge(event) {
  const words = event.target.closest?.('[class*="st-key-stop-"] button')?.querySelector("p");
  if (words) words.textContent = "Stopping";
}

// Whether nothing that was entered can be lost by leaving. While somebody waits to leave, it is not: whoever came by
// then would be overtaken by the one who waits.
function settled(now) {
  if (typing || going !== null) return false;
  return now - heard.touched > QUIET_MS && (heard.touched < heard.quiet || !pending());
}

function leave(event) {
  const link = event.target.closest?.(LINKS);
  if (!link || link === followed) return;
  clearInterval(arriving);
  if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const now = performance.now();
  if (settled(now)) return;
  event.preventDefault();
  event.stopPropagation();
  depart(link, now);
}

// Back and Forward leave the pen in the box, so nothing of it was sent. The address is that of the other page by now.
function step(event) {
  if (event === followed) return;
  clearInterval(arriving);
  if (event.isTrusted && withoutItsCase()) {
    event.stopImmediatePropagation();
    return history.back();
  }
  putDown();
  const now = performance.now();
  if (settled(now)) return arrive(location.href, STEPS_ANEW);
  event.stopImmediatePropagation();
  depart(BACK, now);
}

// A busy server keeps one request, the last: a run of the old page that is asked for beside the step takes its place,
// and the old page stays. Whoever has done nothing else since is taken there after all.
function arrive(href, left) {
  const begun = performance.now();
  let busy = begun;
  clearInterval(arriving);
  arriving = setInterval(() => {
    const now = performance.now();
    if (pending()) busy = now;
    const elsewhere = heard.touched > begun;
    if (!elsewhere && now - busy < CALM_MS) return;
    clearInterval(arriving);
    if (elsewhere || shown(href)) return;
    if (location.href !== href) history.replaceState(history.state, "", href);
    stepAnew();
    if (left > 1) arrive(href, left - 1);
  }, POLL_MS);
}

function shown(href) {
  const link = document.querySelector(`${LINKS}[aria-current="page"]`);
  const path = (address) => new URL(address).pathname;
  return path(location.href) === path(href) && (!link || path(link.href) === path(href));
}

// Who left the first page before anything listened here has two entries of the next one: without its case, and with.
function withoutItsCase() {
  const link = document.querySelector(`${LINKS}[aria-current="page"]`);
  return !location.search && link && new URL(link.href).pathname === location.pathname;
}

function stepAnew() {
  followed = new PopStateEvent("popstate", { state: history.state });
  window.dispatchEvent(followed);
  followed = null;
}

// Streamlit sends a box of one line when it is left.
function putDown() {
  send();
  const box = document.activeElement;
  if (box?.matches("input, textarea") && box.closest('[data-testid="stMain"]')) box.blur();
}

function depart(to, now) {
  send();
  if (going === null) wait(now);
  going = to;
}

function wait(begun) {
  document.documentElement.style.cursor = "progress";
  let busy = begun;
  const look = setInterval(() => {
    const now = performance.now();
    if (pending()) busy = now;
    if (now - busy < QUIET_MS && now - begun < LONGEST_MS) return;
    clearInterval(look);
    document.documentElement.style.cursor = "";
    go(going);
  }, POLL_MS);
}

function go(to) {
  going = null;
  if (to === BACK) {
    stepAnew();
    arrive(location.href, STEPS_ANEW);
  } else {
    // A run may have drawn the links anew meanwhile: the click is for whichever leads to the same page.
    followed = to.isConnected ? to : [...document.querySelectorAll(LINKS)].find((link) => link.href === to.href);
    followed?.click();
  }
  followed = null;
}

// A link leads to a page without a case, and the page then writes its case into the address: two steps for Back, of
// which the first seemed to do nothing. Only a case in place of none is no step of its own.
function oneEntryAPage() {
  const push = history.pushState;
  const replace = history.replaceState;
  history.pushState = function (state, unused, url) {
    // After a step back the page that is still shown would write its own address over that of the other.
    if (going === BACK) return;
    const to = url === undefined || url === null ? null : new URL(url, location.href);
    const completes = to && to.pathname === location.pathname && !location.search && to.search;
    (completes ? replace : push).call(history, state, unused, url);
  };
  history.replaceState = function (...entry) {
    if (going !== BACK) replace.apply(history, entry);
  };
}

function listen() {
  const turn = () => {
    heard.turned = performance.now();
    if (!running()) heard.quiet = heard.turned;
  };
  new MutationObserver(turn).observe(app(), { attributes: true, attributeFilter: ["data-test-script-state"] });
  const plain = WebSocket.prototype.send;
  WebSocket.prototype.send = function (...message) {
    heard.sent = performance.now();
    return plain.apply(this, message);
  };
  for (const type of ["input", "change", "click", "focusout", "compositionstart", "compositionend"])
    document.addEventListener(type, entered, true);
  document.addEventListener("click", leave, true);
  document.addEventListener("click", acknowledge, true);
  window.addEventListener("popstate", step, true);
  // Closed, reloaded, or another site: the last words go out before the browser lets go of the page.
  window.addEventListener("beforeunload", putDown);
  document.addEventListener("visibilitychange", () => document.hidden && typing && !composing && send());
  oneEntryAPage();
}

// A page that outlived its server goes on in a new session, with what stands in the boxes and without what was pressed.
function renewed(now) {
  const other = session !== null && now && now !== session;
  session = now ?? session;
  if (!other) return;
  const told = document.createElement("div");
  told.className = "hn-renewed";
  told.setAttribute("role", "status");
  told.textContent =
    "The program was restarted. What you typed is kept; what you pressed last was not taken: press it again.";
  told.addEventListener("click", () => told.remove());
  document.querySelector(".hn-renewed")?.remove();
  document.body.append(told);
  setTimeout(() => told.remove(), RENEWED_MS);
}

export default function ({ data } = {}) {
  renewed(data?.session);
  if (installed || !app()) return;
  installed = true;
  listen();
}
