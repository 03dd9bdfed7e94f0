// The portal's screen: launcher, the app in front, popups, and the state of the link.
//
// The agent decides which app is shown, when a popup opens and when it closes; here is the driver's
// hand and eye (the screen of SPEC 8.10). `app.js` is one app, `line.js` a socket.

import { App } from './app.js';
import { Line } from './line.js';

const NOTICE_MS = 8000;
const ASK_AGAIN_MS = 1000;
const SESSION = 'vinbus.portal';

const at = (id) => document.getElementById(id);
const text = (element, words) => { element.textContent = words; };

/** App identifier to what is installed: `{ appId, title, url }`. */
const installed = new Map();
/** App identifier to the running {@link App}, in the order in which they were last shown. */
const running = new Map();
/** The app in front, or `undefined` for the launcher. */
let front;
let popup;
let noticeTimer;
let askTimer;

const screen = new Line('screen', () => ({ role: 'screen' }), {
  welcome: ({ vin, link }) => {
    document.title = `Portal of ${vin}`;
    showLink(link);
    closePopup();
    loadApps();
  },
  frame: fromAgent,
  down: () => {
    showLink();
    closePopup();
  },
  ended: (reason, message) => {
    showLink();
    closePopup();
    const why = reason === 'taken-over' ? 'The portal is open in another window' : message;
    notice(`${why}. Reload this page to have it here.`, false);
  },
});

async function loadApps() {
  clearTimeout(askTimer);
  try {
    const answer = await fetch('apps');
    const apps = await answer.json();
    installed.clear();
    apps.forEach(({ appId, title, host, url }) => {
      const port = location.port && `:${location.port}`;
      installed.set(appId, { appId, title, url: url ?? `http://${host}${port}/` });
    });
  } catch {
    clearTimeout(askTimer);
    askTimer = setTimeout(loadApps, ASK_AGAIN_MS);
    return;
  }
  restore();
  render();
}

// What the agent says.

function fromAgent({ type, value }) {
  switch (type) {
    case 'WebPortal.onApplicationShow':
      return bringToFront(value.appId);
    case 'WebPortal.onApplicationHide':
      return front === value.appId ? bringToFront(undefined) : undefined;
    case 'WebPortal.onPopupShow':
      return openPopup(value);
    case 'WebPortal.onPopupClose':
      return closePopup();
    case 'WebPortal.MQTT.evt.status':
      return showLink(value);
    default:
      return undefined;
  }
}

function say(type, value) {
  return screen.send(JSON.stringify({ type, value }));
}

// What the driver does.

function open(appId) {
  if (running.has(appId)) {
    say('WebPortal.onApplicationShow', { appId });
  } else {
    start(appId, false);
  }
  bringToFront(appId);
}

function start(appId, inBackground) {
  const app = new App(installed.get(appId), inBackground, {
    frame: (frame) => {
      at('stage').append(frame);
      render();
    },
    ended: (reason, message) => {
      running.delete(appId);
      bringToFront(front === appId ? undefined : front);
      if (reason !== 'closed') notice(`${name(appId)}: ${message}`, true);
    },
  });
  running.set(appId, app);
}

function goHome() {
  if (front) say('WebPortal.onApplicationHide', { appId: front });
  bringToFront(undefined);
}

/** To the app that was shown before, or home. */
function goBack() {
  const before = [...running.keys()].filter((appId) => appId !== front).at(-1);
  if (front && before) open(before);
  else goHome();
}

function bringToFront(appId) {
  if (appId && !running.has(appId)) return;
  front = appId;
  const app = running.get(appId);
  if (app) {
    running.delete(appId);
    running.set(appId, app);
  }
  running.forEach((other) => { other.inBackground = other !== app; });
  remember();
  render();
}

// Over a reload of this page, the same apps run.

function remember() {
  const state = { apps: [...running.keys()], front };
  sessionStorage.setItem(SESSION, JSON.stringify(state));
}

let restored = false;
function restore() {
  if (restored) return;
  restored = true;
  let state;
  try {
    state = JSON.parse(sessionStorage.getItem(SESSION));
  } catch {
    return;
  }
  const apps = (state?.apps ?? []).filter((appId) => installed.has(appId));
  apps.forEach((appId) => start(appId, appId !== state.front));
  bringToFront(state?.front);
}

// What is to be seen.

function name(appId) {
  return installed.get(appId)?.title ?? appId;
}

