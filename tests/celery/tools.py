"""Remote control and monitors: what they say of the node under test."""

import json
import os
import time
import urllib.error
import urllib.request

from app import NODE, QUEUE, SOON, app, count_in, end, ends, main, request, say, send, until

OUTSTANDING = 500


def ask(method, **arguments):
    replies = app.control.broadcast(method, arguments=arguments, destination=[NODE], reply=True, timeout=10)
    return replies[0][NODE] if replies else None


def inspect():
    return app.control.inspect([NODE], timeout=10)


def idle():
    """Every command of control with nothing to do; the last one ends the worker."""
    waits = request("waits").apply_async(countdown=20)
    until("the task waits", lambda: inspect().scheduled()[NODE])
    for name in ("ping", "clock", "stats", "conf", "report", "registered", "active_queues", "active", "reserved", "scheduled",
                 "revoked", "enable_events", "heartbeat"):
        say(name, ask(name))
    say("enabled_again", ask("enable_events"))
    say("disable_events", ask("disable_events"))
    say("query_task", list(ask("query_task", ids=[waits.id])[waits.id])[0])
    say("waits_id", waits.id)
    say("hello", ask("hello", from_node="other@test", revoked=["told-by-another"]))
    say("told", "told-by-another" in ask("revoked"))
    say("pattern", app.control.broadcast("ping", pattern=NODE[:-3] + "*", matcher="glob", reply=True, timeout=10))
    say("rate_limit", ask("rate_limit", task_name="switchboard.request", rate_limit="100/s"))
    say("registered_with_rate", ask("registered"))
    say("rate_limit_off", ask("rate_limit", task_name="switchboard.request", rate_limit=0))
    say("rate_limit_unknown", ask("rate_limit", task_name="no.such.task", rate_limit="1/s"))
    say("time_limit", ask("time_limit", task_name="switchboard.request", hard=30, soft=20))
    for name, arguments in {"autoscale": {"max": 2, "min": 1}, "pool_restart": {}, "pool_grow": {"n": 1}, "pool_shrink": {"n": 1},
                            "memdump": {}, "objgraph": {}, "election": {"id": "x", "topic": "t"}, "no_such_command": {}}.items():
        answer = ask(name, **arguments)
        say(name, list(answer) if isinstance(answer, dict) else answer)
    other = QUEUE + "-other"
    say("add_consumer", ask("add_consumer", queue=other))
    say("on_the_other_queue", end(send("switchboard.request", "d1", "open", _options={"queue": other})))
    say("queues", [queue["name"] for queue in ask("active_queues")])
    say("cancel_consumer", ask("cancel_consumer", queue=other))
    send("switchboard.request", "left", "open", _options={"queue": other, "ignore_result": True})
    request("d1").delay().get(timeout=SOON)
    say("left_in_the_queue", until("the task stays where it is", lambda: count_in(other)))
    waits.revoke()
    say("shutdown", ask("shutdown") if os.environ.get("SHUTDOWN") else None)


def limits():
    """What control sets for a task's name counts for every task of that name."""
    say("rate", ask("rate_limit", task_name="switchboard.request", rate_limit="5/s"))
    ends(**{f"spaced_{n}": result for n, result in enumerate([request(f"spaced-{n}").delay() for n in range(6)])})
    ask("rate_limit", task_name="switchboard.request", rate_limit=0)
    say("limit", ask("time_limit", task_name="switchboard.request", soft=0.5, hard=20))
    ends(limited=request("silent", timeout=30).delay(), own_limit=request("silent", timeout=30).apply_async(time_limit=0.2))


def loaded():
    """With so many tasks at silent devices: asked again and again, all that monitors ask."""
    results = [request(f"hangs-{n}", "open", timeout=120).delay() for n in range(OUTSTANDING)]

    def count(method):
        return len(getattr(inspect(), method)().get(NODE, []))

    until("every task is under way", lambda: count("active") == OUTSTANDING)
    times, answered = [], 0
    for _ in range(20):
        began = time.monotonic()
        answered += inspect().ping() == {NODE: {"ok": "pong"}}
        times.append(time.monotonic() - began)
    say("pings", answered)
    say("ping_ms", [round(1000 * one, 1) for one in sorted(times)])
    for method in ("stats", "active_queues", "registered", "scheduled", "reserved", "revoked", "conf"):
        say(method, NODE in (getattr(inspect(), method)() or {}))
    say("first", ask("active", safe=True)[0])
    app.control.revoke([result.id for result in results], terminate=True, destination=[NODE])
    kinds = {end(result)["raised"] for result in results}
    say("kinds", sorted(kinds))
    until("nothing is under way", lambda: count("active") == 0)
    say("after", end(request("echo").delay()))


def get(path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{os.environ['FLOWER']}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def flower():
    until("Flower sees the node", lambda: get("/api/workers?status=true")[0] == 200 and json.loads(
        get("/api/workers?status=true")[1]).get(NODE))
    # Flower switches the events of tasks on; those before are not seen by it.
    until("events of tasks are on", lambda: ask("enable_events") == {"ok": "task events already enabled"})
    done, failed = request("d1", "open", {"n": 1}).delay(), request("blocked").delay()
    end(done), end(failed)

    def tasks():
        found = json.loads(get("/api/tasks?limit=1000")[1])
        wanted = {id: found.get(id, {}) for id in (done.id, failed.id)}
        return wanted if all(task.get("state") in ("SUCCESS", "FAILURE") for task in wanted.values()) else None

    found = until("Flower knows both tasks", tasks)
    say("done", {key: found[done.id][key] for key in ("name", "state", "worker")})
    say("failed", {key: found[failed.id][key] for key in ("name", "state", "worker", "exception")})
    status, page = get(f"/worker/{NODE}")
    say("page", [status, NODE in page, QUEUE in page])
    status, page = get(f"/task/{done.id}")
    say("task_page", [status, "switchboard.request" in page])
    until("Flower has asked the node for its particulars", lambda: json.loads(
        get(f"/api/workers?refresh=1&workername={NODE}")[1]).get(NODE, {}).get("active_queues"))
    particulars = json.loads(get(f"/api/workers?workername={NODE}")[1])[NODE]
    say("particulars", sorted(name for name in particulars if particulars[name] is not None))


def events():
    """A task that succeeds, one that fails, one that is revoked, for a monitor to see."""
    until("events of tasks are on", lambda: ask("enable_events") == {"ok": "task events already enabled"})
    done, failed, waits = request("d1").delay(), request("blocked").delay(), request("d2").apply_async(countdown=1)
    waits.revoke()
    for result in (done, failed, waits):
        end(result)
    say("ids", {"done": done.id, "failed": failed.id, "revoked": waits.id})


main(globals())
