"""Queues as an application may have declared them."""

import os
import time

from app import NODE, QUEUE, Exchange, Queue, app, ends, main, request, say


def priorities():
    """Sent before there is a worker, which takes one at a time."""
    app.conf.task_queue_max_priority = 10
    results = {f"low_{n}": request("d1", "open", f"low-{n}").apply_async(priority=1) for n in range(5)}
    results["high"] = request("d1", "open", "high").apply_async(priority=9)
    ends(**results)


def quorum():
    app.conf.task_create_missing_queue_type = "quorum"
    ends(
        plain=request("d1").delay(),
        countdown=request("d2").apply_async(countdown=1.5),
    )


def delayed():
    """A topic exchange before a quorum queue: the client delays in the broker, on a topology that consumers declare."""
    topic = Exchange(QUEUE, type="topic")
    app.conf.task_queues = [Queue(QUEUE, topic, routing_key=QUEUE, queue_arguments={"x-queue-type": "quorum"})]
    say("not_before_ms", int((time.time() + 3.7) * 1000))
    results = {
        "plain": request("d1", "open", "plain").delay(),
        "countdown": request("d2", "open", {"job": "countdown"}).apply_async(countdown=3.7),
        "expired": request("never").apply_async(countdown=5, expires=2),
        "revoked": request("never").apply_async(countdown=3),
    }
    results["revoked"].revoke()
    ends(**results)


def control(method):
    """Has the node take the tasks of the queue that the test names, or take them no more."""
    other = os.environ["OTHER"]
    replies = app.control.broadcast(method, arguments={"queue": other}, destination=[NODE], reply=True, timeout=10)
    say("reply", replies[0][NODE])


def added():
    control("add_consumer")


def cancelled():
    control("cancel_consumer")


def answered():
    """Once that is so, how many consumers the queue has."""
    app.conf.task_queue_max_priority = 10
    ends(answer=request("d1").delay())
    with app.connection_for_read() as connection:
        say("consumers", connection.default_channel.queue_declare(os.environ["OTHER"], passive=True).consumer_count)


main(globals())
