"""The application that every script here uses: where its tasks go comes from the environment.

BROKER, BACKEND: URLs.  QUEUE: the queue of the worker under test.  PYTHON_QUEUE: that of a Celery worker.
NODE: the name of the node under test.  NOTES: a file for what Python tasks heard.  SETTINGS: more settings, as JSON.
"""

import json
import math
import os
import sys
import time

from celery import Celery, chord, group  # noqa: F401 - the scripts take them from here
from kombu import Exchange, Queue  # noqa: F401

QUEUE, PYTHON_QUEUE = os.environ["QUEUE"], os.environ["PYTHON_QUEUE"]
NODE, NOTES = os.environ["NODE"], os.environ["NOTES"]
# Far longer than anything takes on a machine that is not at its knees.
SOON = 60



def make(**settings):
    """An application of its own, as in another process."""
    made = Celery("tests", broker=os.environ["BROKER"], backend=os.environ["BACKEND"], set_as_current=False)
    ours, pythons = {"queue": QUEUE}, {"queue": PYTHON_QUEUE}
    made.conf.task_routes = {"switchboard.*": ours, "garage.*": ours, "python.*": pythons}
    made.conf.accept_content = ["json", "msgpack"]
    made.conf.task_default_queue = PYTHON_QUEUE
    made.conf.update(json.loads(os.environ.get("SETTINGS", "{}")) | settings)
    return made


app = make()
app.set_current()


@app.task(name="python.add")
def add(x, y):
    return x + y


@app.task(name="python.device")
def device(name):
    return name


@app.task(name="python.fail")
def fail(*_):
    raise ValueError("on purpose")


@app.task(name="python.wrap")
def wrap(answer):
    return {"wrapped": answer}


@app.task(name="python.count")
def count(answers):
    return len(answers)


@app.task(name="python.note")
def note(heard, label):
    """Writes down what it was given: nobody can read the result of a callback over rpc."""
    with open(NOTES, "a", encoding="utf-8") as file:
        file.write(json.dumps([label, heard]) + "\n")


def noted(label):
    """Waits for a note, and returns what was heard."""

    def look():
        if os.path.exists(NOTES):
            with open(NOTES, encoding="utf-8") as file:
                found = [heard for name, heard in map(json.loads, file.read().splitlines()) if name == label]
            return found or None
        return None

    return until(f"the note {label}", look)


def until(what, look):
    """Waits until something is found, and returns it."""
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    raise SystemExit(f"waited {SOON} s in vain: {what}")


def request(device, command="open", payload=None, **kwargs):
    """A command to one device, as a signature."""
    return app.signature("switchboard.request", args=(device, command, payload), kwargs=kwargs)


def send(name, *args, _options=None, **kwargs):
    return app.send_task(name, args, kwargs, **(_options or {}))


def plain(value):
    """A value that JSON can say: what it cannot is shown as Python shows it."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value) or isinstance(value, int) and abs(value) >= 2**63:
        return repr(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def end(result, timeout=SOON):
    """How a task ended: its value, or what `.get()` raised."""
    try:
        return {"value": plain(result.get(timeout=timeout))}
    except Exception as error:
        kind = type(error)
        return {"raised": f"{kind.__module__}.{kind.__qualname__}", "args": plain(error.args)}


def say(name, found):
    """One finding, for the test."""
    print(json.dumps({"name": name, "found": plain(found)}), flush=True)


def ends(**results):
    """The end of each task, under its name."""
    for name, result in results.items():
        say(name, end(result))


def count_in(queue):
    """How many messages wait in a queue; none where there is none."""
    with app.connection_for_read() as connection:
        try:
            return connection.default_channel.queue_declare(queue, passive=True).message_count
        except connection.channel_errors:
            return None


def main(scenes):
    """Runs the scene that the command line names, if this script is what was started."""
    if scenes["__name__"] == "__main__":
        scenes[sys.argv[1]]()
