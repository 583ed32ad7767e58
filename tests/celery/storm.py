"""The captured malformed messages, as they were, interleaved with good tasks."""

import base64
import glob
import json
import os

import amqp
from app import QUEUE, SOON, app, main, request, say

GOOD = 1000
VECTORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vectors")


def message(vector):
    """The message, with the test's own reply queue where the captured one had any that existed."""
    properties = {name: value for name, value in vector["properties"].items() if value is not None}
    if str(properties.get("reply_to", "")).startswith("amq."):
        properties["reply_to"] = os.environ["REPLY_TO"]
    if vector["headers"] is not None:
        properties["application_headers"] = vector["headers"]
    return amqp.Message(base64.b64decode(vector["body_base64"]), **properties)


def storm():
    vectors = []
    for path in sorted(glob.glob(os.path.join(VECTORS, "bad-*.json"))):
        with open(path, encoding="utf-8") as file:
            vectors.append(json.load(file))
    good = []
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        for n in range(GOOD):
            good.append(request(f"good-{n % 50}", "open", n).delay())
            if n * len(vectors) // GOOD != (n + 1) * len(vectors) // GOOD:
                vector = vectors[n * len(vectors) // GOOD]
                channel.basic_publish(message(vector), exchange="", routing_key=QUEUE)
    say("good", sum(result.get(timeout=SOON)["echo"] == n for n, result in enumerate(good)))
    say("malformed", len(vectors))


main(globals())
