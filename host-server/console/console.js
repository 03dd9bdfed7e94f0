// The console: signs in, and then puts its parts together.

import { Detail } from './detail.js';
import { FleetDetail } from './fleet-detail.js';
import { Fleets } from './fleets.js';
import { Health } from './health.js';
import { Live, traced } from './live.js';
import { Messages } from './messages.js';
import { SendForm } from './send.js';
import * as server from './server.js';
import { Tabs } from './tabs.js';
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
      const list = item.way ? messages.list : item.counts ? fleets.list : vehicles.list;
      mark();
      if (list.node.offsetParent) list.node.focus();
    },
    sendAgain: (message, envelope) => form.again(message, envelope),
    vehicle: (vin) => vehicles.all.get(vin),
    openFleet: (id) => openFleet(id),
  });
  /** Marks an item in its list, and none in the others. */
  const mark = (of, key) => {
    for (const list of [messages.list, vehicles.list, fleets.list]) list.mark(list === of ? key : undefined);
  };
  const messages = new Messages((message) => {
    mark(messages.list, message.key);
    detail.message(message);
  });
  const vehicles = new Vehicles((vehicle) => {
    mark(vehicles.list, vehicle.vin);
    messages.only(vehicle.vin);
    form.to(vehicle.vin);
    detail.vehicle(vehicle);
  });
  const fleets = new Fleets((fleet) => {
    mark(fleets.list, fleet.id);
    fleetDetail.open(fleet);
  });
  const fleetDetail = new FleetDetail(detail, {
    openMessage: (id) => openMessage(id),
    changed: (fleet) => fleets.update(fleet),
    sendAgain: (fleet, envelope) => form.again(fleet, envelope),
  });
  /** Shows a message of which only the id is known. */
  const openMessage = async (id) => {
    try {
      const message = messages.byKey.get(id) ?? traced(await server.trace(id));
      mark(messages.list, id);
      detail.message(message);
    } catch (error) {
      notice(error.message);
    }
  };
  const openFleet = async (id) => {
    try {
      const fleet = fleets.byKey.get(id) ?? JSON.parse(await server.fleet(id));
      tabs.choose('fleets-tab');
      mark(fleets.list, id);
      await fleetDetail.open(fleet);
    } catch (error) {
      notice(error.message);
    }
  };
  const tabs = new Tabs('tabs');
  byId('new-fleet').addEventListener('click', () => form.toMany());
  let awaited;
  const form = new SendForm({
    sent: (id) => {
      awaited = id;
      follow();
    },
    sentToMany: (fleet) => {
      fleets.update(fleet);
      openFleet(fleet.id);
    },
    vehicles: (all) => (all ? [...vehicles.all.values()] : vehicles.shown),
  });
  /** Shows the message that was just sent, as soon as the stream has told of it. */
  const follow = () => {
    const message = awaited && messages.byKey.get(awaited);
    if (!message) return;
    awaited = undefined;
    tabs.choose('messages-tab');
    mark(messages.list, message.key);
    detail.message(message);
  };
  const live = new Live({
    link: (state, text) => setLink(state, state === 'live' ? 'live' : text),
    status: (status) => {
      form.allow(status);
      health.show(status);
      vehicles.tick(status.vehicles);
      form.recipients.show();
    },
    messages: (added) => {
      messages.add(added);
      follow();
    },
    steps: (steps) => {
      for (const step of steps) {
        const message = messages.step(step) ?? detail.noted(step);
        if (message) detail.stepped(message);
        fleetDetail.stepped(step);
      }
      messages.redraw();
    },
    vehicle: (vehicle) => {
      vehicles.update(vehicle);
      detail.came(vehicle);
    },
    vehicles: () => vehicles.load(),
    fleet: (fleet) => {
      fleets.update(fleet);
      fleetDetail.told(fleet);
    },
    fleets: () => fleets.load(),
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
