"""SIGTERM and SIGINT as an exception, so that what is in hand is finished or removed and nothing half-made stays."""

import signal


class Stopped(BaseException):
    """The program was asked to stop. Not an Exception: nothing that catches errors may swallow it."""

    def __init__(self, number: int):
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number
        self.exit_code = 128 + number  # 130 SIGINT, 143 SIGTERM, as shells report them


def install() -> None:
    """From now on SIGTERM and SIGINT raise Stopped in the main thread."""

    def stop(number: int, _frame: object) -> None:
        for other in (signal.SIGINT, signal.SIGTERM):  # a second one must not break into the cleaning up
            signal.signal(other, signal.SIG_IGN)
        raise Stopped(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
