"""What the report model and the text reader are taught: facts, tokens, labels."""

from __future__ import annotations

import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models

from hnvlm.evaluate.own_reports import OwnReport
from hnvlm.models.checkpoint import save_model
from hnvlm.models.detect import MOST_TOLD
from hnvlm.models.report_model import (
    BOS,
    EOS,
    PAD,
    SPECIAL,
    ReportModel,
    as_seen,
    as_told,
    decoder_config,
    load_tokenizer,
    prompt_ids,
)
from hnvlm.models.text_tower import HEADS, NUMBERS
from hnvlm.report.impression import impression_of
from hnvlm.report.measured import headings, lesion_lines, measured_lines
from hnvlm.report.parse import parse
from hnvlm.report.render import render
from hnvlm.train import report, text
from hnvlm.train.pool import Encoded
from hnvlm.types import Finding


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    report.train_tokenizer(folder)
    return load_tokenizer(folder)


@pytest.mark.parametrize("language", ["en", "pl"])
def test_reports_survive_the_tokenizer(tokenizer, language):
    rng = random.Random(99)
    for _ in range(25):
        written = report.random_report(rng, language)
        encoded = tokenizer.encode(written)
        assert tokenizer.decode(encoded.ids) == written
        assert len(encoded.ids) < 420  # what the decoder writes at most
        assert not set(encoded.ids) & {tokenizer.token_to_id(s) for s in SPECIAL}


def test_any_text_survives_the_tokenizer(tokenizer):
    for written in ("Zażółć gęślą jaźń", "naïve 3 × 4 mm²", "日本 ☃", "  two  spaces\n\n", "<report en"):
        assert tokenizer.decode(tokenizer.encode(written).ids) == written


def test_every_digit_is_its_own_token(tokenizer):
    tokens = tokenizer.encode("measuring 128 mm").tokens
    assert [t for t in tokens if any(c.isdigit() for c in t)] == ["1", "2", "8"]


def test_special_tokens_are_those_of_the_decoder(tokenizer):
    config = decoder_config(tokenizer.get_vocab_size())
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == tuple(
        tokenizer.token_to_id(t) for t in (PAD, BOS, EOS)
    )
    assert [tokenizer.token_to_id(t) for t in SPECIAL] == list(range(len(SPECIAL)))
    assert 256 < tokenizer.get_vocab_size() <= report.VOCABULARY


def test_loss_leaves_padding_out():
    """A model that says the same of everything: the loss is ln V over real tokens, however long the padding."""

    class Flat(torch.nn.Module):
        def forward(self, tokens, prompt, ids):
            assert prompt.tolist() == [[0, 3], [4, 5]]  # padded in front
            out = torch.zeros(*ids.shape, 10)
            out[..., 7] = 1.0
            return out

    targets = [report.Target([7, 8, 7, 2], [1.0, 4.0, 1.0, 1.0]), report.Target([7], [1.0])]
    loss, right = report.report_loss(Flat(), torch.zeros(2, 512, 4), targets, [[3], [4, 5]], pad=0)
    e = np.exp(1.0)
    hit, miss = np.log(9 + e) - 1, np.log(9 + e)
    assert float(loss) == pytest.approx((3 * hit + (4 + 1) * miss) / 8, rel=1e-2)  # the 8 weighs four times
    assert right == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    ("language", "heavy", "light"),
    [
        ("en", ("No pathologically enlarged node in the right neck", "20 mm"), ("Coverage from", "dental artefact")),
        ("pl", ("Nie stwierdza się powiększonych węzłów", "20 mm"), ("Zakres badania", "Bez artefaktów")),
    ],
)
def test_the_lines_about_lesions_weigh_more(tokenizer, language, heavy, light):
    node = Finding("node", side="left", level="II", size_mm=20.0, attributes={"texture": "solid"})
    coverage = Finding("coverage", attributes={"superior": "vertex", "inferior": "larynx"})
    target = report.target_of(tokenizer, render([node, coverage], language=language), 2)
    assert target.ids[-1] == 2
    assert len(target.ids) == len(target.weights)

    def words(weight: float) -> str:
        return tokenizer.decode([i for i, w in zip(target.ids[:-1], target.weights, strict=False) if w == weight])

    assert all(text in words(report.LESION_WEIGHT) for text in heavy)
    assert all(text in words(1.0) for text in light)
    assert not any(text in words(1.0) for text in heavy)


