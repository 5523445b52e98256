"""Hold a report's statements against what was measured on the CT; every disagreement becomes a check result."""

from __future__ import annotations

from hnvlm.types import CheckResult, Finding

LESIONS = ("node", "mass", "airway")
# Two readers of one node differ by about 2-3 mm; larger differences are worth a look.
SIZE_TOLERANCE_MM, SIZE_TOLERANCE_SHARE = 3.0, 0.2


def check_agreement(said: list[Finding], measured: list[Finding]) -> list[CheckResult]:
    """Compare present lesions of a text with the measured ones.

    Args:
        said: Parsed from the text.
        measured: Of the CT.

    Returns:
        ``fail`` for a wrong side or a denied lesion, ``warn`` for another place, a different size, a lesion
        that is not mentioned or not measured; one ``pass`` when nothing disagrees; ``not_evaluated`` when
        nothing was measured yet.
    """
    if not measured:
        return [CheckResult("report.measured", "not_evaluated", "Nothing was measured on this CT yet.")]
    results: list[CheckResult] = []
    truth = [f for f in measured if f.presence == "present" and f.kind in LESIONS]
    claims = _one_sided([f for f in said if f.presence != "absent" and f.kind in LESIONS])
    free = list(claims)
    pairs: list[tuple[Finding, Finding | None]] = []
    # Exact matches first, so that a wrong-side claim is not spent on a lesion that has its own sentence.
    for score_at_least in (3, 1):
        for finding in truth:
            if any(finding is f for f, _ in pairs):
                continue
            best = max(free, key=lambda c: _likeness(finding, c), default=None)
            if best is not None and _likeness(finding, best) >= score_at_least:
                pairs.append((finding, best))
                free = [c for c in free if c is not best]
    pairs += [(f, None) for f in truth if not any(f is g for g, _ in pairs)]
    for finding, claim in pairs:
        results += _missing(finding, said) if claim is None else _differences(finding, claim)
    for claim in free:
        results.append(
            CheckResult(
                "report.unsupported", "warn", f"The text reports {words(claim)}, which was not measured on this CT.",
                details={"said": claim.to_json()},
            )
        )  # fmt: skip
    if not results:
        results.append(
            CheckResult("report.agreement", "pass", f"All {len(truth)} measured lesions agree with the text.")
        )
    return results


def words(finding: Finding) -> str:
    """Name a finding shortly: kind, size, side, place."""
    size = f"{finding.size_mm:.0f} mm" if finding.size_mm is not None else ""
    place = f"level {finding.level}" if finding.level else (finding.site or "")
    noun = {"node": "node", "mass": "mass", "airway": "airway narrowing"}.get(finding.kind, finding.kind)
    return " ".join(p for p in (size, noun, "in the" if place or finding.side else "", finding.side or "", place) if p)


def _one_sided(findings: list[Finding]) -> list[Finding]:
    """A bilateral node is one node on each side."""
    out: list[Finding] = []
    for f in findings:
        if f.side == "bilateral" and f.kind == "node":
            out += [Finding(**{**vars(f), "side": side}) for side in ("right", "left")]
        else:
            out.append(f)
    return out


def _place(finding: Finding) -> str | None:
    return finding.level if finding.kind == "node" else finding.site


def _likeness(measured: Finding, claim: Finding) -> int:
    """0 for another kind; 1 for the same kind, 1 more for the same side, 1 more for the same place."""
    if measured.kind != claim.kind:
        return 0
    return 1 + int(measured.side == claim.side) + int(_place(measured) == _place(claim))


def _missing(finding: Finding, said: list[Finding]) -> list[CheckResult]:
    denied = [
        f for f in said
        if f.presence == "absent" and f.kind == finding.kind
        and f.side in (None, "bilateral", finding.side) and _place(f) in (None, _place(finding))
    ]  # fmt: skip
    details = {"measured": finding.to_json()}
    if denied:
        text = f"The text denies what was measured: {words(finding)}."
        return [CheckResult("report.presence", "fail", text, details=details)]
    return [CheckResult("report.omission", "warn", f"The text does not mention {words(finding)}.", details=details)]


def _differences(finding: Finding, claim: Finding) -> list[CheckResult]:
    results = []
    details = {"measured": finding.to_json(), "said": claim.to_json()}
    if claim.side != finding.side and None not in (claim.side, finding.side):
        text = f"Side: the text says {claim.side}, measured {finding.side} ({words(finding)})."
        results.append(CheckResult("report.side", "fail", text, details=details))
    if _place(claim) != _place(finding) and None not in (_place(claim), _place(finding)):
        name = "level" if finding.kind == "node" else "site"
        text = f"{name.capitalize()}: the text says {_place(claim)}, measured {_place(finding)} ({words(finding)})."
        results.append(CheckResult(f"report.{name}", "warn", text, details=details))
    if claim.size_mm is not None and finding.size_mm is not None:
        gap = abs(claim.size_mm - finding.size_mm)
        if gap > max(SIZE_TOLERANCE_MM, SIZE_TOLERANCE_SHARE * finding.size_mm):
            text = f"Size: the text says {claim.size_mm:.0f} mm, measured {finding.size_mm:.0f} mm ({words(finding)})."
            results.append(CheckResult("report.size", "warn", text, details=details))
    return results
