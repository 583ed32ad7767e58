"""Every way in which a task's message can be written."""

from app import PYTHON_QUEUE, QUEUE, app, ends, main, make, request, say, send, wrap

COMPRESSIONS = ["gzip", "zlib", "bzip2", "bzip", "lzma", "xz", "zstd", "zstandard", "brotli"]


def serializers():
    ends(
        msgpack=request("d1", "open", {"speed": 2}).apply_async(serializer="msgpack"),
        msgpack_bytes=request("bytes", "raw", b"\x00\xff").apply_async(serializer="msgpack"),
        msgpack_zstd=request("d1", "open", [1]).apply_async(serializer="msgpack", compression="zstd"),
        msgpack_failure=request("blocked").apply_async(serializer="msgpack"),
        **{name: request("d1", "open", {"via": name * 1000}).apply_async(compression=name) for name in COMPRESSIONS},
    )
    say("compressions", COMPRESSIONS)


def refused():
    ends(
        pickle=request("refused").apply_async(serializer="pickle"),
        pickle_compressed=request("refused").apply_async(serializer="pickle", compression="gzip"),
        yaml=request("refused").apply_async(serializer="yaml"),
        unknown_task=send("no.such.task", _options={"queue": QUEUE}),
        map=app.send_task("celery.map", kwargs={"task": wrap.s(), "it": [1]}, queue=QUEUE),
        chord_unlock=app.send_task("celery.chord_unlock", args=["g", {}], queue=QUEUE),
        after=request("d1").delay(),
    )


def protocol_1():
    old = make(task_protocol=1, task_serializer="json")

    def ask(device, **options):
        return old.send_task("switchboard.request", (device, "open"), {"payload": {"speed": 2}}, **options)

    ends(
        plain=ask("d1"),
        failure=ask("blocked"),
        expired=ask("expired", countdown=2, expires=1),
        unknown_task=old.send_task("no.such.task", queue=QUEUE),
        chain=(old.signature("switchboard.request", args=("d1", "open")) | old.signature(
            "python.wrap", queue=PYTHON_QUEUE)).apply_async(),
    )


main(globals())