TARGET = Finding("target", side="left", attributes={"volume_ml": 40.0})
AIRWAY = Finding("airway", "absent", attributes={"min_area_mm2": 300.0})
NARROW = Finding("airway", site="larynx", side="left", attributes={"narrowing_pct": 50.0})
MASS = Finding("mass", side="left", site="oral tongue", size_mm=20.0)


def test_measured_facts_follow_what_is_inserted():
    node = Finding("node", side="left", level="II", size_mm=20.0)
    assert report.findings_of([TARGET, AIRWAY], [node]) == [TARGET, AIRWAY, node]
    assert report.findings_of([TARGET, AIRWAY], [NARROW]) == [TARGET, NARROW]
    # A mass may fill the lumen: the area measured without it is not repeated.
    assert report.findings_of([AIRWAY], [MASS]) == [Finding("airway", "absent"), MASS]


@pytest.mark.parametrize("language", ["en", "pl"])
def test_random_facts_are_told_and_said_in_the_same_words(tokenizer, language):
    rng, told = random.Random(3), set()
    for _ in range(40):
        facts = report.random_facts(rng)
        lines = measured_lines(facts, language)
        told.add(lines)
        written = render(report.findings_of(facts, [MASS, NARROW]), language=language)
        # Technique, artefact and target word for word; of the airway the lesion is told.
        assert [line in written.split("\n") for line in lines.split("\n")] == [True, False, True, True]
        ids = prompt_ids(tokenizer, language, lines)
        assert ids[0] == tokenizer.token_to_id(f"<report {language}>") and tokenizer.decode(ids[1:]) == lines
        assert len(ids) < 130
    assert len(told) > 35


def test_a_lesion_that_is_there_has_the_size_and_texture_that_are_told():
    """Half of what is told is drawn at random; what is told and is not there is told all the same, and not reported."""
    node = Finding("node", side="left", level="II", size_mm=20.0, attributes={"texture": "solid"})
    mass = replace(MASS, attributes={"texture": "solid"})
    measured = Finding("node", side="left", level="III", size_mm=17.0, attributes={"texture": "necrotic"})
    false = Finding("node", side="right", level="IV", size_mm=12.0, attributes={"texture": "solid"})
    sample = Encoded(torch.zeros(1), 0, False, [mass, node], [(measured, 1), (false, None)])
    rng, sizes, textures, numbers = random.Random(5), [], set(), []
    for _ in range(200):
        findings, told = report.lesions_told(sample, rng)
        assert findings[1] == mass and len(findings) == 2  # what is told comes before what the maps do not show
        numbers.append(len(told))
        heard, other = (next(f for f in told if _place(f) == _place(x)) for x in (measured, false))
        assert told.index(heard) < told.index(other)  # the most certain first, whatever is told between them
        named = findings[0]
        assert named.level == "II"  # the place is what it is, size and texture as told
        assert named.size_mm == heard.size_mm and named.attributes["texture"] == heard.attributes["texture"]
        sizes.append(heard.size_mm)
        textures.add(heard.attributes["texture"])
    assert textures == {"solid", "necrotic"}
    assert 0.4 < sum(size == 17.0 for size in sizes) / 200 < 0.65 and min(sizes) >= 8 and max(sizes) <= 45
    assert set(numbers) == {2, 3, 4, 5, 6} and 0.5 < numbers.count(2) / 200 < 0.7
    assert sample.findings == [mass, node] and sample.seen[0][0] == measured


