"""Treatment options of regimens.yaml that fit a case: what applies, what depends, what is advised against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from hnvlm.plan.conditions import Context, holds, judge, lookup
from hnvlm.plan.kb import Document, KnowledgeBase, documents

# From here on cure needs a reason, and relief comes before the drugs of recurrent disease (rules of safety.yaml).
POOR_ECOG = 3
_STRENGTH_ORDER = {"standard": 0, "option": 1, "selected": 2}
CHECKPOINT = ("pembrolizumab", "nivolumab", "durvalumab")
CISPLATIN_AGENTS = frozenset({"cis_q3w", "cis_q3w_x2", "cis_weekly40"})


@dataclass(frozen=True)
class Option:
    """One entry of the option table.

    Attributes:
        actions: Tokens of actions.yaml, in the order of the source.
        labels: The same in words.
        depends_on: Missing facts that decide whether it applies; empty when it applies.
        against: What the form says against each action, "" where nothing; () where nothing against any.
        caution: What asks for a reason before any of it, "" where nothing does.
    """

    id: str
    actions: tuple[str, ...]
    labels: tuple[str, ...]
    principle: str
    strength: str
    sources: tuple[Document, ...]
    verified: bool
    depends_on: tuple[str, ...] = ()
    rank: tuple[int, int, int] = (1, 2, 3)
    against: tuple[str, ...] = ()
    caution: str = ""

    @property
    def ruled_out(self) -> bool:
        """The form speaks against every treatment of the entry."""
        return bool(self.against) and all(self.against)

    @property
    def in_words(self) -> str:
        """What fits this patient, then what the form rules out and why."""
        against = self.against or ("",) * len(self.labels)
        fits = [label for label, why in zip(self.labels, against, strict=True) if not why]
        out = [f"{label} ({why})" for label, why in zip(self.labels, against, strict=True) if why]
        parts = [" / ".join(fits)] if fits else []
        if out:
            parts.append(f"{'ruled out by the form: ' if fits else ''}{' / '.join(out)}")
        return "; ".join(parts) + (f" ({self.caution})" if self.caution else "")

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serialisable dict."""
        return {
            "id": self.id, "options": list(self.labels), "in_words": self.in_words,
            "ruled_out": self.ruled_out, "principle": self.principle, "strength": self.strength,
            "depends_on": list(self.depends_on), "verified": self.verified, "sources": [d.title for d in self.sources],
        }  # fmt: skip


@dataclass(frozen=True)
class OptionSet:
    """All options of a case: verified ones that apply or depend, verified advice against, and unverified ones.

    Attributes:
        without_surgery: The disease is judged not resectable, so options with an operation to come are left out.
    """

    applies: tuple[Option, ...] = ()
    depends: tuple[Option, ...] = ()
    avoid: tuple[Option, ...] = ()
    unverified: tuple[Option, ...] = ()
    without_surgery: bool = False

    def leads(self, kb: KnowledgeBase) -> list[Option]:
        """Return the options that name a whole treatment, the most specific and strongest first."""
        whole = [o for o in self.applies if any(action(kb, a)["kind"] in ("primary", "systemic") for a in o.actions)]
        return sorted(whole, key=lambda o: o.rank)

    def lead(self, kb: KnowledgeBase) -> Option | None:
        """Return the first of ``leads``, or None."""
        return next(iter(self.leads(kb)), None)


def action(kb: KnowledgeBase, token: str) -> dict[str, Any]:
    """Return the entry of actions.yaml for an option token."""
    return kb["actions"]["actions"][token]


def _specificity(entry: dict[str, Any], site: str) -> int | None:
    """0 for the site itself, 1 for its family, 2 for any site; None when the entry is not for this site."""
    wanted = entry["site"]
    if wanted == site:
        return 0
    if wanted == "larynx" and site.startswith("larynx_"):
        return 1
    return 2 if wanted == "any" and site not in entry.get("not_sites", ()) else None


def ruled_out(kb: KnowledgeBase, agent_id: str, context: Context) -> str:
    """Why the form rules a regimen out whatever the disease, or "" (as the rules of safety.yaml on both have it)."""
    names = kb.entry(agent_id)["agent"]
    if "platin" in names and lookup(context, "patient.platinum_hypersensitivity") is True:
        return "platinum hypersensitivity is stated"
    if any(drug in names for drug in CHECKPOINT) and lookup(context, "patient.autoimmune_active_or_transplant") is True:
        return "active autoimmune disease or a transplant is stated"
    if lookup(context, "plan.concurrent_systemic") == "none":
        return "systemic treatment is not possible or not wanted"
    return ""


