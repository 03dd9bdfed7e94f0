// `WebPortal`, in the window of every app before its own scripts run.
//
// The portal hands pending messages to this window as they are kept, so that the app gets them at
// once; it is told which were taken, and until then the agent keeps them. When the portal opens the
// first document they are in the frame's name, as nothing else is there in time; a document leaves them
// to the next one in the app's own storage. Another app can bring its frame to a page of this one and
// leave a name there, so a name counts only where the portal itself has opened the document.
//
// What the app has taken is noted in its storage first: a document that goes may not be heard any
// more, and whoever hands the message out again is told then.

(() => {
  'use strict';
  const portal = window.parent;
  // Frames within an app have no portal.
  if (portal === window || portal !== window.top) return;

  /** Keys of taken messages that are remembered: more than can be on their way. */
  const TAKEN_MAX = 128;
  const TAKEN = '.vinbus.taken';
  const LEFT = '.vinbus.left';

  /** Key to message, oldest first. */
  const pending = new Map();
  let taken = new Set();
  let own;

  const tell = (type, keys) => portal.postMessage({ type, keys }, '*');

  const noteTaken = (keys) => {
    taken = new Set([...taken, ...keys].slice(-TAKEN_MAX));
    try {
      localStorage.setItem(TAKEN, JSON.stringify([...taken]));
    } catch {
      // The app filled its storage; then this document alone remembers.
    }
  };

  const keep = (messages) => {
    const again = messages.filter(([key]) => taken.has(key));
    if (again.length > 0) tell('vinbus.taken', again.map(([key]) => key));
    messages.filter(([key]) => !taken.has(key)).forEach(([key, message]) => pending.set(key, message));
  };

  const take = () => {
    const keys = [...pending.keys()];
    const messages = [...pending.values()];
    pending.clear();
    if (keys.length > 0) {
      noteTaken(keys);
      tell('vinbus.taken', keys);
    }
    return messages;
  };

  const parsed = (read) => {
    try {
      return JSON.parse(read()) ?? undefined;
    } catch {
      // The app wrote it, or nobody did, or the browser has no storage for frames.
      return undefined;
    }
  };

  const [navigation] = performance.getEntriesByType('navigation');
  /** Whether the portal has opened this document: no page did, nor the history, nor a reload. */
  const isFirst =
    navigation?.type === 'navigate' && document.referrer === `${location.ancestorOrigins?.[0]}/`;

  const leave = (text) => {
    try {
      sessionStorage.removeItem(LEFT);
      if (text) sessionStorage.setItem(LEFT, text);
    } catch {
      // No room: the portal hands them out anew.
    }
  };

  const noted = parsed(() => localStorage.getItem(TAKEN));
  if (Array.isArray(noted)) taken = new Set(noted);
  const handed = parsed(() => (isFirst ? window.name : sessionStorage.getItem(LEFT)));
  if (isFirst) window.name = '';
  leave('');
  if (Array.isArray(handed?.messages)) {
    own = handed.appId;
    keep(handed.messages);
  }

  // Before any listener of the app.
  window.addEventListener('message', (event) => {
    if (event.source !== portal || typeof event.data !== 'object' || event.data === null) return;
    const { type, key, keys, messages, appId } = event.data;
    if (key !== undefined) {
      // Posted to the document before, or to this one again; one that is not taken comes once more.
      if (document.readyState !== 'complete' || taken.has(key)) event.stopImmediatePropagation();
      else if (type === 'WebPortal.onCurrentNotificationReceived') noteTaken([key]);
      if (taken.has(key)) tell('vinbus.taken', [key]);
      return;
    }
    if (typeof type !== 'string' || !type.startsWith('vinbus.')) return;
    event.stopImmediatePropagation();
    if (type === 'vinbus.app') own = appId;
    if (type === 'vinbus.keep') keep(messages);
    if (type === 'vinbus.forget') keys.forEach((gone) => pending.delete(gone));
  }, true);

  window.addEventListener('load', () => tell('vinbus.complete'));
  window.addEventListener('pagehide', () => {
    if (pending.size > 0) leave(JSON.stringify({ appId: own, messages: [...pending] }));
  });
  // A document that is shown again was left before.
  window.addEventListener('pageshow', ({ persisted }) => {
    if (!persisted) return;
    leave('');
    tell('vinbus.reading', [...pending.keys()]);
    tell('vinbus.complete');
  });
  tell('vinbus.reading', [...pending.keys()]);

  /** The app's pending messages, oldest first; they are handed out once. */
  const getPendingNotifications = (appId) => {
    const isOwn = appId === undefined || own === undefined || String(appId) === own;
    return isOwn ? take() : [];
  };
  window.WebPortal = Object.defineProperty({}, 'getPendingNotifications', {
    enumerable: true,
    get: () => getPendingNotifications,
    // The documentation's example, run as it is written, assigns an empty one first.
    set: () => {},
  });
})();
