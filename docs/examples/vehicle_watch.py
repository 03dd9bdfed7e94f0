"""Prints which vehicles come online and go offline, as a vinbus host server tells it on the bus.

What it needs to know comes from the environment:

    TOKEN      a token of a client of `myapp` with the permission `vehicle.presence`
    PLATFORM   the server's address   (http://localhost:8080)

Install what it imports with `pip install paho-mqtt`. It ends with its token: the server ends the session, and
refuses it when it connects again. A program that is to run for longer gets a new one, as bus_client.py gets its
first.
"""

import json
import os
import sys
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt

platform = urlsplit(os.getenv('PLATFORM', 'http://localhost:8080'))
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, transport='websockets')
client.username_pw_set(username=os.environ['TOKEN'], password='any')
if platform.scheme == 'https':
    client.tls_set()


def on_connect(client, userdata, flags, reason, properties):
    if reason.is_failure:
        sys.exit(f'refused: {reason}')
    client.subscribe('app/myapp/vehicle/presence/+', qos=1)


def on_subscribe(client, userdata, mid, reasons, properties):
    if any(reason.is_failure for reason in reasons):
        sys.exit('refused: the client lacks the permission `vehicle.presence`')
    print('listening', flush=True)


def on_message(client, userdata, message):
    event = json.loads(message.payload)
    print(f"{event['vin']} is {event['presence']}", flush=True)


client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.connect(platform.hostname, platform.port or (443 if platform.scheme == 'https' else 80))
client.loop_forever()
