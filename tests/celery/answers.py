"""Tasks by name and what their callers get: values, exceptions, nothing."""

import datetime
import decimal
import os
import uuid

from app import SOON, app, count_in, end, ends, main, request, say, send, until


def by_name():
    done = send("switchboard.request", "d1", "open", {"speed": 2})
    ends(
        positional=done,
        named=send("switchboard.request", device="d1", command="open", payload=[1], profile="default", timeout=5,
                   guarantee="at_least_once"),
        without_payload=send("switchboard.request", "d1", "open"),
        one_way=send("switchboard.publish", "d1", "open", {"x": 1}),
        unicode=send("switchboard.request", "d1", "öffnen", {"größe": "ü\u2028"}),
        mapped=send("garage.open_door", 7, speed=2),
        mapped_default=send("garage.open_door", door=8),
    )
    say("state", [done.state, done.ready(), done.date_done is not None])
    say("bulk", end(send("switchboard.bulk", ["d1", "d2", {"device": "d3", "payload": 3}, "blocked"], "open", {"x": 1})))


def twice():
    """One id, two messages: the id is what makes a command the same."""
    id = str(uuid.uuid4())
    for name in ("first", "second"):
        say(name, end(request("once", "open", name).apply_async(task_id=id)))


def killed():
    """At their devices when their worker is killed."""
    ends(once=request("d1", "once", timeout=60).delay(),
         again=request("d2", "again", timeout=60, guarantee="at_least_once").delay())


def on_the_native_queue():
    """A task among native jobs, on a queue that a client could not declare."""
    id = str(uuid.uuid4())
    message = app.amqp.as_task_v2(id, "switchboard.request", args=("d1", "open", "among native jobs"))
    with app.producer_or_acquire() as producer:
        app.backend.on_task_call(producer, id)
        producer.publish(message.body, exchange="", routing_key=os.environ["NATIVE_QUEUE"], headers=message.headers,
                         serializer="json", **{**message.properties, "reply_to": app.thread_oid})
    ends(answer=app.AsyncResult(id))


def values():
    ends(
        bytes_down=request("bytes", "raw", b"\x00\xff").delay(),
        text_down=request("text", "raw", b"on").delay(),
        bytes_up=request("binary").delay(),
        text_up=request("says-text").delay(),
        typed_up=request("typed").delay(),
        big_up=request("says-big").delay(),
        nan_up=request("says-nan").delay(),
    )
    # The devices that hear these answer what they like: what they heard is what counts.
    for result in (
        request("floats", "set", {"t": float("nan"), "i": float("inf"), "n": float("-inf")}).delay(),
        request("big", "set", {"n": 2**70, "list": [-(2**65)]}).delay(),
        request("kinds", "set", {"id": uuid.UUID(int=7), "price": decimal.Decimal("1.50"),
                                 "at": datetime.datetime(2026, 1, 2, 3, 4, 5), "keys": {1: None, False: ()}}).delay(),
    ):
        result.get(timeout=SOON)


FAILURES = {
    "rejected": lambda: request("blocked").delay(),
    "timeout": lambda: request("silent", timeout=0.3).delay(),
    # Its topic is another one, on which nobody listens here.
    "unreachable": lambda: request("d1", profile="json").delay(),
    "invalid": lambda: request("a/+/b").delay(),
    "arguments": lambda: send("switchboard.request", "d1"),
}


def failures():
    for name, sent in FAILURES.items():
        say(f"unknown_{name}", end(sent()))
    # From here on the module is there: the same failures are its classes.
    from switchboard.exceptions import CommandFailed, DeviceRejected

    for name, sent in FAILURES.items():
        say(name, end(sent()))
    try:
        FAILURES["rejected"]().get(timeout=SOON)
    except DeviceRejected as error:
        text, details = error.args
        say("caught", [isinstance(error, CommandFailed), text, details["device"], details["executed"], details["response"]])
    returned = FAILURES["timeout"]()
    error = returned.get(timeout=SOON, propagate=False)
    say("returned", [type(error).__name__, returned.state, returned.failed()])


def unknown():
    """Sent before there is a worker; the test sees to it that it is delivered twice."""
    import switchboard.exceptions  # noqa: F401

    ends(unknown=request("d1").delay())


def ignored():
    replies = f"replies-{uuid.uuid4()}"
    with app.connection_for_write() as connection:
        connection.default_channel.queue_declare(replies, durable=True, auto_delete=False)
    for device in ("d1", "blocked"):
        send("switchboard.request", device, "open", _options={"ignore_result": True, "reply_to": replies})
    # To the same devices, so answered after those.
    for device in ("d1", "blocked"):
        send("switchboard.request", device, "open", _options={"reply_to": replies})
    until("both answers that are wanted", lambda: (count_in(replies) or 0) >= 2)
    # A round trip more: what had been sent by now would be there.
    request("d1").delay().get(timeout=SOON)
    say("replies", count_in(replies))
    with app.connection_for_write() as connection:
        connection.default_channel.queue_delete(replies)


main(globals())
