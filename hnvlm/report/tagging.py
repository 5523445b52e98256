"""Find the words that carry facts: one pass over a sentence gives a list of tagged spans.

A language's patterns are compiled once into one alternation; groups are tried in a fixed order, so that "without
necrosis" is a texture before "without" is a negation, and longer phrases come before shorter ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from hnvlm.report.vocabulary import all_wordings, load, vocabulary


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


_NUMBER = r"\d{1,4}(?:[.,]\d{1,2})?"
_UNIT = r"(?:mm|millimet(?:re|er)s?|cm|centimet(?:re|er)s?)"
_SIZE_TEXT = re.compile(rf"({_NUMBER})\s*({_UNIT})?", re.IGNORECASE)
# The unit may stand once at the end ("12 x 9 mm") or after each number.
_NUMERIC = (
    ("area", rf"{_NUMBER}\s*(?:mm2|mm²|mm\^2|sq\.? ?mm)"),
    ("volume", rf"{_NUMBER}\s*(?:ml|cc|cm3|cm³|mL)"),
    ("percent", rf"{_NUMBER}\s*(?:%|percent|per cent|procent\w*)"),
    (
        "size",
        rf"(?:from\s+|od\s+)?{_NUMBER}[\s-]*{_UNIT}?(?:\s*(?:x|×|\*|by|na|to|do|-|–|and|i)\s*{_NUMBER}[\s-]*{_UNIT}?){{0,2}}(?<=[mrse])",
    ),
)
_NUMERAL = r"(?:III|II|IV|VII|VI|V|I|[1-7])\s?(?:a/b|[ab])?(?![\w%]|[.,]\d|\s*(?:mm|cm|x)\b)"
_LEVEL_JOIN = r"\s*(?:/|-|–|,\s*and|,|and|or|to|through|&|i|oraz|do)\s*"
_ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII")
_SEPARATORS = {
    "en": (
        "and",
        "or",
        "nor",
        "with",
        "plus",
        "as well as",
        "but",
        "however",
        "whereas",
        "while",
        "although",
        "except",
    ),
    "pl": ("i", "oraz", "lub", "ani", "ale", "natomiast", "z wyjątkiem"),
}
_PUNCTUATION = re.compile(r"[,;]")


def _literal(phrase: str) -> str:
    """Turn a phrase into a pattern: any space or hyphen between words, plural s, abbreviations in capitals only."""
    body = r"[\s-]+".join(re.escape(part) for part in re.split(r"[\s-]+", phrase))
    if len(phrase) <= 3 and phrase.isupper():
        return f"(?-i:{body})"
    return body + "s?"


def _regex(pattern: str) -> str:
    return pattern.replace(" ?", r"\s*").replace(" ", r"\s+")


def _english() -> list[tuple[str, Any, str]]:
    words, patterns = vocabulary(), load("patterns_en")
    entries: list[tuple[str, Any, str]] = []
    for side, entry in words["sides"].items():
        entries += [("side", side, _literal(word)) for word in all_wordings(entry)]
    for side, entry in words["side_abbreviations"].items():
        entries += [("side", side, rf"(?-i:{word})\.?") for word in all_wordings(entry)]
    for side, extra in patterns["side_extra"].items():
        entries += [("side", side, _literal(word)) for word in extra]
    for level, entry in words["levels"].items():
        phrases = [word for word in all_wordings(entry) if not re.match(r"(?:level|lvl|station)\s+\w+$", word)]
        phrases += ["submandibular level"] if level == "IB" else []
        entries += [("level", ([level], "one"), _literal(word)) for word in phrases]
    for level, phrases in words["other_levels"].items():
        entries += [("level", ([level], "one"), _literal(word)) for word in phrases if not word.startswith("level")]
    for level, regexes in patterns["level_before_node"].items():
        entries += [("level", ([level], "one"), _regex(regex)) for regex in regexes]
    for site, entry in words["sites"].items():
        entries += [("site", site, _literal(word)) for word in all_wordings(entry)]
    for site, phrases in words["other_sites"].items():
        entries += [("site", site, _literal(word)) for word in phrases]
    for site, entry in words["airways"].items():
        entries += [("airway", site, _literal(word)) for word in all_wordings(entry)]
    for kind, entry in words["nouns"].items():
        entries += [(kind, kind, _literal(word)) for word in all_wordings(entry)]
    for kind, entry in words["plural_nouns"].items():
        entries += [(kind, kind, _literal(word)) for word in all_wordings(entry)]
    for texture, forms in words["textures"].items():
        phrases = [word for form in ("adj", "post", "word") for word in all_wordings(forms[form])] + forms["parse"]
        entries += [("texture", texture, _literal(word)) for word in phrases]
    for tag in ("size_words", "narrowing_words"):
        for word, entry in words[tag].items():
            entries += [(tag, word, _literal(wording)) for wording in all_wordings(entry)]
    return entries


def _polish() -> list[tuple[str, Any, str]]:
    patterns = load("patterns_pl")
    entries: list[tuple[str, Any, str]] = [("side", "midline", _regex(regex)) for regex in patterns["midline"]]
    tables = (("airways", "airway"), ("textures", "texture"), ("sites", "site"), ("size_words", "size_words"))
    for table, tag in (*tables, ("narrowing_words", "narrowing_words")):
        for value, regexes in patterns[table].items():
            entries += [(tag, value, _regex(regex)) for regex in regexes]
    return entries


_SIMPLE = (
    "ignore", "crosses", "definite", "probable", "possible", "indeterminate", "negated_after", "negation", "other",
    "prior", "normal", "anaphora", "ipsilateral", "contralateral", "short_axis", "node", "mass", "airway_general",
    "narrowing", "patent", "artefact", "target", "coverage", "foreign",
)  # fmt: skip
# Tried first, in this order, at the same place in the text; everything else goes by length.
_FIRST = ("ignore", "crosses", "indeterminate", "negated_after", "normal", "texture", "patent")


@cache
def _compiled(language: str) -> tuple[re.Pattern[str], tuple[tuple[str, Any], ...]]:
    patterns = load(f"patterns_{language}")
    entries = _english() if language == "en" else _polish()
    for tag in _SIMPLE:
        entries += [(tag, tag, _regex(regex)) for regex in patterns[tag]]
    entries += [("side", "bilateral", _regex(regex)) for regex in patterns["bilateral"]]
    for side in ("left", "right"):
        entries += [("side", side, _regex(regex)) for regex in patterns[side]]
    entries += [("separator", word, _regex(word)) for word in _SEPARATORS[language]]
    numeral_list = rf"{_NUMERAL}(?:{_LEVEL_JOIN}(?:{patterns['words_level']}\.?\s*)?{_NUMERAL})*"
    entries.append(("level", "numerals", rf"{patterns['words_level']}\.?\s*{numeral_list}"))
    # A Roman numeral alone ("LN R II"); I, V and intravenous contrast are left out.
    entries.append(("bare_level", "numerals", r"(?-i:III|II[AB]?|IV(?!\s+(?:contrast|access|line))|IB|V[AB])"))

    def rank(entry: tuple[str, Any, str]) -> tuple[int, int]:
        tag = entry[0]
        return (_FIRST.index(tag) if tag in _FIRST else len(_FIRST), -len(entry[2]))

    ordered = [(tag, None, regex) for tag, regex in _NUMERIC] + sorted(entries, key=rank)
    alternation = "|".join(f"({regex})" for _, _, regex in ordered)
    return re.compile(rf"(?<!\w)(?:{alternation})(?!\w)", re.IGNORECASE), tuple(
        (tag, value) for tag, value, _ in ordered
    )


def tag_sentence(sentence: str, language: str) -> list[Token]:
    """Return the tagged spans of a sentence, in order, without overlaps."""
    pattern, meanings = _compiled(language)
    tokens: list[Token] = []
    for match in pattern.finditer(sentence):
        tag, value = meanings[match.lastindex - 1]  # type: ignore[operator]
        text = match.group()
        if tag == "size":
            value = size_of(text)
        elif tag in ("area", "volume", "percent"):
            value = float(re.match(_NUMBER, text).group().replace(",", "."))  # type: ignore[union-attr]
        elif value == "numerals":
            value = levels_of(text, language)
        tokens.append(Token(tag, value, match.start(), match.end()))
    taken = [(token.start, token.end) for token in tokens]
    for match in _PUNCTUATION.finditer(sentence):
        if not any(start <= match.start() < end for start, end in taken):
            tokens.append(Token("separator", match.group(), match.start(), match.end()))
    return sorted(tokens, key=lambda token: token.start)


def size_of(text: str) -> float:
    """Return the greatest dimension of "12 x 9 mm", "10-12 mm", "1.2 cm" in millimetres.

    "from 12 to 18 mm" tells a course over time: the last value counts.
    """
    pairs = _SIZE_TEXT.findall(text)
    last_unit = next((unit for _, unit in reversed(pairs) if unit), "mm")
    values = []
    for number, unit in pairs:
        factor = 10.0 if (unit or last_unit).lower().startswith("c") else 1.0
        values.append(float(number.replace(",", ".")) * factor)
    course = re.match(r"(?:from|od)\s", text, re.IGNORECASE)
    return round(values[-1] if course else max(values), 2)


def levels_of(text: str, language: str) -> tuple[list[str], str]:
    """Read "level IIa", "levels II-IV", "level 2/3".

    Returns:
        Levels and ``one`` (one node, the first level is where it is; others border) or ``many`` (each of them).
        A and B are kept in level I alone, where they are different regions.
    """
    body = re.sub(rf"{load(f'patterns_{language}')['words_level']}\.?\s*", "", text, flags=re.IGNORECASE)
    plural = bool(re.match(r"(?:levels|lvls|stations|zones|poziomach|poziomy|grupach|grupy)\b", text, re.IGNORECASE))
    levels: list[str] = []
    for numeral, letter in re.findall(r"(III|II|IV|VII|VI|V|I|[1-7])\s?(a/b|[ab])?(?!\w)", body, re.IGNORECASE):
        roman = numeral.upper() if not numeral.isdigit() else _ROMAN[int(numeral) - 1]
        level = roman + letter.upper() if roman == "I" and letter and "/" not in letter else roman
        if level not in levels:
            levels.append(level)
    run = re.search(
        r"\d\s?[ab]?\s*(?:-|–|to|do|through)\s*\d|[IV]\s?[ab]?\s*(?:-|–|to|do|through)\s*[IV]", body, re.IGNORECASE
    )
    if plural and run and len(levels) == 2 and all(level in _ROMAN for level in levels):
        first, last = sorted(_ROMAN.index(level) for level in levels)
        levels = list(_ROMAN[first : last + 1])
    many = plural or bool(re.search(r",|&|\b(?:and|or|i|oraz|through)\b", body, re.IGNORECASE))
    return levels, "many" if many and len(levels) > 1 else "one"
