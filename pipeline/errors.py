"""The program's own troubles. A sample's trouble is data (a reason), never an exception."""


class TamisError(Exception):
    """Any trouble that tamis explains itself: what, where and what to do."""

    exit_code = 1


class ConfigError(TamisError):
    """The run's configuration cannot be used."""

    exit_code = 2


class InputError(TamisError):
    """An input named in the configuration is missing or cannot be read."""


class FormatError(TamisError):
    """A file of the data set or of an input does not have the form it must have."""


class StorageError(TamisError):
    """The storage refused: disk full, no permission, object store unreachable."""


class DatasetBusy(TamisError):
    """Another run holds the data set."""


class CommitConflict(TamisError):
    """Somebody else published the same snapshot number with other content."""


class InvariantError(TamisError):
    """A law of the house was broken (conservation, digests, uniqueness): a bug or damaged files."""

    exit_code = 3


def first_line(error: BaseException) -> str:
    """Return the first line of what a library says of an error; its name where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