def test_what_is_told_first_is_named_first():
    nodes = [
        Finding("node", side="left", level=level, size_mm=20.0, attributes={"texture": "solid"}) for level in NODES
    ]
    seen = [(nodes[k], k) for k in (2, 0)]
    sample = Encoded(torch.zeros(1), 0, False, nodes, seen)
    findings, told = report.lesions_told(sample, random.Random(1))
    assert [f.level for f in findings] == [NODES[2], NODES[0], NODES[1]]
    assert [f.level for f in told if f.level in (NODES[0], NODES[2]) and f.side == "left"] == [NODES[2], NODES[0]]


NODES = ("II", "III", "IV")


def _place(finding):
    return finding.kind, finding.side, finding.level or finding.site


def test_lesions_that_are_nowhere_are_told_in_no_place_of_one_that_is():
    there = [Finding("node", side=side, level="II", size_mm=20.0) for side in ("left", "right")]
    told = [Finding("mass", side="left", site="larynx", size_mm=17.0, attributes={"texture": "solid"})]
    rng, first, places = random.Random(2), 0, set()
    for _ in range(300):
        out = report.crowded(told, there, rng)
        assert told[0] in out and 1 <= len(out) <= MOST_TOLD
        invented = [_place(f) for f in out if f is not told[0]]
        assert not {_place(f) for f in (*there, *told)} & set(invented)
        assert all(f.size_mm and f.attributes["texture"] for f in out)
        first += out[0] is told[0]
        places |= set(invented)
    assert 0.3 < first / 300 < 0.7 and len(places) > 15
    full = told * MOST_TOLD
    assert report.crowded(full, there, rng) == full


def test_what_is_told_of_an_own_report_keeps_its_lesion():
    seen = Finding("mass", side="left", site="oral tongue", size_mm=18.0, attributes={"texture": "solid"})
    sample = Encoded(torch.zeros(1), 0, False, [MASS], [(seen, 0)])
    bank = SimpleNamespace(patient=SimpleNamespace(patient_id="p"))
    node = Finding("node", side="right", level="III", size_mm=15.0)
    own = report.with_own_reports([sample], [bank], {"p": OwnReport((node,))})[0]
    assert own.findings == [node, MASS] and own.seen == [(seen, 1)]


@pytest.mark.parametrize("language", ["en", "pl"])
def test_a_measured_line_goes_on_as_it_was_told(tokenizer, language):
    facts = report.random_facts(random.Random(8))
    given = as_told(tokenizer, measured_lines(facts, language, firm=True))
    written = render(report.findings_of(facts, [NARROW, MASS]), language=language).split("\n")
    followed = 0
    for k, line in enumerate(written):
        heading, _, rest = line.partition(":")
        so_far = "\n".join([*written[:k], f"{heading}:"])
        went_on = tokenizer.decode(given(tokenizer.encode(so_far).ids))
        assert went_on in ("", rest or "\n")  # whatever is given is what the report says there
        followed += went_on != ""
        assert not rest or given(tokenizer.encode(so_far + rest[:5]).ids) == []
    assert followed == 5  # examination, technique, findings, artefact, target; never a line of lesions


@pytest.mark.parametrize("language", ["en", "pl"])
def test_given_headings_follow_each_other_whatever_the_lines_say(tokenizer, language):
    lines = headings(language)
    given = as_told(tokenizer, "", headings=lines)
    written = ""
    for heading in lines:
        ids = given(tokenizer.encode(written).ids)
        assert tokenizer.decode(ids) == f"{heading}:"
        assert given([*tokenizer.encode(written).ids, *ids]) == []
        written += f"{heading}: Nie wiem: x.\n"
    assert given(tokenizer.encode(written).ids) == []
    assert as_told(tokenizer, "")([]) == []


