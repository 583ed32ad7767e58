"""Queues as an application may have declared them."""

import time

from app import QUEUE, Exchange, Queue, app, ends, main, request, say


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


main(globals())