def open_to(kb: KnowledgeBase, token: str, context: Context) -> bool:
    """Whether the form leaves at least one regimen of an option token (true for one without drugs)."""
    agents = action(kb, token).get("agents", ())
    return not agents or any(not ruled_out(kb, agent, context) for agent in agents)


def _against(kb: KnowledgeBase, token: str, context: Context) -> str:
    """What the form says against an option, or ""."""
    if lookup(context, "patient.cisplatin_eligible") is False and uses_cisplatin(kb, token):
        return "cisplatin is contraindicated"
    return "" if open_to(kb, token, context) else ruled_out(kb, action(kb, token)["agents"][0], context)


def _surgery_left_out(context: Context) -> bool:
    """Whether the surgeon's answer closes the options with an operation still to come."""
    return lookup(context, "case.resectable") is False and lookup(context, "case.setting") != "postoperative"


def _population_fits(kb: KnowledgeBase, token: str, entry_id: str, context: Context) -> bool:
    """Whether an option word may stand in an entry: some were studied in a population that has an entry of its own."""
    wanted = action(kb, token).get("only_if", entry_id)
    return wanted == entry_id or holds(kb.entry(wanted)["when"], context)


def _mentions(condition: Any, path: str) -> bool:
    if isinstance(condition, dict):
        return condition.get("f") == path or any(_mentions(v, path) for v in condition.values())
    return isinstance(condition, list) and any(_mentions(v, path) for v in condition)


def _in_setting(entry: dict[str, Any], kinds: Iterable[str], context: Context) -> bool:
    """Leave out what was written for another setting, or for cure when the intent is palliative.

    Entries for definitive treatment do not mention the setting at all; after surgery, in recurrent disease or
    with palliative intent they say nothing.
    """
    when, setting = entry.get("when"), lookup(context, "case.setting")
    if setting not in entry.get("settings", (setting,)):
        return False
    if kinds and set(kinds) <= {"avoid"}:
        # What is advised against was studied in definitive treatment: it says nothing of 60 Gy after surgery, or of 30.
        return setting == "definitive" and lookup(context, "case.intent") != "palliative"
    if when is None or set(kinds) <= {"follow_up"}:
        return True
    for_palliation = _mentions(when, "case.intent")
    if setting == "recurrent_metastatic" or lookup(context, "case.intent") == "palliative":
        return for_palliation or setting in entry.get("settings", ()) or _mentions(when, "case.setting")
    if for_palliation:
        return False
    return setting == "definitive" or _mentions(when, "case.setting")


def _rank(entry: dict[str, Any], specificity: int) -> tuple[int, int, int]:
    return entry.get("precedence", 1), specificity, _STRENGTH_ORDER.get(entry.get("strength", ""), 1)


def find_options(kb: KnowledgeBase, context: Context, site: str) -> OptionSet:
    """Match every entry of the option table against a staged case.

    Args:
        context: Nested facts with ``case.t/n/m/stage_group`` set as far as derived.
        site: Key of the staging site map.
    """
    groups: dict[str, list[Option]] = {"applies": [], "depends": [], "avoid": [], "unverified": []}
    for entry in kb["regimens"]["options"]:
        specificity = _specificity(entry, site)
        if specificity is None:
            continue
        avoid = entry.get("options_avoid", [])
        tokens = tuple(entry.get("options", avoid))
        if not avoid and _surgery_left_out(context):
            tokens = tuple(t for t in tokens if "surgery" not in action(kb, t)["modalities"])
        tokens = tuple(t for t in tokens if _population_fits(kb, t, entry["id"], context))
        if lookup(context, "patient.prior_neck_rt") is False:
            tokens = tuple(t for t in tokens if not action(kb, t).get("irradiates_again"))
        kinds = [action(kb, t)["kind"] for t in tokens]
        if not tokens or not _in_setting(entry, kinds, context):
            continue
        if "unless" in entry and holds(entry["unless"], context):
            continue
        verdict = judge(entry["when"], context) if "when" in entry else None
        if verdict is not None and verdict.truth is False:
            continue
        depends = tuple(sorted(verdict.missing)) if verdict is not None and verdict.truth is None else ()
        if depends and "ask_when" in entry and not holds(entry["ask_when"], context):
            continue
        if depends and set(kinds) == {"systemic"} and lookup(context, "plan.concurrent_systemic") == "none":
            continue  # nothing to ask for where no drug is wanted
        against = ("",) * len(tokens) if avoid else tuple(_against(kb, t, context) for t in tokens)
        option = Option(
            entry["id"], tokens, tuple(action(kb, t)["label"] for t in tokens),
            entry.get("principle", "") if entry["verified"] else "", entry.get("strength", ""), documents(entry),
            entry["verified"], depends, _rank(entry, specificity), against,
            _frail(kinds, context),
        )  # fmt: skip
        group = "unverified" if not option.verified else "avoid" if avoid else "depends" if depends else "applies"
        groups[group].append(option)
    groups["depends"] = [option for option in groups["depends"] if _adds(kb, option, groups["applies"])]
    together = _drugs_with_radiotherapy(kb, [*groups["applies"], *groups["depends"]], context)
    for name in () if together else ("avoid", "unverified"):
        groups[name] = [kept for option in groups[name] if (kept := _without_drug_advice(kb, option)).actions]
    ordered = {name: tuple(sorted(found, key=lambda o: o.rank)) for name, found in groups.items()}
    return OptionSet(**ordered, without_surgery=_surgery_left_out(context))


