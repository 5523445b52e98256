"""The decoder: cache, masks, pixel shuffle and the presence score."""

from __future__ import annotations

import pytest
import torch

from hnvlm.errors import ModelPackError
from hnvlm.models.report_model import (
    STRONGEST,
    Projector,
    ReportModel,
    decode,
    load_tokenizer,
    model_config,
    presence_score,
)

VOCABULARY, TOKEN_WIDTH = 50, 6
END = 2


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    net = ReportModel(VOCABULARY, TOKEN_WIDTH, width=32, layers=3).eval()
    # Larger weights than at the start of a training, so that what is read changes what is written; small embeddings,
    # so that the last word does not simply repeat itself.
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.ndim == 2 and "projector" not in name:
                p.normal_(0, 0.05 if "embed" in name else 0.35)
    return net


@pytest.fixture(scope="module")
def tokens():
    return torch.randn(1, 512, TOKEN_WIDTH, generator=torch.Generator().manual_seed(7))


PROMPT = torch.tensor([[3]])


def hidden_of(model, *args) -> torch.Tensor:
    """Hidden states of prefix and text in one forward pass."""
    kept = []
    hook = model.decoder.register_forward_hook(lambda _m, _a, out: kept.append(out.last_hidden_state))
    with torch.inference_mode():
        model(*args)
    hook.remove()
    return kept[0]


def test_decoding_with_a_cache_equals_the_teacher_forced_pass(model, tokens):
    seen: list[torch.Tensor] = []
    ids = list(decode(model, tokens, PROMPT, end=-1, max_length=24, on_step=lambda p, c: seen.append(p)))
    assert len(ids) == 24
    assert len(set(ids)) > 3  # a text, not one word over and over
    with torch.inference_mode():
        logits = model(tokens, PROMPT, torch.tensor([ids]))[0]
    assert logits.shape == (24, VOCABULARY)
    assert logits.argmax(-1).tolist() == ids
    torch.testing.assert_close(torch.stack(seen), logits.softmax(-1), atol=1e-4, rtol=1e-3)


def test_decoding_stops_at_the_end_and_repeats_itself(model, tokens):
    ids = list(decode(model, tokens, PROMPT, end=-1, max_length=12))
    end = ids[5]
    first = ids.index(end)
    told: list[int] = []
    short = list(decode(model, tokens, PROMPT, end=end, max_length=12, on_step=lambda p, c: told.append(c)))
    assert short == ids[:first]
    assert told == ids[: first + 1]  # the end itself is chosen and told, not written


def test_the_prefix_is_read_in_both_directions(model, tokens):
    """The very first CT token sees the very last one and the prompt."""
    text = torch.tensor([[9, 4, 11]])
    base = hidden_of(model, tokens, PROMPT, text)
    assert base.shape == (1, 64 + STRONGEST + 1 + 2, 32)
    late = tokens.clone()
    late[0, -1] = -3 * late[0, -1].flip(0)
    assert not torch.allclose(hidden_of(model, late, PROMPT, text)[0, 0], base[0, 0], atol=1e-3)
    assert not torch.allclose(hidden_of(model, tokens, torch.tensor([[4]]), text)[0, 0], base[0, 0], atol=1e-3)


def test_the_text_is_read_from_left_to_right(model, tokens):
    """Changing id 3 leaves the predictions of ids 0 to 3 as they are and changes that of id 4."""
    text = torch.tensor([[9, 4, 11, 20, 6, 8]])
    other = text.clone()
    other[0, 3] = 33
    with torch.inference_mode():
        a, b = model(tokens, PROMPT, text)[0], model(tokens, PROMPT, other)[0]
    torch.testing.assert_close(a[:4], b[:4])
    assert not torch.allclose(a[4], b[4], atol=1e-3)
    late = tokens.clone()
    late[0, -1] = -3 * late[0, -1].flip(0)
    with torch.inference_mode():
        assert not torch.allclose(model(late, PROMPT, text)[0, 0], a[0], atol=1e-3)


def test_padding_in_front_of_a_prompt_changes_nothing(model, tokens):
    """A prompt of one id beside one of four: as if each were alone, and decoding writes what training reads."""
    short, long, text = [3], [4, 17, 8, 30], torch.tensor([[9, 4, 11, 20], [6, 8, 5, 5]])
    both = torch.cat([tokens, tokens.flip(1)])
    with torch.inference_mode():
        batch = model(both, torch.tensor([[0, 0, 0, *short], long]), text)
        for row, prompt in enumerate((short, long)):
            alone = model(both[row : row + 1], torch.tensor([prompt]), text[row : row + 1])
            torch.testing.assert_close(batch[row : row + 1], alone, atol=1e-5, rtol=1e-4)
    ids = list(decode(model, tokens, torch.tensor([long]), end=-1, max_length=10))
    with torch.inference_mode():
        assert model(tokens, torch.tensor([[0, 0, *long]]), torch.tensor([ids])).argmax(-1)[0].tolist() == ids


