// What the page asks the server, and what the server says when it refuses.

/** A refusal, with the server's own words. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? `the server answered ${status}`);
    this.status = status;
    this.problem = problem ?? {};
  }
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused(0, { detail: 'the server cannot be reached' });
  }
  if (!answer.ok) throw new Refused(answer.status, await answer.json().catch(() => undefined));
  return answer;
}

const json = async (path) => (await ask(path)).json();

export const status = () => json('/api/v1/status');
export const sent = (limit) => json(`/api/v1/messages/sent?limit=${limit}`);
export const vehicle = (vin) => json(`/api/v1/vehicles/${vin}`);

/** A page of vehicles behind a VIN. */
export const vehicles = (after) => json(`/api/v1/vehicles${after ? `?after=${after}` : ''}`);

/** What became of a message for a vehicle, as text: its content is to keep every byte. */
export const trace = async (id) => (await ask(`/api/v1/messages/${encodeURIComponent(id)}`)).text();

/** The page with one message from a vehicle, as text. */
export const received = async (cursor) =>
  (await ask(`/api/v1/messages?after=${position(cursor) - 1n}&limit=1`)).text();

/** Where in the log a cursor is: what stands in front of its stamp. */
export const position = (cursor) => BigInt(cursor.split('-')[0]);

/** Sends an envelope; what is asked for with it may be empty. */
export const send = (vin, envelope, asked) => post(`/api/v1/vehicles/${encodeURIComponent(vin)}/messages`, envelope, asked);

const FLEETS = '/api/v1/fleet/messages';
const fleetAt = (id) => `${FLEETS}/${encodeURIComponent(id)}`;

/** Sends an envelope to many vehicles: `{"vins":…}` or `{"filter":…}`. */
export const sendToMany = (envelope, recipients, asked) =>
  post(FLEETS, `{"message":${envelope},${JSON.stringify(recipients).slice(1)}`, asked);

/** The newest fleet messages. */
export const fleets = (limit) => json(`${FLEETS}?limit=${limit}`);

/** One of them, as text: its message is to keep every byte. */
export const fleet = async (id) => (await ask(fleetAt(id))).text();

/** A page of its vehicles behind a VIN. */
export const fleetVehicles = (id, after) => json(`${fleetAt(id)}/vehicles${after ? `?after=${after}` : ''}`);

/** Has it pause, resume or cancel. */
export const changeFleet = async (id, verb) => (await ask(`${fleetAt(id)}/${verb}`, { method: 'POST' })).json();

async function post(path, body, asked) {
  const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value));
  const headers = { 'content-type': 'application/json' };
  return (await ask(`${path}?${query}`, { method: 'POST', headers, body })).json();
}

const SESSION = '/api/v1/console/session';

export const signIn = (link) => ask(SESSION, { method: 'POST', body: JSON.stringify({ link }) });
export const signOut = () => ask(SESSION, { method: 'DELETE' });
