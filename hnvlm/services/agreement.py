"""Hold a report's statements against what was measured on the CT; every disagreement becomes a check result."""

from __future__ import annotations

from hnvlm.report.vocabulary import narrowing_word
from hnvlm.types import CheckResult, Finding

LESIONS = ("node", "mass", "airway")
# Two readers of one node differ by about 2-3 mm; larger differences are worth a look.
SIZE_TOLERANCE_MM, SIZE_TOLERANCE_SHARE = 3.0, 0.2
# A grade of narrowing is about 20 percent points wide; a difference of more than most of one is worth a look.
NARROWING_TOLERANCE_PCT = 15.0
# A target region's volume is told in steps of 20 mL; a difference of more than this share is worth a look.
VOLUME_TOLERANCE_SHARE, VOLUME_TOLERANCE_ML = 0.25, 20.0
# What is measured of the whole scan, once a report, and its name for the reader.
REGIONS = {"target": "Target region", "coverage": "Field of view"}
# Never a comfort: the validation patients are all treated for cancer, and in some of them nothing is suspected where
# the disease is (card of the tumour detector, ``patients_with_one_in_target``).
CLEAR = (
    "No lesion was measured or suspected on this CT, and the text reports none. The models overlook much real disease: "
    "read the CT yourself."
)
# Likeness of two lesions of the same kind, side and place.
EXACT = 3


def check_agreement(said: list[Finding], measured: list[Finding]) -> list[CheckResult]:
    """Compare present lesions of a text with the measured ones.

    Args:
        said: Parsed from the text.
        measured: Of the CT.

    Returns:
        ``fail`` for a wrong side or a denied lesion, ``warn`` for another place, a different size, texture or
        narrowing, a side or place that is not stated, a lesion that is not mentioned or not measured, other ends,
        volume or side of the target region or field of view, a contoured lesion that the text leaves open; one ``pass``
        when nothing disagrees; ``not_evaluated`` when nothing was measured yet, and of what the text is sure of where
        the models only suspect it. Where no lesion was measured and the text reports none there is
        a ``warn`` (``report.clear``), no ``pass``: the models overlook much real disease.
    """
    if not measured:
        return [CheckResult("report.measured", "not_evaluated", "Nothing was measured on this CT yet.")]
    results: list[CheckResult] = []
    # What is suspected has to be told, too, and is then no claim of the text's own.
    truth = [f for f in measured if f.presence != "absent" and f.kind in LESIONS]
    claims = _one_sided([f for f in said if f.presence != "absent" and f.kind in LESIONS])
    pairs, free = _paired(truth, claims, said)
    pairs, alike = _told_once(pairs)
    for finding, claim in pairs:
        results += _missing(finding, said) if claim is None else _differences(finding, claim)
        if claim is not None:
            results += _certainty(finding, claim)
    results += alike
    for claim in free:
        results.append(
            CheckResult(
                "report.unsupported", "warn", f"The text reports {words(claim)}, which was not measured on this CT.",
                details={"said": claim.to_json()},
            )
        )  # fmt: skip
    for kind, name in REGIONS.items():
        results += _region(name, _first(kind, measured), _first(kind, said))
    if not truth and not claims:
        return [*results, CheckResult("report.clear", "warn", CLEAR)]
    return results or [CheckResult("report.agreement", "pass", _agreed(len(truth)))]


def _told_once(
    pairs: list[tuple[Finding, Finding | None]],
) -> tuple[list[tuple[Finding, Finding | None]], list[CheckResult]]:
    """Take lesions of the same words as one that the text tells out of those that are missing; say how many there are.

    A report names two nodes of one size and place in one sentence.
    """
    told = [finding for finding, claim in pairs if claim is not None]
    left: list[tuple[Finding, Finding | None]] = []
    count: dict[str, int] = {}
    for finding, claim in pairs:
        if claim is None and any(_same_words(finding, other) for other in told):
            count[words(finding)] = count.get(words(finding), 1) + 1
        else:
            left.append((finding, claim))
    said = [
        f"The text tells one of {n} lesions that are alike: {name}. Say how many there are."
        for name, n in count.items()
    ]
    return left, [CheckResult("report.alike", "warn", text) for text in said]


def _same_words(a: Finding, b: Finding) -> bool:
    return (
        words(a) == words(b) and a.presence == b.presence and a.attributes.get("texture") == b.attributes.get("texture")
    )


