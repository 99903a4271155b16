"""The parts of a shell script that run as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_DEPTH = 60  # of scopes that are told apart


@dataclass(frozen=True, eq=False)
class Scope:
    """A part of a script that runs as a whole or not at all: ``condition``, ``loop`` or ``function``; ``""`` is all."""

    kind: str = ""
    parent: Scope | None = None
    depth: int = 0

    def inner(self, kind: str) -> Scope:
        """A scope in this one; very deep ones are not told apart."""
        return Scope(kind, self, self.depth + 1) if self.depth < _DEPTH else self

    def around(self) -> Iterator[Scope]:
        """It, and those that it stands in, outwards."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def outside(self, other: Scope) -> list[str]:
        """The kinds of the scopes that it stands in and the other does not; none when it runs before the other does."""
        if self is other:
            return []
        shared = set(other.around())
        return [scope.kind for scope in self.around() if scope not in shared]


SCRIPT = Scope()  # a whole script
