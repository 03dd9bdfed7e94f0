// The same program as bus_client.py, in JavaScript: MQTT 5 over WebSocket, with the npm package `mqtt`.
//
//     PLATFORM       the platform's address   (http://localhost:8080)
//     CLIENT_SECRET  the client's secret, as the platform has shown it when the client was made
//
// Install what it imports with `npm ci` in this folder.

import mqtt from 'mqtt';

const appId = 'myapp';
const clientId = 'my-app-client';
const platform = process.env.PLATFORM ?? 'http://localhost:8080';

async function accessToken() {
  const response = await fetch(`${platform}/api/platform/token/access_token`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ appId, clientId, clientSecret: process.env.CLIENT_SECRET }),
  });
  const answer = await response.json();
  if (!response.ok) {
    throw new Error(`no token: ${answer.statusCode} ${answer.message}`);
  }
  return answer.access_token;
}

const client = await mqtt.connectAsync(`${platform.replace(/^http/, 'ws')}/mqtt`, {
  protocolVersion: 5,
  username: await accessToken(),
  password: 'sermas', // any text will do
});

client.on('message', (topic, payload) => {
  console.log(`Received message ${topic} ${payload}`);
});

// The topic has no scope: the host server takes it with `--bus-topics lenient`.
await client.subscribeAsync(`app/${appId}/performance`, { qos: 1, nl: true });

const message = { appId, clientId, randomInfo: 'All is OK' };
await client.publishAsync(`app/${appId}/ui/status`, JSON.stringify(message), { qos: 1 });

console.log('Listening; the end of the input ends it.');
for await (const _ of process.stdin);
await client.endAsync();