def _certainty(finding: Finding, claim: Finding) -> list[CheckResult]:
    """What a text says of a suspicion, and whether it leaves a contoured lesion open."""
    details = {"measured": finding.to_json(), "said": claim.to_json()}
    open_ = claim.presence == "indeterminate"
    if finding.presence == "indeterminate" and open_:
        text = f"A suspicion of the models: {words(finding)}. Confirm it or reject it on the CT."
        return [CheckResult("report.suspected", "warn", text, details={"measured": finding.to_json()})]
    if finding.presence == "indeterminate":
        text = f"The text is sure of {words(claim)}; the models only suspect it and measured nothing there."
        return [CheckResult("report.confirmed", "not_evaluated", text, details=details)]
    if open_ and (contour := finding.attributes.get("contour")):
        text = f"The text leaves open what the clinic contoured ({contour}): {words(finding)}."
        return [CheckResult("report.open", "warn", text, details=details)]
    return []


def check_treated(said: list[Finding], treated: str) -> list[CheckResult]:
    """A warning where the clinic contoured a target to treat and the text reports no mass and no node.

    Args:
        treated: The clinic's target of the highest level, in words; "" where it contoured none.
    """
    if not treated or any(f.kind in ("mass", "node") and f.presence != "absent" for f in said):
        return []
    text = (
        f"The text reports no mass and no node, and the clinic contoured a target to treat ({treated}). A gross tumour "
        "volume (GTVp, GTVn) among its structures would be measured and reported."
    )
    return [CheckResult("report.treated", "warn", text)]


def _first(kind: str, findings: list[Finding]) -> Finding | None:
    return next((f for f in findings if f.kind == kind and f.presence != "absent"), None)


def _region(name: str, measured: Finding | None, claim: Finding | None) -> list[CheckResult]:
    """Hold ends, side and volume of a region against the measured ones, where both are told."""
    if claim is None:
        return []
    if measured is None:
        text = f"{name}: the text describes one, none was measured on this CT."
        return [CheckResult("report.unsupported", "warn", text, details={"said": claim.to_json()})]
    found = [
        (f"{end} end", told, there)
        for word, end in (("superior", "upper"), ("inferior", "lower"))
        if (told := claim.attributes.get(word)) != (there := measured.attributes.get(word)) and told and there
    ]
    if None not in (claim.side, measured.side) and claim.side != measured.side:
        found.append(("side", str(claim.side), str(measured.side)))
    told, there = (f.attributes.get("volume_ml") for f in (claim, measured))
    if told and there and abs(told - there) > max(VOLUME_TOLERANCE_ML, VOLUME_TOLERANCE_SHARE * there):
        found.append(("volume", f"{_number(told)} mL", f"{_number(there)} mL"))
    details = {"measured": measured.to_json(), "said": claim.to_json()}
    return [
        CheckResult("report.region", "warn", f"{name}, {what}: the text says {a}, measured {b}.", details=details)
        for what, a, b in found
    ]


def _agreed(count: int) -> str:
    return f"{'The measured lesion agrees' if count == 1 else f'All {count} measured lesions agree'} with the text."


def _paired(
    truth: list[Finding], claims: list[Finding], said: list[Finding]
) -> tuple[list[tuple[Finding, Finding | None]], list[Finding]]:
    """Give every measured lesion the claim that is most like it; also return the claims left over.

    Exact matches come first, so that a wrong-side claim is not spent on a lesion that has its own sentence. A lesion
    that the text denies at its very place takes only an exact claim: "no node in level II, node in level III" is no
    level II node told at the wrong level.
    """
    free = list(claims)
    pairs: list[tuple[Finding, Finding | None]] = []
    for score_at_least in (EXACT, 1):
        for finding in truth:
            if any(finding is f for f, _ in pairs):
                continue
            best = max(free, key=lambda c: _likeness(finding, c), default=None)
            score = 0 if best is None else _likeness(finding, best)
            if score >= score_at_least and (score == EXACT or not _denied_there(finding, said)):
                pairs.append((finding, best))
                free = [c for c in free if c is not best]
    pairs += [(f, None) for f in truth if not any(f is g for g, _ in pairs)]
    return pairs, free


def words(finding: Finding) -> str:
    """Name a finding shortly: kind, size, side, place."""
    size = f"{_number(finding.size_mm)} mm" if finding.size_mm is not None else ""
    noun = {"node": "node", "mass": "mass", "airway": "airway narrowing"}.get(finding.kind, finding.kind)
    return " ".join(part for part in (size, noun, _where(finding)) if part)


def _number(value: float) -> str:
    """A measurement as it is compared, to a tenth: of 15.4 against 12, "15 and 12" would look like within tolerance."""
    return f"{round(value, 1):g}"


def _where(finding: Finding) -> str:
    """Place and side in words: "in the left level II", "in the left retropharyngeal region", "on the left"."""
    side = finding.side if finding.side in ("left", "right", "midline") else ""
    both = "on both sides" if finding.side == "bilateral" else ""
    numbered = finding.level is not None and finding.level.rstrip("AB").isupper()
    if numbered:
        name = f"level {finding.level}"
    else:
        name = f"{finding.level} region" if finding.level else (finding.site or "")
    if not name:
        return {"": both, "midline": "in the midline"}.get(side, f"on the {side}")
    article = "" if numbered and not side else "the"
    return " ".join(part for part in ("in", article, side, name, both) if part)