def test_the_prefix_does_not_see_the_text(model, tokens):
    a = hidden_of(model, tokens, PROMPT, torch.tensor([[9, 4, 11]]))
    b = hidden_of(model, tokens, PROMPT, torch.tensor([[30, 31, 32]]))
    torch.testing.assert_close(a[0, : 65 + STRONGEST], b[0, : 65 + STRONGEST])


def test_pixel_shuffle_groups_neighbours():
    """CT token (z 3, y 6, x 1) belongs to group (1, 3, 0) = 1 * 16 + 3 * 4 + 0, place (1, 0, 1) = 5 in it."""
    projector = Projector(8, 3)
    with torch.no_grad():
        for parameter in projector.parameters():
            parameter.zero_()
        projector.linear.weight[0, 5 * 8 + 1] = 1.0  # place 5, channel 1
    tokens = torch.zeros(1, 512, 8)
    tokens[0, 3 * 64 + 6 * 8 + 1, 1] = 7.0
    out = projector(tokens)
    assert out.shape == (1, 64 + STRONGEST, 3)
    assert out[0, 28, 0] == 7.0
    assert out.count_nonzero() == 1


def test_the_tokens_with_the_strongest_evidence_are_handed_over_one_by_one():
    """Channels 2 to 4 of 8 are the evidence of the three kinds of lesion; the mean maps behind them do not count."""
    projector = Projector(8, 2)
    with torch.no_grad():
        for parameter in projector.parameters():
            parameter.zero_()
        projector.strongest.weight[0, 0] = 1.0  # what the token says
        projector.place.weight[:, 1] = torch.arange(512.0)  # where it lies
    tokens = torch.zeros(1, 512, 8)
    tokens[0, :, 2:5] = torch.linspace(0.1, 0, 512)[:, None]
    tokens[0, 300, :] = torch.tensor([5.0, 0, 0, 3.0, 0, 0, 0, 0])
    tokens[0, 77, :] = torch.tensor([6.0, 0, 0, 0, 3.5, 0, 0, 0])
    tokens[0, 400, 5:] = 9.0
    picked = projector(tokens)[0, 64:]
    assert picked[:3].tolist() == [[6.0, 77.0], [5.0, 300.0], [0.0, 0.0]]
    assert picked[3:, 1].tolist() == [float(k) for k in range(1, STRONGEST - 2)]


def test_presence_score_by_hand():
    assert presence_score([]) == 0.0
    assert presence_score([("Primary site:", 0.9), ("Nodes left:", 0.5)]) == pytest.approx(1 - 0.45)
    assert presence_score([("Nodes left:", 0.0), ("Nodes right:", 1.0)]) == 1.0


def test_config_describes_the_architecture():
    assert model_config(50, 32, 3, 6) == {"vocabulary": 50, "width": 32, "layers": 3, "token_width": 6}


def test_what_is_given_is_written_and_read_on_from(model, tokens):
    free = list(decode(model, tokens, PROMPT, end=-1, max_length=12))
    told: list[int] = []

    def given(written: list[int]) -> list[int]:
        return [41, 42, 43] if written == free[:4] else []

    ids = list(decode(model, tokens, PROMPT, end=-1, max_length=12, given=given, on_step=lambda p, c: told.append(c)))
    assert ids == told and ids[:7] == [*free[:4], 41, 42, 43] and len(ids) == 12
    with torch.inference_mode():
        assert model(tokens, PROMPT, torch.tensor([ids]))[0].argmax(-1).tolist()[7:] == ids[7:]


def test_where_only_some_ids_are_allowed_the_likeliest_of_them_is_written(model, tokens):
    free = list(decode(model, tokens, PROMPT, end=-1, max_length=6))
    among = {41, 42, 43} - set(free)
    seen: list[torch.Tensor] = []
    ids = list(
        decode(
            model, tokens, PROMPT, end=-1, max_length=6, on_step=lambda p, c: seen.append(p),
            allowed=lambda written: among if len(written) == 2 else set(),
        )
    )  # fmt: skip
    assert ids[:2] == free[:2] and ids[2] == max(among, key=lambda i: float(seen[2][i])) != free[2]


@pytest.mark.parametrize("text", [None, "", '{"version": "1.0", "trunc'])
def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path, text):
    if text is not None:
        (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(ModelPackError, match=r"tokenizer\.json cannot be read.*Restore the model pack"):
        load_tokenizer(tmp_path)
