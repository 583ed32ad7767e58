"""Groups, chains and callbacks, over rpc."""

from app import SOON, app, chord, count, device, end, ends, fail, group, main, note, noted, request, say, wrap


def groups():
    result = group(request(f"g{n}", "open", {"n": n}) for n in range(100)).apply_async()
    say("answers", [answer["echo"]["n"] for answer in result.get(timeout=SOON)])
    mixed = group(request("d1"), request("blocked"), request("silent", timeout=0.3)).apply_async()
    got = mixed.get(timeout=SOON, propagate=False)
    say("mixed", [got[0]["ok"], type(got[1]).__name__, type(got[2]).__name__])
    of_chains = group(request(f"c{n}", "open", n) | wrap.s() for n in range(3)).apply_async()
    say("of_chains", [answer["wrapped"]["echo"] for answer in of_chains.get(timeout=SOON)])


def chains():
    said_later = app.signature("switchboard.request", args=("open", {"by": "chain"}))
    ours_last = (device.s("d7") | said_later).apply_async()
    long = (device.s("d8") | said_later | wrap.s() | request("d9", "open", 9).set(immutable=True) | wrap.s()).apply_async()
    ends(
        ours_first=(request("d1", "open", 1) | wrap.s()).apply_async(),
        ours_last=ours_last,
        ours_twice=(request("d1", "open", 1) | request("d2", "open", 2).set(immutable=True)).apply_async(),
        long=long,
        failed_first=(request("blocked") | wrap.s() | wrap.s()).apply_async(),
        failed_last=(device.s("blocked") | said_later).apply_async(),
        failed_in_python=(fail.s() | request("never-sent").set(immutable=True)).apply_async(),
        options=(request("d1") | request("d3", "open", 3).set(immutable=True, countdown=1, expires=30)).apply_async(),
    )
    parents = [long]
    while parents[-1].parent is not None:
        parents.append(parents[-1].parent)
    say("parents", [parent.state for parent in parents])
    say("into_group", end((request("d1", "open", 1) | group(wrap.s(), wrap.s())).apply_async()))


def callbacks():
    answered = request("d1", "open", "linked").apply_async(link=note.s("link"))
    after = request("after", "open", {"job": "after"}).set(immutable=True)
    several = request("d2").apply_async(link=[note.s("first"), note.s("second"), after])
    failed = request("blocked").apply_async(link=note.s("never"), link_error=[note.s("errback"), note.s("errback-2")])
    chained = (request("blocked") | wrap.s()).apply_async(link_error=note.s("chain-errback"))
    group_linked = request("d3", "open", 3).apply_async(link=group(note.s("g1"), note.s("g2")))
    chain_linked = request("d4", "open", 4).apply_async(link=(wrap.s() | note.s("wrapped")))
    ends(answered=answered, several=several, failed=failed, chained=chained, group=group_linked, chain=chain_linked)
    for label in ("link", "first", "g1", "g2", "wrapped"):
        say(f"heard_{label}", noted(label)[0])
    say("errbacks", [noted("errback")[0] == failed.id, noted("errback-2")[0] == failed.id])
    say("chain_errback", len(noted("chain-errback")))


def chord_over_rpc():
    try:
        chord([request("d1")], count.s()).apply_async()
    except NotImplementedError as error:
        say("refused", type(error).__name__)


main(globals())
