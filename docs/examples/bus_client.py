"""The sample program of the SERMAS documentation, "MQTT Broker", against a vinbus host server.

It is that program, corrected only where it could not run at all: each place says CORRECTED and why.
What it needs to know comes from the environment:

    PLATFORM       the platform's address   (http://localhost:8080)
    CLIENT_SECRET  the client's secret, as the platform has shown it when the client was made
    ENV            `development`: plain TCP to MQTT_PORT (1883) instead of WebSocket

Install what it imports with `pip install --requirement requirements.txt`.
"""

import os
import json
import ssl
import sys
import urllib.error
import urllib.request
import uuid
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
import paho.mqtt.subscribeoptions

app_id = 'myapp'
client_id = 'my-app-client'
mqtt_client_id = str(uuid.uuid4())  # Random MQTT client ID

platform = os.getenv('PLATFORM', 'http://localhost:8080')

if os.getenv('ENV') == 'development':
    client = mqtt.Client(
        client_id=mqtt_client_id,
        callback_api_version=mqtt.CallbackAPIVersion.VERSION1
    )
else:
    client = mqtt.Client(
        client_id=mqtt_client_id,
        transport='websockets',
        callback_api_version=mqtt.CallbackAPIVersion.VERSION1
    )

# CORRECTED: TLS is for https only; `http://localhost:8080` answers no TLS handshake.
if platform.startswith('https:'):
    ssl_context = ssl.create_default_context()
    client.tls_set_context(ssl_context)


# CORRECTED: 'abc' stood in the place of a token. This is how the RESTful API gives one.
def access_token():
    request = urllib.request.Request(
        f'{platform}/api/platform/token/access_token',
        data=json.dumps({
            'appId': app_id,
            'clientId': client_id,
            'clientSecret': os.environ['CLIENT_SECRET'],
        }).encode(),
        headers={'Content-Type': 'application/json'},
    )
    try:
        with urllib.request.urlopen(request) as response:
            return json.load(response)['access_token']
    except urllib.error.HTTPError as error:
        answer = json.load(error)
        sys.exit(f"no token: {answer['statusCode']} {answer['message']}")


token = access_token()
client.username_pw_set(username=token, password='sermas')


# CORRECTED: paho calls it with the client, the user's data and the message, which is an object.
def on_message(client, userdata, msg):
    print(f'Received message {msg.topic} {msg.payload.decode()}', flush=True)


client.on_message = on_message

# CORRECTED: `connect` takes a host, not a URL, and `/mqtt` is where paho looks by itself. There is no
# `self`. In development it is plain TCP, which has a port of its own.
url = urlsplit(platform)
if os.getenv('ENV') == 'development':
    port = int(os.getenv('MQTT_PORT', '1883'))
else:
    port = url.port or (443 if url.scheme == 'https' else 80)
client.connect(url.hostname, port)
client.loop_start()  # Start message loop

# Subscribe to a topic
# The topic has no scope: the host server takes it with `--bus-topics lenient`.
subscribe_options = paho.mqtt.subscribeoptions.SubscribeOptions(qos=1, noLocal=True)
topic = 'performance'
# CORRECTED: the options are named `subscribe_options`.
client.subscribe(f'app/{app_id}/{topic}', options=subscribe_options)

# Send a message
message = {
    'appId': app_id,
    'clientId': client_id,
    'randomInfo': 'All is OK',
}
topic = 'ui/status'
# CORRECTED: paho publishes; it has no `send`.
client.publish(f'app/{app_id}/{topic}', json.dumps(message))

# CORRECTED: the program ended here, before its message loop had sent anything.
try:
    input('Listening; the end of the input ends it.\n')
except (EOFError, KeyboardInterrupt):
    pass
client.disconnect()
client.loop_stop()