def _adds(kb: KnowledgeBase, option: Option, applies: Iterable[Option]) -> bool:
    """Whether it matters if a waiting option applies: not where the form rules its drugs out, or another names it all.

    Around cisplatin the tables know ways: what rests on it counts.
    """
    kinds = {action(kb, token)["kind"] for token in option.actions}
    if option.ruled_out and kinds <= {"systemic", "addon"}:
        return False
    against = option.against or ("",) * len(option.actions)
    left = {t for t, why in zip(option.actions, against, strict=True) if not why or uses_cisplatin(kb, t)}
    return not any(left <= set(other.actions) and other.rank <= option.rank for other in applies)


def _frail(kinds: Iterable[str], context: Context) -> str:
    """Drugs alone in a poor state: ``sys_rm_ecog3`` asks for a reason where one is drafted; the others are told."""
    ecog = lookup(context, "patient.ecog")
    poor = ecog is not None and ecog >= POOR_ECOG
    return f"ECOG {ecog} is stated: to be justified" if poor and set(kinds) == {"systemic"} else ""


def _drugs_with_radiotherapy(kb: KnowledgeBase, options: Iterable[Option], context: Context) -> bool:
    """Whether a treatment with drugs during definitive radiotherapy is in question."""
    found = (action(kb, token) for option in options for token in option.actions)
    combined = any(a.get("rt") == "definitive" and "systemic" in a["modalities"] for a in found)
    return combined and lookup(context, "plan.concurrent_systemic") != "none"


def _without_drug_advice(kb: KnowledgeBase, option: Option) -> Option:
    """Leave out what an option advises against drugs with radiotherapy."""
    kept = [
        i for i, token in enumerate(option.actions)
        if action(kb, token)["kind"] != "avoid" or "systemic" not in action(kb, token)["modalities"]
    ]  # fmt: skip
    values = {name: tuple(getattr(option, name)[i] for i in kept) for name in ("actions", "labels", "against")}
    return replace(option, **values)


def uses_cisplatin(kb: KnowledgeBase, token: str) -> bool:
    """Whether an option token rests on cisplatin."""
    return action(kb, token).get("cisplatin", False) or bool(
        CISPLATIN_AGENTS & set(action(kb, token).get("agents", ()))
    )


def lists_platinum(kb: KnowledgeBase, token: str) -> bool:
    """Whether a drug of an option token is a platinum, cisplatin or of choice."""
    return any("platin" in kb.entry(agent)["agent"] for agent in action(kb, token).get("agents", ()))


def other_choices(kb: KnowledgeBase, option: Option, drafted: str | None, context: Context) -> tuple[str, ...]:
    """What an option recommends as much as the drafted treatment, as far as the form leaves it."""
    if not kb.entry(option.id).get("choice") or drafted not in option.actions:
        return ()
    refused = lookup(context, "plan.concurrent_systemic") == "none"
    out = lookup(context, "patient.cisplatin_eligible") is False
    return tuple(
        token for token in option.actions
        if token != drafted and not (refused and "systemic" in action(kb, token)["modalities"])
        and not (out and uses_cisplatin(kb, token))
    )  # fmt: skip


def drugs_with_radiotherapy(kb: KnowledgeBase, token: str | None) -> bool | None:
    """Whether drugs go with the drafted radiotherapy; None where that is open or nothing is irradiated."""
    entry = action(kb, token) if token else {"rt": "none"}
    if entry["rt"] == "none" or (entry["rt"] == "postoperative" and "surgery" in entry["modalities"]):
        return None  # what goes with it after an operation is for the specimen to say
    return "systemic" in entry["modalities"]


def pathology_may_ask(context: Context) -> bool:
    """Whether cisplatin after surgery still hangs on the specimen: not with both risks excluded, not when refused."""
    excluded = lookup(context, "path.ene") is False and lookup(context, "path.margin") in ("negative", "close")
    return not excluded and lookup(context, "plan.concurrent_systemic") != "none"
