"""Tasks of the application: those that Python runs, and commands to devices, which are called by name."""

from app import app


@app.task
def write_down(answer, device):
    """Runs in a Celery worker of yours, before or after commands to devices."""
    return f"{device} said {answer}"


@app.task
def nearest(place):
    """Finds the device that a later step commands."""
    return f"lamp-{len(place)}"


def command(device, name, payload=None, **kwargs):
    """A command to one device as a signature: `.delay()`, `.apply_async(…)`, in a group or a chain like any other."""
    return app.signature("switchboard.request", args=(device, name, payload), kwargs=kwargs)
