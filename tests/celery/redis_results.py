"""Results in Redis, and what only they make possible: chords, and results that other processes read."""

import json
import uuid

from app import SOON, add, app, chord, count, device, end, ends, group, main, make, note, noted, request, say, until, wrap

KEY = "celery-task-meta-"


def results():
    done, failed = request("d1", "open", {"n": 1}).delay(), request("blocked").delay()
    ends(value=done, failure=failed)
    other = make()
    say("from_another_client", end(other.AsyncResult(done.id)))
    say("failure_from_another_client", end(other.AsyncResult(failed.id)))
    store = app.backend.client
    say("expiry", [0 < store.ttl(KEY + result.id) <= 86400 for result in (done, failed)])
    ignored = request("d1").apply_async(ignore_result=True)
    request("d1").delay().get(timeout=SOON)
    say("ignored", store.exists(KEY + ignored.id))
    # The message does not say where its sender reads: both are served at a time.
    over_rpc = make(result_backend="rpc://")
    say("rpc_too", end(over_rpc.send_task("switchboard.request", ("d1", "open", "rpc"))))
    revoked = str(uuid.uuid4())
    # So far away that it waits in the broker: the node that hears of it says so.
    waits = request("never").apply_async(countdown=600, task_id=revoked)
    app.control.revoke(revoked)
    say("revoked", end(waits))


def chords():
    said_later = app.signature("switchboard.request", args=("open", {"by": "chord"}))
    devices_later = app.signature("switchboard.bulk", args=("open",))
    ends(
        ours_in_the_header=chord([request(f"h{n}") for n in range(10)], count.s()).apply_async(),
        ours_as_the_body=chord([device.s("b1"), device.s("b2")], devices_later).apply_async(),
        ours_everywhere=chord([request("d1"), request("d2")], request("d3", "open", "body").set(immutable=True)).apply_async(),
        mixed_header=chord([request("d1"), add.s(1, 2)], count.s()).apply_async(),
        chains_in_the_header=chord([request("d1") | wrap.s(), device.s("d2") | said_later], count.s()).apply_async(),
        chained_body=(group(request("d1"), request("d2")) | count.s() | wrap.s()).apply_async(),
        chain_into_chord=(request("d1", "open", 1) | group(wrap.s(), wrap.s(), wrap.s()) | count.s()).apply_async(),
        chain_into_ours=(device.s("d4") | group(said_later, said_later) | count.s() | wrap.s()).apply_async(),
        body_is_a_group=chord([request("d1"), request("d2")], group(count.s(), count.s())).apply_async(),
    )


def failed_chords():
    failed = chord([request("d1"), request("blocked")], count.s().on_error(note.s("chord-error"))).apply_async()
    chain = chord([request("blocked") | wrap.s(), request("d1")], count.s()).apply_async()
    # By their ids alone: a result that knows its header raises the header's failure instead, if that comes first.
    ends(failed_header=app.AsyncResult(failed.id), failed_chain=app.AsyncResult(chain.id))
    say("chord_error", noted("chord-error")[0] == failed.id)


def without_ours():
    """The application has a Redis and the worker none: a part of a chord can be answered over rpc alone."""
    replies = f"replies-{uuid.uuid4()}"
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_declare(replies, durable=True, auto_delete=False)
        parts = [request(f"d{n}").set(reply_to=replies) for n in range(2)]
        chord(parts, count.s()).apply_async()
        answer = until("an answer", lambda: channel.basic_get(replies, no_ack=True))
        say("answer", json.loads(answer.body))
        channel.queue_delete(replies)


main(globals())
