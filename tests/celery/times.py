"""Tasks that wait, come too late, or take too long."""

import datetime

from app import NODE, QUEUE, app, count_in, ends, main, request, say, until


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def expires():
    busy, too_late = request("slow").delay(), request("slow", "late").apply_async(expires=0.7)
    ends(
        in_time=request("d1").apply_async(expires=60),
        in_time_at=request("d1").apply_async(expires=now() + datetime.timedelta(minutes=1)),
        while_it_waits=request("never").apply_async(countdown=2, expires=1),
        while_the_device_is_busy=too_late,
        busy=busy,
    )


def waits():
    zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
    at = now() + datetime.timedelta(seconds=2.5)
    for name, options in {
        "countdown": {"countdown": 2.5},
        "with_offset": {"eta": at.astimezone(zone)},
        "without_offset": {"eta": at.replace(tzinfo=None)},
        "past": {"eta": at - datetime.timedelta(hours=1)},
    }.items():
        FOUND[name] = request(name, "open", {"job": name}).apply_async(**options)
    say("not_before_ms", int(at.timestamp() * 1000))
    ends(**FOUND)


FOUND = {}


def parked():
    """Longer than the worker holds a task: it waits in the broker."""
    at = now() + datetime.timedelta(seconds=5)
    result = request("parked", "open", {"job": "parked"}).apply_async(eta=at, headers={"tenant": "t1"}, priority=3)
    inspect = app.control.inspect([NODE], timeout=10)
    until("nobody holds it", lambda: (count_in(QUEUE) == 0 and not inspect.scheduled()[NODE]) or None)
    say("parked_before_ms", int(at.timestamp() * 1000))
    ends(parked=result)


def limits():
    ends(
        soft=request("silent", "soft", timeout=30).apply_async(soft_time_limit=0.5),
        hard=request("silent-too", "hard", timeout=30).apply_async(time_limit=1),
        neither=request("d1").apply_async(soft_time_limit=30, time_limit=60),
    )


def late():
    """Given up before their devices answer, in each way there is."""
    ended = request("slow-3", timeout=30).delay()
    inspect = app.control.inspect([NODE], timeout=10)
    until("it runs", lambda: [task for task in inspect.active()[NODE] if task["id"] == ended.id])
    app.control.revoke(ended.id, terminate=True, destination=[NODE])
    ends(
        timeout=request("slow", timeout=0.3).delay(),
        soft=request("slow-2", timeout=30).apply_async(soft_time_limit=0.3),
        terminated=ended,
    )


main(globals())