@pytest.mark.parametrize("language", ["en", "pl"])
def test_the_impression_goes_on_as_the_lines_above_it_say_and_ends_the_report(tokenizer, language):
    node = Finding("node", side="left", level="II", size_mm=25.0, attributes={"texture": "necrotic"})
    written = render(report.findings_of([TARGET], [MASS, node]), language=language)
    above, _, last = written.rpartition("\n")
    heading, _, rest = last.partition(":")
    given = as_told(tokenizer, "", lambda text: impression_of(text, language))
    ids = given(tokenizer.encode(f"{above}\n{heading}:").ids)
    assert tokenizer.decode(ids[:-1]) == rest and "25 mm" in rest and ids[-1] == tokenizer.token_to_id(EOS)
    assert given(tokenizer.encode(above).ids) == given(tokenizer.encode(f"{above}\n{heading}: {rest[:4]}").ids) == []
    own = as_told(tokenizer, "")
    assert own(tokenizer.encode(f"{above}\n{heading}:").ids) == []


def all_that_may_be_said(tokenizer, allowed, begun: str) -> set[str]:
    """Every way in which a line that was begun can go on to its end."""
    line_end, before = tokenizer.encode("\n").ids[0], tokenizer.encode(begun).ids
    said, open_ends = set(), [before]
    while open_ends:
        ids = open_ends.pop()
        ways = allowed(ids)
        if line_end in ways or not ways:
            said.add(tokenizer.decode(ids[len(before) :]))
        open_ends += [[*ids, way] for way in ways - {line_end}]
    return said


@pytest.mark.parametrize("language", ["en", "pl"])
def test_a_line_of_lesions_that_may_be_there_says_none_or_some_of_those_told(tokenizer, language):
    """On the demo neck, told of 32 mm in level II and 16 mm in level III, it wrote 16 mm in level II."""
    seen = [
        Finding("node", side="left", level=level, size_mm=size, attributes={"texture": "necrotic"})
        for level, size in (("II", 32.0), ("III", 16.0))
    ]
    lines = lesion_lines([*seen, seen[0], MASS], language)
    allowed = as_seen(tokenizer, lines)
    (heading,) = [h for h, sentences in lines.items() if len(sentences) == 3]
    none, first, second = lines[heading]
    said = all_that_may_be_said(tokenizer, allowed, f"X:\n{heading}:")
    assert said == {none, first, second, first + second, second + first}
    # Any other line, and the heading itself, is the model's own.
    right = next(line for line in render(seen, language=language).split("\n") if line.endswith(":"))
    for elsewhere in ("", heading, f"{heading}:{first}\n", f"{heading}:{none}\n{right}"):
        assert allowed(tokenizer.encode(elsewhere).ids) == set()


@pytest.mark.parametrize("language", ["en", "pl"])
def test_a_line_names_every_lesion_that_is_there_before_it_may_name_another(tokenizer, language):
    def node(level: str, size_mm: float) -> Finding:
        return Finding("node", side="left", level=level, size_mm=size_mm)

    sure, perhaps = [node("II", 32.0), node("IV", 9.0)], node("III", 16.0)
    lines = lesion_lines([*sure, perhaps], language)
    allowed = as_seen(tokenizer, lines, lesion_lines(sure, language))
    ((heading, (none, first, second, third)),) = lines.items()
    said = all_that_may_be_said(tokenizer, allowed, f"{heading}:")
    assert none not in said and said == {first + second, first + second + third}


def test_random_reports_say_one_thing_of_the_airway():
    rng = random.Random(0)
    targets = []
    for _ in range(60):
        found = parse(report.random_report(rng, "en"))
        assert sum(f.kind == "airway" for f in found) == 1
        targets.append(sum(f.kind == "target" for f in found))
    assert set(targets) == {0, 1}  # that none is predicted is said, too


