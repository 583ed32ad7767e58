"""A tour of what a Celery application does with devices: each step and its answer. `make demo-celery` runs it."""

import sys

from app import app
from celery import chain, group
from celery.exceptions import TaskRevokedError
from switchboard.exceptions import CommandFailed, DeviceRejected, DeviceTimeout
from tasks import command, nearest, write_down

WITHIN = 30


def step(title, act):
    print(f"  {title:<58} {act()}", flush=True)


def failure(of, expected):
    try:
        return f"no failure, but {of.get(timeout=WITHIN)!r}"
    except expected as error:
        details = error.args[1] if len(error.args) > 1 else {}
        executed = f", executed: {details['executed']}" if "executed" in details else ""
        return f"{type(error).__name__}: {error.args[0]}{executed}"


def many():
    answers = group(command(f"lamp-{n}", "on", {"level": n}) for n in range(100)).apply_async().get(timeout=WITHIN)
    return f"{len(answers)} answers, the last {answers[-1]}"


def bulk():
    devices = [f"lamp-{n}" for n in range(100)]
    summary = app.send_task("switchboard.bulk", (devices, "off"), {"rate": 500}).get(timeout=WITHIN)
    return f"{summary['status']}, {summary['counts']['succeeded']} of {summary['total']} in {summary['duration_ms']:.0f} ms"


def revoked():
    waits = command("lamp-2", "on").apply_async(countdown=3)
    waits.revoke()
    return failure(waits, TaskRevokedError)


def node():
    answers = app.control.inspect(timeout=5).ping() or {}
    nodes = sorted(name for name in answers if name.startswith("switchboard@"))
    queues = app.control.inspect(nodes, timeout=5).active_queues()
    return ", ".join(f"{name} takes {[queue['name'] for queue in queues[name]]}" for name in nodes)


STEPS = [
    ("a command by its task's name", lambda: command("lamp-7", "on", {"level": 3}).delay().get(timeout=WITHIN)),
    ("bytes, as they are", lambda: command("lamp-7", "raw", b"\x00\xff").delay().get(timeout=WITHIN)),
    ("a task of the application's own, mapped", lambda: app.send_task("garage.open_door", (3,)).get(timeout=WITHIN)),
    ("a device that refuses", lambda: failure(command("jammed-0", "on").delay(), DeviceRejected)),
    ("a device that is silent", lambda: failure(command("silent-0", "on", timeout=1).delay(), DeviceTimeout)),
    ("a call that is wrong", lambda: failure(command("lamp/7", "on").delay(), CommandFailed)),
    ("a group over a hundred devices", many),
    ("a bulk over a hundred devices, 500 a second", bulk),
    ("a command, then a task in Python", lambda: chain(command("lamp-5", "on"), write_down.s("lamp-5"))().get(timeout=WITHIN)),
    ("a task in Python, then a command to what it found", lambda: chain(
        nearest.s("garden"), app.signature("switchboard.request", args=("on",)))().get(timeout=WITHIN)),
    ("countdown=2", lambda: command("lamp-1", "on").apply_async(countdown=2).get(timeout=WITHIN)),
    ("countdown=2, expires=1", lambda: failure(command("lamp-1", "on").apply_async(countdown=2, expires=1), TaskRevokedError)),
    ("revoked while it waits", revoked),
    ("celery inspect: the worker is a node", node),
]

if __name__ == "__main__":
    for title, act in STEPS:
        step(title, act)
    sys.exit(0)
