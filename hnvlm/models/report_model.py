"""The report model: CT tokens -> pixel shuffle and linear projector -> prefix-LM decoder (PaliGemma 2 pattern).

The prefix (CT tokens, the task prompt and what was measured on the CT) is read in both directions, the report is
written left to right by a small Gemma 2. The decoder keeps a key-value cache, so text can be streamed piece by piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import DynamicCache, Gemma2Config, Gemma2Model

from hnvlm.errors import ModelPackError, UsageError
from hnvlm.models.base import ReportWords
from hnvlm.models.ct_encoder import MAPS, TOKENS_PER_AXIS
from hnvlm.types import MASS_SITES, NODE_LEVELS, SIDES, TEXTURES, Finding

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
PROMPTS = {"en": "<report en>", "pl": "<report pl>"}
SPECIAL = (PAD, BOS, EOS, *PROMPTS.values())
SHUFFLE = 2
# Sizes of the lesions that it learned of.
TAUGHT_MM, USUAL_MM = (6.0, 45.0), 20.0
# CT tokens that the decoder also sees one by one.
STRONGEST = 12


def decoder_config(vocabulary: int, *, width: int = 256, layers: int = 5) -> Gemma2Config:
    """A small Gemma 2; the window of its local layers covers the whole context, so every layer sees the CT."""
    return Gemma2Config(
        vocab_size=vocabulary, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, head_dim=width // 4, query_pre_attn_scalar=width // 4,
        max_position_embeddings=1024, sliding_window=1024, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        attention_dropout=0.0, tie_word_embeddings=True,
    )  # fmt: skip


class Projector(nn.Module):
    """CT tokens to decoder tokens by linear layers: (B, 512, W) -> (B, 64 + STRONGEST, D).

    2x2x2 neighbouring tokens become one (pixel shuffle). A lesion is one token in 512 and would be diluted by its seven
    neighbours, so the tokens with the strongest evidence of a lesion are also handed over one by one, strongest first.
    """

    def __init__(self, token_width: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(token_width * SHUFFLE**3, width)
        self.strongest = nn.Linear(token_width, width)
        self.place = nn.Embedding(TOKENS_PER_AXIS**3, width)
        nn.init.normal_(self.place.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """CT tokens (B, 512, W) to decoder tokens (B, 64 + STRONGEST, D)."""
        b, _, w = tokens.shape
        n, s = TOKENS_PER_AXIS // SHUFFLE, SHUFFLE
        x = tokens.reshape(b, n, s, n, s, n, s, w).permute(0, 1, 3, 5, 2, 4, 6, 7)
        overview = self.linear(x.reshape(b, n**3, s**3 * w))
        evidence = tokens[..., -MAPS : -MAPS // 2].amax(-1)
        index = evidence.topk(STRONGEST, dim=1).indices
        picked = tokens.gather(1, index[..., None].expand(-1, -1, w))
        return torch.cat([overview, self.strongest(picked) + self.place(index)], dim=1)


class ReportModel(nn.Module):
    """Projector and decoder.

    Args:
        vocabulary: Number of text tokens.
        token_width: Channels of a CT token.
        width, layers: Size of the decoder.
    """

    def __init__(self, vocabulary: int, token_width: int, width: int = 256, layers: int = 5) -> None:
        super().__init__()
        self.projector = Projector(token_width, width)
        self.decoder = Gemma2Model(decoder_config(vocabulary, width=width, layers=layers))

    def prefix(self, tokens: Tensor, prompt: Tensor) -> Tensor:
        """Embeddings of CT tokens (B, 512, W) followed by the prompt ids (B, P): (B, 64 + STRONGEST + P, D)."""
        return torch.cat([self.projector(tokens), self.decoder.embed_tokens(prompt)], dim=1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Vocabulary logits (..., V) of hidden states (weights tied to the embeddings)."""
        return hidden @ self.decoder.embed_tokens.weight.T

    def forward(self, tokens: Tensor, prompt: Tensor, text: Tensor) -> Tensor:
        """Logits (B, T, V) that predict each id of ``text`` (B, T) from CT, prompt and the ids before it.

        Prompts (B, P) of different lengths are padded in front: nothing sees the padding and it takes no place.
        """
        prefix = self.prefix(tokens, prompt)
        embedded = torch.cat([prefix, self.decoder.embed_tokens(text[:, :-1]).to(prefix.dtype)], dim=1)
        b, n, p = len(embedded), embedded.shape[1], prefix.shape[1]
        there = torch.ones(b, n, dtype=torch.bool, device=embedded.device)
        there[:, p - prompt.shape[1] : p] = prompt != self.decoder.config.pad_token_id
        allowed = torch.ones(n, n, dtype=torch.bool, device=embedded.device).tril()
        allowed[:p, :p] = True
        # Padding sees itself, for a row of nothing has no mean.
        seen = (allowed & there[:, None, :]) | torch.eye(n, dtype=torch.bool, device=embedded.device)
        mask = torch.zeros(b, 1, n, n, dtype=embedded.dtype, device=embedded.device).masked_fill(
            ~seen[:, None], torch.finfo(embedded.dtype).min
        )
        masks = {"full_attention": mask, "sliding_attention": mask}
        places = (there.cumsum(1) - 1).clamp(min=0)
        hidden = self.decoder(
            inputs_embeds=embedded, attention_mask=masks, position_ids=places, use_cache=False
        ).last_hidden_state
        return self.logits(hidden[:, p - 1 :])


