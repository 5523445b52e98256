"""Measurements in words: how numbers are written, and which of several is the size of the lesion today."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import cache

from hnvlm.report.tokens import Token
from hnvlm.report.vocabulary import load

_SIGNS = {"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
_PART = rf"(?:(?:1/2|1/4|3/4|1/3|2/3)(?!\d)|[{''.join(_SIGNS)}])"
# "1 1/2", "1½", "1.5", ".5"
NUMBER = rf"(?:(?:\d{{1,2}}[\s-]?)?{_PART}|\d{{1,4}}(?:[.,]\d{{1,2}})?|\.\d{{1,2}})"
_MM_PER_INCH = 25.4
# Polish words are read with and without their marks: "15 milimetrow".
_METRE = r"met(?:re|er)s?|metr(?:[oó]w[yaeą](?:ch|go|j|m)?|[oó]w|[yaue]|em|ach)?"
_UNIT = rf"(?:mm|cm|inch(?:es)?|milli(?:{_METRE})|mili(?:{_METRE})|centi(?:{_METRE})|centy(?:{_METRE}))"
# Numbers in words, before a unit alone.
_DIGITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = (
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "fou?rty", "fifty", "sixty", "seventy", "eighty", "ninety")
_POLISH_DIGITS = (
    r"jedn\w+|jeden", "dw(?:a|ie|u|óch|och)", "trz(?:y|ech)", "czter(?:y|ech)", "pi[eę][cć](?:iu|io)?",
    "sze[sś](?:[cć]|ciu|cio)", "siedem|siedmi[uo]", "osiem|o[sś]mi[uo]", "dziewi[eę][cć](?:iu|io)?",
)  # fmt: skip
_POLISH_TEENS = (
    "dziesi[eę][cć](?:iu|io)?",
    *(rf"{root}na[sś]t?(?:cie|u|o)" for root in (
        "jede", "dwa", "trzy", "czter", "pi[eę]t", "szes", "siedem", "osiem", "dziewi[eę]t"
    )),
)  # fmt: skip
_POLISH_TENS = (
    "dwadzie[sś]cia|dwudziestu", "trzydzie[sś]ci|trzydziestu", "czterdzie[sś]ci|czterdziestu",
    *(rf"{root}dziesi[aąeę][tc]\w*" for root in ("pi[eę][cć]", "sze[sś][cć]", "siedem", "osiem", "dziewi[eę][cć]")),
)  # fmt: skip


def _numbers(digits: Sequence[str], teens: Sequence[str], tens: Sequence[str]) -> dict[str, str]:
    """Pattern of each number up to ninety-nine in words -> its figures; the longer stand first."""
    units = {word: str(number) for number, word in enumerate(digits, 1)}
    joined = {
        rf"(?:{ten})[\s-]*(?:{word})": f"{number}{figure}"
        for number, ten in enumerate(tens, 2) for word, figure in units.items()
    }  # fmt: skip
    alone = {word: str(number) for number, word in enumerate(teens, 10)}
    return joined | alone | {word: f"{number}0" for number, word in enumerate(tens, 2)} | units


_NUMBER_WORDS = _numbers(_DIGITS, _TEENS, _TENS) | _numbers(_POLISH_DIGITS, _POLISH_TEENS, _POLISH_TENS)
_IN_WORDS = {
    **{rf"{word} and a half": f"{number}.5" for number, word in enumerate(_DIGITS, 1)},
    **{rf"{word} point {part}": f"{n}.{k}" for n, word in enumerate(_DIGITS, 1) for k, part in enumerate(_DIGITS, 1)},
    "half an?": "0.5", "p[oó][lł]tora": "1.5", "p[oó][lł]": "0.5", **_NUMBER_WORDS, "an?": "1",
}  # fmt: skip
_ONE_WORDED = rf"(?:{'|'.join(_IN_WORDS)})"
# "Twelve by fifteen mm": the axes before the last one have no unit of their own, or have it too.
_WORDED = (
    rf"(?:(?:from|od|z)\s+)?(?:(?:{'|'.join(_NUMBER_WORDS)})(?:[\s-]*{_UNIT})?(?:\s*(?:x|×|by|na|to|do|-|–)\s*)){{0,2}}"
    rf"{_ONE_WORDED}[\s-]*(?={_UNIT})"
)
# Which axis a number belongs to may stand behind it: "18 (AP) x 12 (TR) mm".
_AXIS = r"(?:\s*\(?(?:AP|TR|TV|CC|SI|ML|LR|RL|HF)\)?)?"
_ONE = rf"{NUMBER}(?:[\s-]*{_UNIT})?{_AXIS}(?:\s*{_UNIT})?"
_TIMES = r"\s*-?\s*(?:x|×|\*|by|na)\s*"
_JOINED = rf"(?:{_TIMES}|\s*(?:to|do|-|–|and|i|or|lub|albo)\s*)"
_AXES = rf"{_ONE}(?:{_TIMES}{_ONE}){{0,2}}"
_ARROW = r"\s*(?:-+>|=+>|→)\s*"
_COURSE = rf"(?:(?:from|od|z)\s+{_AXES}\s+(?:to|do)\s+{_AXES}|{_AXES}{_ARROW}{_AXES})"
# The unit may stand once at the end ("12 x 9 mm") or after each number.
NUMERIC = (
    ("area", rf"{NUMBER}\s*(?:mm2|mm²|mm\^2|sq\.? ?mm)"),
    ("volume", rf"{NUMBER}\s*(?:ml|cc|cm3|cm³|mL)"),
    ("percent", rf"{NUMBER}\s*(?:%|percent|per cent|procent\w*)"),
    ("size", rf"{_WORDED}{_UNIT}(?!\w)"),
    # The unit stands once, behind the other side: "right 14, left 12 mm".
    (
        "size",
        rf"(?:(?<=right\s)|(?<=left\s)|(?<=lewej\s)|(?<=prawej\s)|(?<=\b[LRP]\s)){NUMBER}"
        rf"(?=,?\s*(?:and\s|i\s|oraz\s)?\s*(?:po\s)?(?:left|right|lewej|prawej|[LRP])\s{NUMBER}\s*mm)",
    ),
    (
        "size",
        rf"(?:{_COURSE}|(?:(?:from|od|z)\s+)?{_ONE}(?:{_JOINED}{_ONE}){{0,2}})"
        r"(?<=[a-zó]{2})(?<!AP|TR|TV|CC|SI|ML|LR|RL|HF)",
    ),
)
_VALUE = re.compile(rf"({NUMBER})[\s-]*({_UNIT})?", re.IGNORECASE)
_BEGINS_FROM = re.compile(r"(?:from|od|z)\s", re.IGNORECASE)
_SEVERAL_AXES = re.compile(r"\bx\b|×|\bby\b")
_EITHER = re.compile(r"\d\D*\b(?:and|i|or|lub|albo)\b\D*\d")
_RANGE = re.compile(r"\d\D*(?:\b(?:to|do)\b|[-–])\D*\d")
_LISTED = rf"(?:{_ONE}\s*(?:,\s*and|,\s*i|,|and|i|oraz)\s*)+{_ONE}"
_IN_TURN = re.compile(rf"(?<![\w.,])(?:({_LISTED}),?\s*respectively|odpowiednio\s*({_LISTED}))", re.IGNORECASE)
# Words for an axis, by which two numbers are the dimensions of one lesion.
_DIMENSION = re.compile(
    r"\b(?:AP|TR|TV|CC|SI|ML|LR|axis|axial|transverse|cranio-?caudal|height|width|wide|length|long|depth|deep|thick\w*|osi|oś"
    r"|wymiar\w*|szeroko\w*|wysoko\w*|długo\w*|głęboko\w*|poprzeczn\w*)\b",
    re.IGNORECASE,
)
_SHORT = re.compile(r"short|SAD|krótk")
_LONG = re.compile(r"long|greatest|maxim|dług")


def number_of(text: str) -> float:
    """Return the number that a measurement begins with."""
    match = re.match(NUMBER, text)
    return _value(match.group()) if match else 0.0


def _value(number: str) -> float:
    """The value of "1.5", "1,5", ".5", "1 1/2" or "1½"."""
    for sign, written in _SIGNS.items():
        number = number.replace(sign, f" {written}")
    return float(sum(Fraction(part.replace(",", ".")) for part in re.split(r"[\s-]+", number) if part))


def size_of(text: str) -> float:
    """Return the greatest dimension of "12 x 9 mm", "10-12 mm", "2-cm", ".8 cm" in millimetres.

    "from 12 to 18 mm" tells a course over time: the last value counts.
    """
    return max(_values_of(text))


def _values_of(text: str) -> list[float]:
    """Every number of a size in millimetres; of a course over time those of today."""
    text = _in_figures(text)
    course = re.match(_COURSE, text, re.IGNORECASE)
    pairs = _VALUE.findall(text)
    last_unit = (re.findall(_UNIT, text, re.IGNORECASE) or ["mm"])[-1]
    if course:
        pairs = _VALUE.findall(re.split(rf"\s(?:to|do)\s|{_ARROW}", text, flags=re.IGNORECASE)[-1])
    return [round(_value(number) * _millimetres(unit or last_unit), 2) for number, unit in pairs]


def _millimetres(unit: str) -> float:
    return {"c": 10.0, "i": _MM_PER_INCH}.get(unit[:1].lower(), 1.0)


def _in_figures(text: str) -> str:
    """A size in words, "two centimetres", with its numbers in figures."""
    if re.search(r"\d", text):
        return text
    return _worded_number().sub(lambda match: f"{_figure(match.group())} ", text)


@cache
def _worded_number() -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){_ONE_WORDED}(?=[\s-]*(?:{_UNIT}|x\b|×|by\b|na\b|to\b|do\b|-|–))", re.IGNORECASE)


def _figure(words: str) -> str:
    return next(figure for word, figure in _IN_WORDS.items() if re.fullmatch(word, words, re.IGNORECASE))


def is_former(before: str, language: str) -> bool:
    """Whether the words before a property say that it was so once: "previously necrotic"."""
    return _not_today(language, "former").search(before) is not None


@cache
def _not_today(language: str, where: str) -> re.Pattern[str]:
    """Words before or behind a number or a property by which it is none of the lesion on this scan."""
    patterns = "|".join(load(f"patterns_{language}")["other_measures"][where])
    body = f"(?:{patterns})".replace(" ", r"\s+")
    if where == "several":
        return re.compile(rf"(?<!\w){body}(?!\w)", re.IGNORECASE)
    behind = where in ("behind", "distance", "part")
    whole = rf"\W?\s*{body}(?!\w)" if behind else rf"(?<!\w){body}\W{{0,3}}$"
    return re.compile(whole, re.IGNORECASE)


def measured(tokens: Sequence[Token], start: int, text: str, language: str) -> tuple[float | None, float | None]:
    """Greatest dimension of today, and the short axis where it alone is told.

    Args:
        tokens: Of a clause.
        start: Where the clause begins in its sentence.
        text: The clause.
        language: ``en`` or ``pl``.
    """
    chosen, short = _of_today(tokens, start, text, language)
    return (max(token.value for token in chosen) if chosen else None), short


def in_order(text: str) -> list[float]:
    """Sizes in millimetres that belong to places in turn: "measuring 22, 18 and 11 mm respectively"; else none."""
    match = _IN_TURN.search(text)
    return _values_of(next(part for part in match.groups() if part)) if match else []


def only_bounded(tokens: Sequence[Token], start: int, text: str, language: str) -> bool:
    """Whether the sizes of a clause say what nothing exceeds: "nodes < 1 cm". Arguments as for ``measured``."""
    chosen, _ = _of_today(tokens, start, text, language)
    pattern = _less_than(language)
    return bool(chosen) and all(pattern.search(text[: token.start - start]) for token in chosen)


@cache
def _less_than(language: str) -> re.Pattern[str]:
    words = "|".join(load(f"patterns_{language}")["less_than"]).replace(" ", r"\s+")
    return re.compile(rf"(?<!\w)(?:{words})\s*$", re.IGNORECASE)


def rival_sizes(tokens: Sequence[Token], start: int, text: str, language: str) -> tuple[float, ...]:
    """Sizes between which a clause leaves open how large its lesion is, "12 mm (13 mm)"; empty where it does not.

    Two dimensions, old sizes and the sizes of several lesions are no rivals. Arguments as for ``measured``.
    """
    chosen, _ = _of_today(tokens, start, text, language)
    found: list[float] = []
    for token in chosen:
        own = text[token.start - start : token.end - start]
        found += _values_of(own) if _EITHER.search(own) else [token.value]
    several = _not_today(language, "several").search(text)
    return tuple(sorted(set(found))) if len(set(found)) > 1 and not several and not _DIMENSION.search(text) else ()


def size_range(tokens: Sequence[Token], start: int, text: str, language: str) -> tuple[float, float] | None:
    """Ends of "12-15 mm", where a lesion has just this size; None without a range. Arguments as for ``measured``."""
    chosen, _ = _of_today(tokens, start, text, language)
    own = text[chosen[0].start - start : chosen[0].end - start] if len(chosen) == 1 else ""
    if not _RANGE.search(own) or re.match(_COURSE, own, re.IGNORECASE) or _SEVERAL_AXES.search(own):
        return None
    values = _values_of(own)
    return (min(values), max(values)) if min(values) < max(values) else None


def _of_today(tokens: Sequence[Token], start: int, text: str, language: str) -> tuple[list[Token], float | None]:
    """The spans that tell the size of today, and the short axis where it is told."""
    sizes: list[Token] = []
    perhaps: list[Token] = []
    now: list[Token] = []
    short = None
    about_short = any(token.tag == "short_axis" for token in tokens)
    for token in tokens:
        if token.tag != "size":
            continue
        begin, end = token.start - start, token.end - start
        if _is_other(text, begin, end, language):
            continue
        if about_short and _is_short(text, begin, end):
            short = token.value
        elif _not_today(language, "become").search(text[:begin]):
            now.append(token)
        elif _is_doubtful(text, begin, end, language):
            perhaps.append(token)
        else:
            sizes.append(token)
    # "The 18 mm node has decreased to 9 mm": what it has become counts.
    return (now or sizes or perhaps), short


def _is_short(text: str, begin: int, end: int) -> bool:
    """Whether a number is the short axis: "12 mm in short axis", "short axis 12 mm"."""
    if _SEVERAL_AXES.search(text[begin:end]):
        return False
    behind = re.split(r"[,;)]", text[end:])[0]
    # "12 mm (SAD 8 mm)": the words belong to the number that follows them.
    if not re.search(r"\d", behind) and (_SHORT.search(behind) or _LONG.search(behind)):
        return bool(_SHORT.search(behind))
    return bool(_SHORT.search(re.split(r"[,;(\d]", text[:begin])[-1]))


def _is_doubtful(text: str, begin: int, end: int, language: str) -> bool:
    """Whether a number is the size only where no other is: an old size, that of a part, or how far something lies.

    An extension is a part: "20 mm with subglottic extension of 8 mm".

    "The node was 18 mm" is how some write of today, "node 12 mm deep to the muscle" is no distance. In "12 mm,
    unchanged (13 mm)" the earlier size stands in brackets, in "unchanged (13 mm)" the size.
    """
    before = text[:begin]
    if any(_not_today(language, where).search(before) for where in ("past_tense", "changed", "reach")):
        return True
    if _not_today(language, "part").match(text[end:]):
        return True
    far = _not_today(language, "distance").match(text[end:]) is not None
    return far and not _not_today(language, "own").search(before)


def _is_other(text: str, begin: int, end: int, language: str) -> bool:
    """Whether a number is a former size, a distance to something else or the number of a slice."""
    own, before = text[begin:end], text[:begin]
    if _not_today(language, "before").search(before):
        return True
    if _BEGINS_FROM.match(own) and not re.search(r"\s(?:to|do)\s", own) and re.search(r"\d", before):
        return True  # "12 mm, down from 18 mm"
    behind = re.split(r"[,;)]", text[end:])[0]
    match = _not_today(language, "behind").match(behind)
    # "12 mm prior 18 mm": the word belongs to the number that follows it.
    return match is not None and not re.search(r"\d", behind[match.end() :][:14])
