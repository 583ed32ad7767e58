"""Tasks that are called off: before they come, while they wait, while they run."""

import time
import uuid

from app import NODE, app, end, ends, main, request, say, until


def inspect():
    return app.control.inspect([NODE], timeout=10)


def reply(method, **arguments):
    """What the node under test says to a command."""
    replies = app.control.broadcast(method, arguments=arguments, destination=[NODE], reply=True, timeout=10)
    return replies[0][NODE] if replies else None


def running(result):
    until(f"{result.id} runs", lambda: (result.id in [task["id"] for task in inspect().active().get(NODE, [])]) or None)


def all_ways():
    before = str(uuid.uuid4())
    say("revoke_reply", "flagged as revoked" in str(reply("revoke", task_id=before)))
    say("revoked_ids", before in inspect().revoked()[NODE])
    waits, several = request("never").apply_async(countdown=3), [request("never").apply_async(countdown=3) for _ in range(3)]
    runs, ends_early = request("slow", "runs").delay(), request("silent", "terminated", timeout=30).delay()
    running(runs), running(ends_early)
    waits.revoke()
    app.control.revoke([result.id for result in several])
    runs.revoke()
    said = reply("revoke", task_id=ends_early.id, terminate=True, signal="SIGTERM")
    say("terminate_reply", [ends_early.id in str(said), "terminate" in str(said)])
    began = time.monotonic()
    say("terminated", end(ends_early))
    say("at_once", time.monotonic() - began < 20)
    say("terminate_unknown", reply("terminate", task_id=str(uuid.uuid4()), signal="SIGTERM"))
    ends(
        before=request("never").apply_async(task_id=before),
        waits=waits,
        runs=runs,
        **{f"several_{n}": result for n, result in enumerate(several)},
    )


def stamps():
    say("reply", "ok" in (reply("revoke_by_stamped_headers", headers={"batch": ["b1", "b3"]}) or {}))
    results = {}
    for batch in ("b1", "b2", "b3"):
        signature = request("stamped-" + batch)
        signature.stamp(batch=batch)
        results[batch] = signature.apply_async()
    ends(**results)


def behind_another():
    """Tasks for one device, which takes one at a time: whoever waits for it has not begun."""
    first, waits, last = (request("slow", payload=name).delay() for name in ("first", "waits", "last"))
    running(first)
    # So it is shown, although it only waits.
    running(waits)
    app.control.revoke([first.id, waits.id], destination=[NODE])
    ends(first=first, waits=waits, last=last)
    # What was revoked in vain can be ended all the same.
    ends_early = request("silent", timeout=30).delay()
    running(ends_early)
    say("revoked", "flagged" in str(reply("revoke", task_id=ends_early.id)))
    say("terminated", ends_early.id in str(reply("revoke", task_id=ends_early.id, terminate=True)))
    ends(ends_early=ends_early)


def large_bulk():
    """One that all workers share: it is no task of any of them while it is under way."""
    bulk = app.send_task("switchboard.bulk", ([f"device-{n}" for n in range(60)], "slowly"), {"rate": 2})
    nobody = str(uuid.uuid4())
    say("nobody", reply("revoke", task_id=nobody, terminate=True))
    begun = lambda: "switchboard.bulk" in inspect().stats()[NODE]["total"]
    until("it is handed over", lambda: (begun() and not inspect().active()[NODE]) or None)
    say("terminate", reply("revoke", task_id=bulk.id, terminate=True) == {"ok": "terminate: " + bulk.id})
    ends(bulk=bulk)


main(globals())
