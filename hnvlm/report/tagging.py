"""Find the words that carry facts: one pass over a sentence gives a list of tagged spans.

A language's patterns are compiled once into one alternation; groups are tried in a fixed order, so that "without
necrosis" is a texture before "without" is a negation, and longer phrases come before shorter ones.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import Any

from hnvlm.report.neighbours import settle
from hnvlm.report.sizes import NUMERIC, number_of, size_of
from hnvlm.report.tokens import Token
from hnvlm.report.vocabulary import all_wordings, load, vocabulary, with_words

_LEVEL_JOIN = r"\s*(?:/|-|–|,\s*and|,|and|or|to|through|thru|&|i|oraz|do)\s*"
_ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII")
_IN_WORDS = ("one", "two", "three", "four", "five", "six", "seven")
# "grupa druga", "poziomie drugim", "grupa dwa"; read with and without the marks of the letters.
_POLISH_ENDING = r"(?:[yaeią]|i?ej|i?ego|i?emu|[iy]m|[iy]ch|[iy]mi|i[ąa])"
_IN_POLISH_WORDS = tuple(
    rf"(?:{ordinal}{_POLISH_ENDING}|{cardinal})"
    for ordinal, cardinal in (
        ("pierwsz", "jeden"), ("drug", "dwa"), ("trzec", "trzy"), ("czwart", "cztery"), ("pi[ąa]t", "pi[ęe][ćc]"),
        ("sz[óo]st", "sze[śs][ćc]"), ("si[óo]dm", "siedem"),
    )
)  # fmt: skip
_SEPARATORS = {
    "en": ("and", "or", "nor", "with", "plus", "as well as", "but", "however", "whereas", "while", "although"),
    "pl": ("i", "oraz", "lub", "ani", "ale", "natomiast"),
}
# A bracket that says of another place that it is normal stands on its own: "node in level II (level III clear)".
_PUNCTUATION = re.compile(
    r"[,;]|\((?=[^()]*\b(?:clear|normal|negative|neg|unremarkable|uninvolved|woln[aey]|prawidłow[aey]|bez zmian)\b)",
    re.IGNORECASE,
)


def _roman_numerals(language: str) -> str:
    """Level numbers; the Polish "i" (and) is no level I, and neither is the one of "i.e."."""
    one = r"I(?=[ab])|(?-i:I)" if language == "pl" else r"I(?!\.e\b)"
    return rf"(?:III|II|IV|VII|VI|V|{one})"


def _level_list(numerals: str, words_level: str) -> str:
    """One level or several, all in Roman or all in Arabic figures: "level II, 3 nodes" names one level.

    A measurement is no level: "level 2, 4-5 mm", "level 2, 3 cm3".
    """
    measured = r"(?:\s*(?:-|–|to|do)\s*\d+(?:[.,]\d+)?)?\s*(?:(?:mm|cm)[23²³]?|x|ml|cc)\b"
    one = rf"{numerals}\s?(?:a/b|[ab])?(?![\w%]|[.,]\d|{measured})"
    return rf"{one}(?:{_LEVEL_JOIN}(?:{words_level}\.?\s*)?{one})*"


def _levels_in_words() -> str:
    """Levels in words: "level two", "levels two to four"; "level two, three nodes" names one level."""
    one = rf"(?:{'|'.join(_IN_WORDS)})"
    return rf"(?:levels|stations|zones)\s+{one}(?:{_LEVEL_JOIN}{one})+|(?:levels?|stations?|zones?)\s+{one}"


def _polish_levels(words_level: str) -> list[str]:
    """Levels in Polish words, "grupa druga", and before the noun: "w drugiej grupie", "w grupach od II do IV"."""
    one = rf"(?:{'|'.join(_IN_POLISH_WORDS)})(?:\s?[ab])?(?!\w)"
    some = rf"(?:od\s+)?{one}(?:{_LEVEL_JOIN}(?:{words_level}\.?\s*)?{one})*"
    roman = _level_list(_roman_numerals("pl"), words_level)
    return [
        rf"{words_level}\.?\s*(?:nr\.?\s*)?{some}", rf"{some}\s+{words_level}", rf"(?:od\s+)?{roman}\s+{words_level}",
        rf"{words_level}\s+od\s+(?:{roman}|{_level_list('[1-7]', words_level)})",
    ]  # fmt: skip


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
    for site, phrases in words["other_sites"].items():
        entries += [("site", site, _literal(word)) for word in phrases]
    for tag, table in (("side", "sides"), ("site", "sites"), ("airway", "airways")):
        for value, entry in words[table].items():
            entries += [(tag, value, _literal(word)) for word in all_wordings(entry)]
    for kind, entry in (*words["nouns"].items(), *words["plural_nouns"].items()):
        entries += [(kind, kind, _literal(word)) for word in all_wordings(entry)]
    for texture, forms in words["textures"].items():
        phrases = [word for form in ("adj", "post", "word") for word in all_wordings(forms[form])] + forms["parse"]
        entries += [("texture", texture, _literal(word)) for word in phrases]
    for tag, table in (("texture", "textures"), ("site", "sites")):
        for value, regexes in patterns[table].items():
            entries += [(tag, value, _regex(regex)) for regex in regexes]
    for tag in ("size_words", "narrowing_words"):
        for word, entry in words[tag].items():
            entries += [(tag, word, _literal(wording)) for wording in all_wordings(entry)]
    return entries


def _polish() -> list[tuple[str, Any, str]]:
    patterns = load("patterns_pl")
    entries: list[tuple[str, Any, str]] = [("side", "midline", _regex(regex)) for regex in patterns["midline"]]
    for level, regexes in patterns["level_names"].items():
        entries += [("level", ([level], "one"), _regex(regex)) for regex in regexes]
    tables = (("airways", "airway"), ("textures", "texture"), ("sites", "site"), ("size_words", "size_words"))
    for table, tag in (*tables, ("narrowing_words", "narrowing_words")):
        for value, regexes in patterns[table].items():
            entries += [(tag, value, _regex(regex)) for regex in regexes]
    return entries


_SIMPLE = (
    "ignore", "history", "removed", "advice", "crosses", "definite", "probable", "possible", "indeterminate",
    "negated_after", "negation", "other", "unsuspicious", "benign", "normal", "anaphora", "ipsilateral",
    "contralateral", "short_axis", "node", "mass", "airway_general", "narrowing", "patent", "artefact", "target",
    "coverage", "foreign", "low_density",
)  # fmt: skip
_TREATMENT = {"treatment": "history", "treatment_before": "ignore"}
# Tried first, in this order, at the same place in the text; everything else goes by length.
_FIRST = (
    "treatment", "treatment_before", "ignore", "history", "removed", "advice", "crosses", "unsuspicious", "benign",
    "indeterminate", "negated_after", "normal", "texture", "low_centre", "patent",
)  # fmt: skip


@cache
def _compiled(language: str) -> tuple[re.Pattern[str], tuple[tuple[str, Any], ...]]:
    patterns = load(f"patterns_{language}")
    entries = _english() if language == "en" else _polish()
    for tag in _SIMPLE:
        entries += [(tag, tag, _regex(regex)) for regex in patterns[tag]]
    for tag, words in (
        ("low_centre", "low_centre_words"), ("treatment", "treatment_words"), ("treatment_before", "treatment_words"),
    ):  # fmt: skip
        entries += [(tag, tag, _regex(regex)) for regex in with_words(language, tag, words)]
    entries += [("side", "bilateral", _regex(regex)) for regex in patterns["bilateral"]]
    for side in ("left", "right"):
        entries += [("side", side, _regex(regex)) for regex in patterns[side]]
    entries += [("separator", word, _regex(word)) for word in _SEPARATORS[language]]
    entries += [("separator", "and", "[+&]"), ("separator", "with", "w/")]
    entries += [("separator", "except", _regex(regex)) for regex in patterns["exceptions"]]
    words_level = patterns["words_level"]
    numerals = "|".join(_level_list(figures, words_level) for figures in (_roman_numerals(language), "[1-7]"))
    entries.append(("level", "numerals", rf"{words_level}\.?\s*(?:{numerals})"))
    in_words = [_levels_in_words()] if language == "en" else _polish_levels(words_level)
    entries += [("level", "numerals", regex) for regex in in_words]
    # A Roman numeral alone ("LN R II"); I, V and intravenous contrast are left out.
    bare = r"(?-i:III|II[ABab]?|IV(?!\s+(?:contrast|access|line))|I[ABab]|V[ABab]|(?<!RADS[ -])[125][ABab])"
    entries.append(("bare_level", "numerals", rf"{bare}(?:{_LEVEL_JOIN}(?:{bare}|(?-i:V))(?!\w))*"))

    def rank(entry: tuple[str, Any, str]) -> tuple[int, int]:
        tag = entry[0]
        return (_FIRST.index(tag) if tag in _FIRST else len(_FIRST), -len(entry[2]))

    ordered = [(tag, None, regex) for tag, regex in NUMERIC] + sorted(entries, key=rank)
    alternation = "|".join(f"({regex})" for _, _, regex in ordered)
    return re.compile(rf"(?<!\w)(?:{alternation})(?!\w)", re.IGNORECASE), tuple(
        (tag, value) for tag, value, _ in ordered
    )


@cache
def low_density(language: str) -> re.Pattern[str]:
    """Match words by which a node looks necrotic without being called so: "hypodense", "low-density centre"."""
    words = [*load(f"patterns_{language}")["low_density"], *with_words(language, "low_centre", "low_centre_words")]
    return re.compile("|".join(map(_regex, words)), re.IGNORECASE)


def tag_sentence(sentence: str, language: str) -> list[Token]:
    """Return the tagged spans of a sentence, in order, without overlaps."""
    return list(_tagged(sentence, language))


# A request is read anew at every pause of typing, and each of its sentences by several rules.
@lru_cache(maxsize=1024)
def _tagged(sentence: str, language: str) -> tuple[Token, ...]:
    sentence = sentence.replace("’", "'")
    pattern, meanings = _compiled(language)
    tokens: list[Token] = []
    for match in pattern.finditer(sentence):
        tag, value = meanings[match.lastindex - 1]  # type: ignore[operator]
        text = match.group()
        if tag == "size":
            value = size_of(text)
        elif tag in ("area", "volume", "percent"):
            value = number_of(text)
        elif value == "numerals":
            value = levels_of(text, language)
        # What a disease was treated by is history; its value keeps it apart.
        tokens.append(Token(_TREATMENT.get(tag, tag), value, match.start(), match.end()))
    taken = [(token.start, token.end) for token in tokens]
    for match in _PUNCTUATION.finditer(sentence):
        if not any(start <= match.start() < end for start, end in taken):
            tokens.append(Token("separator", match.group().replace("(", ","), match.start(), match.end()))
    return tuple(settle(sentence, sorted(tokens, key=lambda token: token.start), language))


def levels_of(text: str, language: str) -> tuple[list[str], str]:
    """Read "level IIa", "levels II-IV", "level 2/3".

    Returns:
        Levels and ``one`` (one node, the first level is where it is; others border) or ``many`` (each of them).
        A and B are kept in level I alone, where they are different regions.
    """
    body = re.sub(rf"{load(f'patterns_{language}')['words_level']}\.?\s*", "", text, flags=re.IGNORECASE)
    plural = bool(re.match(r"(?:levels|lvls|stations|zones|poziomach|poziomy|grupach|grupy)\b", text, re.IGNORECASE))
    for figure, word in enumerate(_IN_WORDS if language == "en" else _IN_POLISH_WORDS, start=1):
        body = re.sub(rf"\b{word}(?!\w)", str(figure), body, flags=re.IGNORECASE)
    levels: list[str] = []
    for numeral, letter in re.findall(rf"({_roman_numerals(language)}|[1-7])\s?(a/b|[ab])?(?!\w)", body, re.IGNORECASE):
        roman = numeral.upper() if not numeral.isdigit() else _ROMAN[int(numeral) - 1]
        level = roman + letter.upper() if roman == "I" and letter and "/" not in letter else roman
        if level not in levels:
            levels.append(level)
    many = plural or bool(re.search(r",|&|\b(?:and|or|i|oraz|through|thru)\b", body, re.IGNORECASE))
    if len(levels) == 2 and re.search(r"-|–|\b(?:to|do|through|thru)\b", body, re.IGNORECASE):
        between = _between(*levels)
        # "Level II-III" is a node on the border of two levels, "level II-IV" can be none.
        if many or between:
            levels, many = [levels[0], *between, levels[1]], True
    return levels, "many" if many and len(levels) > 1 else "one"


def _between(first: str, last: str) -> list[str]:
    """Levels between two: III between II and IV."""
    low, high = sorted(_ROMAN.index(level.rstrip("AB")) for level in (first, last))
    return list(_ROMAN[low + 1 : high])
