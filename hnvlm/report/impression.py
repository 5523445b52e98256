"""The impression of a report: what its findings come to."""

from __future__ import annotations

from hnvlm.errors import UsageError
from hnvlm.report.parse import parse
from hnvlm.report.render import render
from hnvlm.report.vocabulary import check_language, load


def impression_of(text: str, language: str = "en") -> str:
    """What follows the heading of the impression in a report that is written up to that heading.

    Args:
        text: A report of the grammar's own form, its last line the heading with its colon.
        language: ``en`` or ``pl``.

    Returns:
        A space and the sentences of the lesions that the findings above name, largest first within a kind. Nothing
        where the text does not end with that heading, or where its findings contradict each other.

    Raises:
        UsageError: Unknown language.
    """
    heading = f"{load(f'report_{check_language(language)}')['headings']['impression']}:"
    above, _, last = text.rpartition("\n")
    if last != heading:
        return ""
    try:
        return render(parse(above, language), language=language).rpartition("\n")[2].removeprefix(heading)
    except UsageError:
        return ""
