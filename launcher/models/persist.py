"""What is tried again, how often, and how long is waited in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from launcher.errors import FAILED, ServeError
from launcher.models.hub import Passing, Unreachable

TRIES = 6  # of a file, without a byte of progress between them
ALTERED_TRIES = 2  # a file that arrived whole and wrong is fetched once more
LONGEST_WAIT_S = 60.0  # between two tries, unless the hub asks for more
LONGEST_ASKED_S = 600.0  # whoever waits would take longer for a pull that hangs
Result = TypeVar("Result")


def persist(
    attempt: Callable[[], Result],
    there: Callable[[], int],
    what: str,
    where: str,
    note: Callable[[str], None],
    tries: int = TRIES,
) -> Result:
    """Tries again what may pass, later each time, as long as it gets on now and then.

    Args:
        attempt: raises `Passing` where another one may go well.
        there: how many bytes have come.
        what: the subject of what is told.
        where: the hub's address.
        note: is told of each further try.
        tries: how many without a byte of progress between them.

    Raises:
        ServeError: it stays as it is; an Unreachable where the hub did not answer, or wants to be left in peace for
            longer than a pull waits.
    """
    failures = altered = 0
    before_bytes = there()
    while True:
        try:
            return attempt()
        except Passing as error:
            now_bytes = there()
            failures = 1 if now_bytes > before_bytes else failures + 1
            before_bytes = now_bytes
            altered += error.altered
            if altered >= ALTERED_TRIES:
                raise ServeError(
                    f"{what} {error.what}, and so it was {altered} times",
                    where=where,
                    fix="the hub or a proxy hands out a damaged copy: try again later, or another mirror",
                    code=FAILED,
                ) from None
            over = fix = ""
            if failures >= tries:
                over, fix = f"{failures} times in a row", "check the network and the hub's address"
            elif error.wait_s is not None and error.wait_s > LONGEST_ASKED_S:
                over = f"and the hub asks to be left in peace for {error.wait_s / 60:,.0f} minutes"
                fix = "try again then"
            if over:
                fix += "; what has come is kept, and gone on with next time"
                raise Unreachable(f"{what}: {error.what}, {over}", where=where, fix=fix, code=FAILED) from None
            wait_s = min(2.0 ** (failures - 1), LONGEST_WAIT_S) if error.wait_s is None else error.wait_s
            note(f"{what}: {error.what}; once more in {wait_s:.0f} s")
            time.sleep(wait_s)
