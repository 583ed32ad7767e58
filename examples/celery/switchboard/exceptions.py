"""How commands fail. Put this module on your path: then `.get()` raises these classes, each with a text and a dict of details."""

class CommandFailed(Exception): """Any of the five: `error.args` is (text, {"device", "command", "status", "executed", …})."""

class DeviceRejected(CommandFailed): """The device answered with an error."""
class DeviceTimeout(CommandFailed): """No answer in time; the device may have acted."""
class DeviceUnreachable(CommandFailed): """Surely nobody received the command."""
class OutcomeUnknown(CommandFailed): """A crash or a lost connection makes it impossible to say."""
class InvalidCommand(CommandFailed): """The call itself is wrong: nothing was sent."""
