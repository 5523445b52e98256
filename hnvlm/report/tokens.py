"""Tagged spans of a sentence, and clauses made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Token:
    """A tagged span of a sentence.

    Attributes:
        tag: What kind of word (``node``, ``side``, ``size``, ``negation``, ``separator``, ...).
        value: The fact it carries: a side, a list of levels, millimetres, ...
        start: First character in the sentence.
        end: One past the last character.
    """

    tag: str
    value: Any
    start: int
    end: int


@dataclass
class Clause:
    """Part of a sentence about one thing.

    Attributes:
        tokens: Its tagged spans.
        start: First character in the sentence.
        end: One past the last.
        kind: What it speaks of (``node``, ``mass``, ...), None when no noun says so.
        denied: Whether it says that the thing is not there.
        joined_by: The separator before it.
        head: Start and end of the noun.
        aside: Whether it says of something else that it is normal; it takes no noun from its neighbours.
        excepting: Whether the sentence names exceptions from what it denies ("no node apart from ...").
        side_before: Side named for the place before it, where it names none ("left level II ...; level III ...").
        side_behind: Whether ``side_before`` was named behind the places ("levels II (22 mm), III (16 mm) on the left").
        not_now: ``background`` where it tells history or gives advice, ``removed`` where the thing was operated on.
    """

    tokens: list[Token]
    start: int
    end: int
    kind: str | None = None
    denied: bool = False
    joined_by: str = ""
    head: tuple[int, int] | None = None
    aside: bool = False
    excepting: bool = False
    side_before: str | None = None
    side_behind: bool = False
    not_now: str = ""

    def has(self, *tags: str) -> bool:
        """Whether a span of one of these tags is in the clause."""
        return any(token.tag in tags for token in self.tokens)

    def values(self, *tags: str) -> list:
        """Values of the spans of these tags, in order."""
        return [token.value for token in self.tokens if token.tag in tags]