def test_labels_by_hand():
    stated = {
        "op": "add", "kind": "node", "place": "II", "side": "left", "texture": None, "size_mm": 30.0,
        "narrowing_pct": None,
    }  # fmt: skip
    none = dict.fromkeys(stated) | {"op": "none"}
    made = text.label_tensors([stated, none])
    assert made["op"].tolist() == [HEADS["op"].index("add"), HEADS["op"].index("none")]
    assert made["place"].tolist() == [HEADS["place"].index("II"), HEADS["place"].index("unstated")]
    assert made["texture"].tolist() == [HEADS["texture"].index("unstated")] * 2
    assert made["size_mm"].tolist() == [[30.0 / NUMBERS["size_mm"], 1.0], [0.0, 0.0]]
    assert made["narrowing_pct"].tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("bank", ["train", "mid", "held"])
def test_every_sampled_sentence_has_labels_the_reader_knows(bank):
    rng = random.Random(5)
    pairs = [text.sample_sentence(rng, bank) for _ in range(120)]
    made = text.label_tensors([labels for _, labels in pairs])
    assert {len(v) for v in made.values()} == {120}
    assert {labels["op"] for _, labels in pairs} == {"add", "remove", "none"}
    again = [text.sample_sentence(random.Random(5), bank) for _ in range(1)]
    assert again[0][0] == pairs[0][0]


def test_collate_pads_and_masks():
    features, mask = text.collate([torch.ones(2, 384).half(), 2 * torch.ones(4, 384).half()])
    assert features.shape == (2, 4, 384)
    assert features.dtype == torch.float32
    assert mask.tolist() == [[True, True, False, False], [True] * 4]
    assert features[0, 2:].abs().max() == 0


def test_a_decoder_goes_on_under_another_encoder(tmp_path):
    """Tokens of another width need a new projector; the decoder keeps what it knows."""
    torch.manual_seed(0)
    shipped, wider = ReportModel(40, 6, 16, 1), ReportModel(40, 9, 16, 1)
    fresh = {k: v.clone() for k, v in wider.state_dict().items()}
    save_model(tmp_path, shipped, {"steps": 70}, dtype=torch.float32)
    report.go_on(wider, tmp_path, 70)
    taken = wider.state_dict()
    changed = {k for k, v in taken.items() if not torch.equal(v, fresh[k])}
    assert "decoder.embed_tokens.weight" in changed
    assert not changed & {"projector.linear.weight", "projector.strongest.weight"}
    for name in changed:
        assert torch.equal(taken[name], shipped.state_dict()[name])


def test_weights_never_meet_another_tokenizer(tmp_path, monkeypatch):
    """A training wrote its tokenizer beside the shipped weights before it had any of its own."""
    shipped, kept = tmp_path / "pack", tmp_path / "work"
    shipped.mkdir()
    alphabet = {"<pad>": 0, "a": 1}
    Tokenizer(models.WordLevel(alphabet, unk_token="<pad>")).save(str(shipped / "tokenizer.json"))
    before = (shipped / "tokenizer.json").read_bytes()

    def fresh(folder):
        folder.mkdir(parents=True, exist_ok=True)
        made = Tokenizer(models.WordLevel({"<pad>": 0, "b": 1}, unk_token="<pad>"))
        made.save(str(folder / "tokenizer.json"))
        return made

    monkeypatch.setattr(report, "train_tokenizer", fresh)
    first = report.tokenizer_of_run(shipped, kept, resume=False, from_pack=False)
    assert first.get_vocab() == {"<pad>": 0, "b": 1}
    assert (shipped / "tokenizer.json").read_bytes() == before
    assert report.tokenizer_of_run(shipped, kept, resume=False, from_pack=True).get_vocab() == alphabet
    monkeypatch.setattr(report, "train_tokenizer", lambda folder: pytest.fail("resumed with a new one"))
    assert report.tokenizer_of_run(shipped, kept, resume=True, from_pack=False).get_vocab() == alphabet
