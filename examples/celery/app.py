"""The application's Celery: where commands to devices go, and what beat does."""

import os

import switchboard.exceptions  # noqa: F401 - imported, its classes are what .get() raises
from celery import Celery

app = Celery(
    "garage",
    broker=os.environ.get("CELERY_BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//"),
    # Or "redis://…": then set celery.result_backend of the worker to the same.
    backend=os.environ.get("CELERY_RESULT_BACKEND", "rpc://"),
    include=["tasks"],
)

app.conf.task_routes = {
    # The tasks that Switchboard has, and one of our own that its configuration maps onto a command (switchboard.toml).
    "switchboard.*": {"queue": "switchboard.celery"},
    "garage.open_door": {"queue": "switchboard.celery"},
}

app.conf.beat_schedule = {
    "the-first-lamp-blinks": {
        "task": "switchboard.request",
        "schedule": 2.0,
        "args": ("lamp-0", "blink"),
        # A command that nobody took in time is not worth doing any more.
        "options": {"expires": 10},
    },
}
