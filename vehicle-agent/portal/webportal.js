// `WebPortal`, in the window of every app before its own scripts run.
//
// The portal hands pending messages to this window as they are kept, so that the app gets them at
// once; it is told which were taken, and until then the agent keeps them. They are in the frame's
// name when a document begins, as nothing else is there in time.

(() => {
  'use strict';
  const portal = window.parent;
  if (portal === window) return;

  /** Key to message, oldest first. */
  const pending = new Map();
  let own;

  const read = () => {
    let named = {};
    try {
      named = JSON.parse(window.name) ?? {};
    } catch {
      // The app named its window, or nobody did.
      return;
    }
    if (!Array.isArray(named.messages)) return;
    own = named.appId;
    named.messages.forEach(([key, message]) => pending.set(key, message));
    window.name = '';
  };
  read();

  const tell = (type, keys) => portal.postMessage({ type, keys }, '*');

  const take = () => {
    const keys = [...pending.keys()];
    const messages = [...pending.values()];
    pending.clear();
    if (keys.length > 0) tell('vinbus.taken', keys);
    return messages;
  };

  // Before any listener of the app.
  window.addEventListener('message', (event) => {
    if (event.source !== portal || typeof event.data !== 'object' || event.data === null) return;
    const { type, key, keys, messages, appId } = event.data;
    if (type === 'WebPortal.onCurrentNotificationReceived' && key !== undefined) {
      tell('vinbus.taken', [key]);
      return;
    }
    if (typeof type !== 'string' || !type.startsWith('vinbus.')) return;
    event.stopImmediatePropagation();
    if (type === 'vinbus.app') own = appId;
    if (type === 'vinbus.keep') messages.forEach(([kept, message]) => pending.set(kept, message));
    if (type === 'vinbus.forget') keys.forEach((gone) => pending.delete(gone));
  }, true);

  window.addEventListener('load', () => tell('vinbus.complete'));
  window.addEventListener('pagehide', () => {
    tell('vinbus.leaving');
    // For the document that follows in this frame.
    window.name = JSON.stringify({ appId: own, messages: [...pending] });
  });
  // A document that is shown again was left before.
  window.addEventListener('pageshow', ({ persisted }) => {
    if (!persisted) return;
    window.name = '';
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