def decode(
    model: ReportModel,
    tokens: Tensor,
    prompt: Tensor,
    *,
    end: int,
    max_length: int = 420,
    on_step: Callable[[Tensor, int], None] | None = None,
    given: Callable[[list[int]], list[int]] | None = None,
    allowed: Callable[[list[int]], set[int]] | None = None,
) -> Iterator[int]:
    """Yield the ids of one report, most likely first choice, until ``end``.

    Args:
        tokens: (1, 512, W). prompt: (1, P).
        on_step: Called with the probabilities (V,) and the chosen id of every step.
        given: Of the ids written so far, those that have to follow; none where the model chooses.
        allowed: Of the ids written so far, those among which the model chooses the next; none where all are.
    """
    cache = DynamicCache(config=model.decoder.config)
    written: list[int] = []
    ahead: list[int] = []
    with torch.inference_mode():
        embedded = model.prefix(tokens, prompt)
    p = embedded.shape[1]
    for position in range(max_length):
        with torch.inference_mode():
            n = embedded.shape[1]
            # Nothing is masked: the prefix is read in both directions and a new token sees everything before it.
            mask = torch.zeros(1, 1, n, p + position, dtype=embedded.dtype)
            ids = torch.arange(p + position - n, p + position)[None]
            hidden = model.decoder(
                inputs_embeds=embedded,
                attention_mask={"full_attention": mask, "sliding_attention": mask},
                position_ids=ids,
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            probabilities = model.logits(hidden[0, -1]).float().softmax(-1)
            ahead = ahead or (given(written) if given is not None else [])
            among = [] if ahead or allowed is None else sorted(allowed(written))
            best = among[int(probabilities[among].argmax())] if among else int(probabilities.argmax())
            choice = ahead.pop(0) if ahead else best
            written.append(choice)
            embedded = model.decoder.embed_tokens(torch.tensor([[choice]]))
        if on_step is not None:
            on_step(probabilities, choice)
        if choice == end:
            return
        yield choice


def prompt_ids(tokenizer: Tokenizer, language: str, measured: str = "") -> list[int]:
    """Token ids of the task prompt: the language, then what was measured (``hnvlm.report.measured``)."""
    return [tokenizer.token_to_id(PROMPTS[language]), *(tokenizer.encode(measured).ids if measured else ())]


def as_told(
    tokenizer: Tokenizer, measured: str, impression: Callable[[str], str] | None = None, headings: Sequence[str] = ()
) -> Callable[[list[int]], list[int]]:
    """Return the ``given`` of ``decode``: the ids that have to follow where the text so far leaves no choice.

    After the heading of a measured line that is the line as it was told in the prompt, word for word: a model may still
    write another side or extent than it was told, above all in the language it read less of. After the heading of the
    impression it is the summary of the lines above, for a model that named a lesion of 25 mm may sum up one of 28 mm.

    Args:
        measured: Lines that hold whatever the CT shows besides (``hnvlm.report.measured``).
        impression: Text up to the heading of the impression -> what follows there, by the lines above it; "" elsewhere.
        headings: Headings of a report in order, where each is to follow the one before. Needed where the prompt holds
            what the model never met while it learned: it may skip or repeat lines then. () leaves them to the model.

    Returns:
        Function of the ids written so far; its answer is [] where the model chooses.
    """
    told = dict(line.split(":", 1) for line in measured.split("\n") if ":" in line)
    end = tokenizer.token_to_id(EOS)
    following = dict(zip(("", *headings), headings, strict=False))

    def given(written: list[int]) -> list[int]:
        text = tokenizer.decode(written)
        heading, colon, rest = text.rpartition("\n")[2].partition(":")
        if not heading:
            before = text.rstrip("\n").rpartition("\n")[2].partition(":")[0]
            return tokenizer.encode(f"{following[before]}:").ids if before in following else []
        if not colon or rest:
            return []
        if heading in told:
            return tokenizer.encode(told[heading] or "\n").ids
        summed_up = impression(text) if impression is not None else ""
        return [*tokenizer.encode(summed_up).ids, end] if summed_up else []

    return given


def as_seen(
    tokenizer: Tokenizer, lines: Mapping[str, list[str]], sure: Mapping[str, list[str]] | None = None
) -> Callable[[list[int]], set[int]]:
    """Return the ``allowed`` of ``decode``: the ids among which the model chooses in a line about lesions.

    Such a line either says that there is none, or is made of some of the sentences below, each once. So which lesions
    are there is the model's judgement, and their size, texture and place are the measured ones, word for word.

    Args:
        lines: Heading -> what its line may say, the sentence that there is none first
            (``hnvlm.report.measured.lesion_lines``).
        sure: The same of lesions that are certainly there: their sentences come first, in this order, and none is left
            out.

    Returns:
        Function of the ids written so far; its answer is empty where every id is allowed.
    """
    ids_of = lambda text: tokenizer.encode(text).ids  # noqa: E731
    (line_end,) = ids_of("\n")
    certain = {heading: [ids_of(s) for s in sentences[1:]] for heading, sentences in (sure or {}).items()}
    choices = [(heading, ids_of(f"{heading}:"), *map(ids_of, sentences)) for heading, sentences in lines.items()]

    def allowed(written: list[int]) -> set[int]:
        line = written[len(written) - [*written[::-1], line_end].index(line_end) :]
        for heading, start, none, *there in choices:
            if line[: len(start)] != start:
                continue
            rest, left = line[len(start) :], there
            while named := next((ids for ids in left if rest[: len(ids)] == ids), None):
                rest, left = rest[len(named) :], [ids for ids in left if ids != named]
            due = [ids for ids in certain.get(heading, ()) if ids in left]
            # A denial is the whole line.
            options = due[:1] or [*left, [line_end] if len(left) < len(there) else [*none, line_end]]
            return {ids[len(rest)] for ids in options if ids[: len(rest)] == rest and len(ids) > len(rest)}
        return set()

    return allowed


def as_taught(lesion: Finding) -> Finding:
    """A lesion for the prompt, changed to values that the model met while it learned: its sizes, a side, a texture.

    For the prompt alone: a size of 118 mm in it made the model skip and repeat lines. What is written in the report are
    the lesion's own words (``as_seen``).
    """
    size = float(min(max(lesion.size_mm or USUAL_MM, TAUGHT_MM[0]), TAUGHT_MM[1]))
    side = lesion.side if lesion.side in SIDES else SIDES[0]
    site = (lesion.site or MASS_SITES[0]) if lesion.kind == "mass" else None
    level = (lesion.level or NODE_LEVELS[1]) if lesion.kind == "node" else None
    texture = lesion.attributes.get("texture", TEXTURES[0])
    return Finding(lesion.kind, side=side, site=site, level=level, size_mm=size, attributes={"texture": texture})


def told(
    tokenizer: Tokenizer,
    config: Mapping[str, Any],
    language: str,
    facts: Sequence[Finding],
    seen: Sequence[Finding],
    words: ReportWords | None,
    sure: Sequence[Finding] = (),
) -> tuple[Tensor, dict[str, Any]]:
    """The prompt (1, P) of a report, and what ``decode`` is to keep to: ``given`` and ``allowed``.

    Args:
        config: Of the model: whether it learned to be told facts, and lesions that may be there.
        facts: What was measured. seen: Lesions that may be there. sure: Lesions that are there.
        words: Without them every line is the model's own.

    Raises:
        UsageError: It has to be told facts and there are no words for them.
    """
    if words is None and config.get("told_facts"):
        raise UsageError("The report model is told what was measured, and nobody gave it the words for that.")
    if words is None:
        return torch.tensor([prompt_ids(tokenizer, language)]), {}
    lines = firm = ""
    certain, seen = (list(sure), list(seen)) if config.get("told_lesions") else ([], [])
    if config.get("told_facts"):
        lines = words.measured_lines(facts, language, seen=[*map(as_taught, certain), *seen])
        firm = words.measured_lines(facts, language, firm=True)
    headings = words.headings(language) if certain else ()
    given = as_told(tokenizer, firm, lambda text: words.impression_of(text, language), headings)
    kept: dict[str, Any] = {"given": given}
    if certain or seen:
        of_sure = words.lesion_lines(certain, language)
        # Where the clinic says what there is, the model adds nothing that no evidence was told of.
        lines_of = words.lesion_lines([*certain, *seen], language, every=bool(certain))
        kept["allowed"] = as_seen(tokenizer, lines_of, of_sure)
    return torch.tensor([prompt_ids(tokenizer, language, lines)]), kept


def load_tokenizer(folder: Path) -> Tokenizer:
    """The byte-level tokenizer beside the weights.

    Raises:
        ModelPackError: It is missing or damaged.
    """
    file = folder / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises a bare one
        raise ModelPackError(f"{file} cannot be read ({error}). Restore the model pack.") from error


def presence_score(steps: list[tuple[str, float]]) -> float:
    """Probability that the report names a lesion, from the decoder's own choices.

    Args:
        steps: For each place where the report either denies or describes (primary site, nodes right, nodes left,
            airway): the line's name and the probability of the denial's first word.
    """
    absent = 1.0
    for _, p in steps:
        absent *= p
    return 1.0 - absent


def model_config(vocabulary: int, width: int, layers: int, token_width: int) -> dict[str, Any]:
    """Architecture part of the report model's config.json."""
    return {"vocabulary": vocabulary, "width": width, "layers": layers, "token_width": token_width}