def _one_sided(findings: list[Finding]) -> list[Finding]:
    """A bilateral node is one node on each side."""
    out: list[Finding] = []
    for f in findings:
        if f.side == "bilateral" and f.kind == "node":
            out += [Finding(**{**vars(f), "side": side}) for side in ("right", "left")]
        else:
            out.append(f)
    return out


def _same_place(measured: Finding, claim: Finding) -> bool:
    """Whether a claim names the measured place; "level II/III" names both."""
    also = str(claim.attributes.get("also_level", "")).split("/") if claim.kind == "node" else []
    return measured.place == claim.place or (measured.place is not None and measured.place in also)


def _likeness(measured: Finding, claim: Finding) -> int:
    """0 for another kind; 1 for the same kind, 1 more for the same side, 1 more for the same place."""
    if measured.kind != claim.kind:
        return 0
    return 1 + int(measured.side == claim.side) + int(_same_place(measured, claim))


def _denies(absent: Finding, finding: Finding) -> bool:
    return (
        absent.presence == "absent" and absent.kind == finding.kind
        and absent.side in (None, "bilateral", finding.side) and absent.place in (None, finding.place)
    )  # fmt: skip


def _denied_there(finding: Finding, said: list[Finding]) -> bool:
    """Whether the text denies a lesion at this very place or side, not just in general ("no adenopathy")."""
    return any(
        _denies(f, finding) and (f.place is not None or f.side == finding.side is not None)
        and not f.attributes.get("other_than_listed")
        for f in said
    )  # fmt: skip


def _missing(finding: Finding, said: list[Finding]) -> list[CheckResult]:
    details = {"measured": finding.to_json()}
    if finding.presence == "indeterminate":
        text = f"The text leaves out what the models suspect: {words(finding)}. Confirm it or reject it on the CT."
        return [CheckResult("report.suspected", "warn", text, details=details)]
    if any(_denies(f, finding) for f in said):
        text = f"The text denies what was measured: {words(finding)}."
        return [CheckResult("report.presence", "fail", text, details=details)]
    return [CheckResult("report.omission", "warn", f"The text does not mention {words(finding)}.", details=details)]


def _differences(finding: Finding, claim: Finding) -> list[CheckResult]:
    details = {"measured": finding.to_json(), "said": claim.to_json()}
    place = "level" if finding.kind == "node" else "site"
    found: list[tuple[str, str, str]] = []
    if claim.side != finding.side and None not in (claim.side, finding.side):
        found.append(("side", "fail", f"Side: the text says {claim.side}, measured {finding.side}"))
    if not _same_place(finding, claim) and None not in (claim.place, finding.place):
        text = f"{place.capitalize()}: the text says {claim.place}, measured {finding.place}"
        found.append((place, "warn", text))
    if unstated := _unstated(finding, claim, place):
        found.append(("unstated", "warn", f"The text does not state the {' and '.join(unstated)}"))
    if claim.size_mm is not None and finding.size_mm is not None:
        gap = abs(claim.size_mm - finding.size_mm)
        if gap > max(SIZE_TOLERANCE_MM, SIZE_TOLERANCE_SHARE * finding.size_mm):
            text = f"Size: the text says {_number(claim.size_mm)} mm, measured {_number(finding.size_mm)} mm"
            found.append(("size", "warn", text))
    textures = [f.attributes.get("texture") for f in (claim, finding)]
    if None not in textures and textures[0] != textures[1]:
        found.append(("texture", "warn", f"Texture: the text says {textures[0]}, measured {textures[1]}"))
    found += _narrowing(finding, claim)
    return [
        CheckResult(f"report.{name}", status, f"{text} ({words(finding)}).", details=details)  # type: ignore[arg-type]
        for name, status, text in found
    ]


def _unstated(finding: Finding, claim: Finding, place: str) -> list[str]:
    """What the text leaves open of a measured node or mass; an airway narrowing is often told without a side."""
    if finding.kind == "airway":
        return []
    pairs = (("side", finding.side, claim.side), (place, finding.place, claim.place))
    return [name for name, measured, told in pairs if measured is not None and told is None]


def _narrowing(finding: Finding, claim: Finding) -> list[tuple[str, str, str]]:
    measured, told = finding.attributes.get("narrowing_pct"), claim.attributes.get("narrowing_pct")
    if measured is None:
        return []
    if told is not None and abs(told - measured) > NARROWING_TOLERANCE_PCT:
        return [("narrowing", "warn", f"Narrowing: the text says {_number(told)} %, measured {_number(measured)} %")]
    word = claim.attributes.get("narrowing_word")
    if told is None and word is not None and word != narrowing_word(measured):
        return [("narrowing", "warn", f"Narrowing: the text says {word}, measured {_number(measured)} %")]
    return []