function render() {
  const app = running.get(front);
  at('launcher').hidden = Boolean(app);
  at('stage').hidden = !app;
  running.forEach((other) => {
    if (other.frame) other.frame.hidden = other !== app;
  });
  text(at('title'), app ? name(front) : 'Apps');
  at('home').disabled = at('back').disabled = !app;
  if (!app) renderLauncher();
}

function renderLauncher() {
  const tiles = [...installed.values()].map(tile);
  if (tiles.length === 0) {
    const empty = document.createElement('p');
    empty.className = 'empty';
    text(empty, 'No app with pages is installed: give the agent --app-pages IDAPP=DIR, a board --app-url IDAPP=URL');
    tiles.push(empty);
  }
  at('launcher').replaceChildren(...tiles);
}

function tile({ appId, title }) {
  const element = document.createElement('div');
  element.className = 'tile';
  element.dataset.app = appId;
  const button = child(element, 'button', 'open', () => open(appId));
  const letter = child(button, 'span', 'letter');
  letter.setAttribute('aria-hidden', 'true');
  text(letter, [...title][0]?.toUpperCase() ?? '?');
  const hue = [...appId].reduce((sum, c) => (sum * 31 + c.codePointAt(0)) % 360, 7);
  letter.style.setProperty('--hue', hue);
  text(child(button, 'span', 'name'), title);
  if (running.has(appId)) {
    element.dataset.running = '';
    const close = child(element, 'button', 'close', () => {
      say('WebPortal.onApplicationUnloaded', { appId });
    });
    close.setAttribute('aria-label', `Close ${title}`);
    text(close, '✕');
  }
  return element;
}

function child(parent, tag, className, onclick) {
  const element = document.createElement(tag);
  element.className = className;
  if (onclick) element.onclick = onclick;
  parent.append(element);
  return element;
}

const LINKS = {
  connected: ['up', 'Online'],
  disconnected: ['waiting', 'No network'],
};

function showLink(state) {
  const [shown, words] = LINKS[state] ?? ['none', 'No agent'];
  at('link').dataset.state = shown;
  text(at('link').firstElementChild, words);
}

function notice(words, passes) {
  clearTimeout(noticeTimer);
  text(at('notice'), words);
  at('notice').hidden = false;
  if (passes) noticeTimer = setTimeout(() => { at('notice').hidden = true; }, NOTICE_MS);
}

// Popups.

function openPopup({ appId, popupText, popupBtn }) {
  popup = appId;
  text(at('popup-app'), name(appId));
  text(at('popup-text'), popupText);
  at('popup-ok').hidden = !popupBtn;
  // Without buttons there is nothing to refuse; the outcome is that of Cancel all the same (SPEC 3.4).
  text(at('popup-cancel'), popupBtn ? 'Cancel' : 'Close');
  at('popup-ok').disabled = at('popup-cancel').disabled = false;
  if (!at('popup').open) at('popup').showModal();
}

function closePopup() {
  popup = undefined;
  at('popup').close();
}

function answerPopup(type) {
  if (popup === undefined) return;
  // The agent closes it; a second answer could meet the next one.
  popup = undefined;
  at('popup-ok').disabled = at('popup-cancel').disabled = true;
  say(type);
}

// Day and night: as the system has it, until the driver says otherwise.

const night = matchMedia('(prefers-color-scheme: dark)');

function showTheme() {
  const theme = localStorage.getItem('vinbus.theme') ?? (night.matches ? 'night' : 'day');
  document.documentElement.dataset.theme = theme;
}

function changeTheme() {
  const theme = document.documentElement.dataset.theme === 'night' ? 'day' : 'night';
  localStorage.setItem('vinbus.theme', theme);
  showTheme();
}

function showTime() {
  const now = new Date();
  text(at('clock'), now.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hour12: false }));
  setTimeout(showTime, 60_000 - (now % 60_000));
}

at('home').onclick = goHome;
at('back').onclick = goBack;
at('theme').onclick = changeTheme;
at('popup-ok').onclick = () => answerPopup('WebPortal.okBtnPopupRequestClicked');
at('popup-cancel').onclick = () => answerPopup('WebPortal.cancelBtnPopupRequestClicked');
at('popup').oncancel = (event) => {
  event.preventDefault();
  answerPopup('WebPortal.cancelBtnPopupRequestClicked');
};
night.onchange = showTheme;
window.addEventListener('message', (event) => {
  const app = [...running.values()].find((candidate) => candidate.isFrom(event));
  app?.fromPage(event);
});

showTheme();
showTime();
render();
