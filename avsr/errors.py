"""The errors that a user of the toolkit meets. Each carries one clear line: the file and the cure."""


class AvsrError(Exception):
    """Something is wrong that the user can mend. Ends the program with exit code 1."""

    exit_code = 1


class UsageError(AvsrError):
    """A wrong option, configuration key or value. Exit code 2."""

    exit_code = 2


class TooManyFailed(AvsrError):
    """More utterances failed than `--max-fail-rate` allows. Exit code 3."""

    exit_code = 3


class UtteranceError(AvsrError):
    """This one utterance is bad. A stage writes it to failed.tsv and goes on with the next."""


def disk_line(error: OSError) -> str:
    """One line for a full disk, a read-only folder, missing rights: the file and the cure."""
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}; free space or rights, then run again"
