// The console: signs in, and then puts its parts together.

import { Detail } from './detail.js';
import { Health } from './health.js';
import { Live } from './live.js';
import { Messages } from './messages.js';
import { SendForm } from './send.js';
import * as server from './server.js';
import { byId, setText } from './texts.js';
import { Vehicles } from './vehicles.js';

const MARK = '#sign-in=';

/** The secret of a sign-in link; it leaves the address at once. */
function takeLink() {
  const { hash } = location;
  if (!hash.startsWith(MARK)) return '';
  history.replaceState(null, '', '/');
  return hash.slice(MARK.length);
}

/** Signs in; says why not, if not. */
async function enter(link) {
  try {
    await server.signIn(link);
    return '';
  } catch (error) {
    return error.message;
  }
}

async function begin() {
  const link = takeLink();
  const refusal = link ? await enter(link) : '';
  try {
    await server.status();
    open(refusal);
  } catch (error) {
    door(refusal || (error.status === 401 ? '' : error.message));
  }
}

/** The way in. */
function door(refusal) {
  byId('console').hidden = true;
  for (const id of ['show-figures', 'sign-out']) byId(id).hidden = true;
  byId('door').hidden = false;
  byId('refusal').hidden = !refusal;
  setText(byId('refusal'), refusal);
  setLink('out', 'signed out');
  byId('link-text').focus();
}

function setLink(state, text) {
  const link = byId('link');
  link.dataset.state = state;
  setText(link, text);
}

/** Everything behind the door; built once for each page that is loaded. */
function open(refusal) {
  byId('door').hidden = true;
  byId('console').hidden = false;
  for (const id of ['show-figures', 'sign-out']) byId(id).hidden = false;

  const health = new Health();
  const detail = new Detail({
    closed: (item) => {
      const list = item.way ? messages.list : vehicles.list;
      list.mark(undefined);
      list.node.focus();
    },
    sendAgain: (message, envelope) => form.again(message, envelope),
  });
  const messages = new Messages((message) => {
    vehicles.list.mark(undefined);
    detail.message(message);
  });
  const vehicles = new Vehicles((vehicle) => {
    messages.list.mark(undefined);
    messages.only(vehicle.vin);
    form.to(vehicle.vin);
    detail.vehicle(vehicle);
  });
  let awaited;
  const form = new SendForm((id) => {
    awaited = id;
    follow();
  });
  /** Shows the message that was just sent, as soon as the stream has told of it. */
  const follow = () => {
    const message = awaited && messages.byKey.get(awaited);
    if (!message) return;
    awaited = undefined;
    vehicles.list.mark(undefined);
    messages.list.mark(message.key);
    detail.message(message);
  };
  const live = new Live({
    link: (state, text) => setLink(state, state === 'live' ? 'live' : text),
    status: (status) => {
      form.allow(status);
      health.show(status);
      vehicles.tick(status.vehicles);
    },
    messages: (added) => {
      messages.add(added);
      follow();
    },
    steps: (steps) => {
      for (const step of steps) {
        const message = messages.step(step);
        if (message) detail.stepped(message);
      }
      messages.redraw();
    },
    vehicle: (vehicle) => vehicles.update(vehicle),
    vehicles: () => vehicles.load(),
    dropped: (count) => {
      messages.dropped += count;
    },
    notice,
    signedOut: (reason) => leave(reason),
  });
  const leave = (reason) => {
    live.stop();
    leaving = reason;
    door(reason);
  };
  byId('sign-out').addEventListener('click', async () => {
    try {
      await server.signOut();
      // Nothing of what was shown stays.
      location.replace('/');
    } catch (error) {
      notice(error.message);
    }
  });
  if (refusal) notice(refusal);
  live.start();
}

/** Why the console was left, if it was: the next one begins with a page of its own. */
let leaving;

function notice(text) {
  byId('notice').hidden = !text;
  setText(byId('notice'), text);
}

byId('sign-in').addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = byId('link-text').value.trim();
  const refusal = await enter(text.includes(MARK) ? text.split(MARK)[1] : text);
  byId('link-text').value = '';
  if (refusal) door(refusal);
  else if (leaving === undefined) open('');
  else location.replace('/');
});
// A link that is opened in this tab changes only what stands behind the address.
addEventListener('hashchange', () => location.hash.startsWith(MARK) && location.reload());
begin();
