"""Windowed edits, the preconditioning of the denoiser, and the sampler against denoisers known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hnvlm.models.diffusion import (
    PATCH,
    SIGMA_DATA,
    LesionDenoiser,
    edited_hu,
    plain_edit,
    sample_residual,
    support_of,
    unprecondition,
    windowed,
)


@pytest.mark.parametrize(
    ("source", "residual", "hu", "why"),
    [
        (40, 0.5, 90, "inside the window: 100 HU a unit"),
        (-90, 1.4, 50, "fat becomes a node"),
        (-1000, 3.0, 50, "air (W -2.5) is filled: W 0.5"),
        (-1000, 2.7, 20, "air is filled by fluid"),
        (40, -2.9, -1000, "tissue becomes air: W -2.5"),
        (0, -2.25, -600, "half way between W -2.0 and -2.5 is half way between -200 and -1000 HU"),
        (40, -4.0, -1000, "below the window is air, not less"),
        (700, -1.0, 150, "bone (W 2.5) becomes W 1.5"),
        (700, 0.05, 700, "bone that should be denser still is the same bone"),
        (-900, -0.05, -900, "air that should be emptier still is the same air"),
        (900, 0.0, 900, "nothing asked"),
        (-1024, 0.0, -1024, "padding"),
        (3071, 0.0, 3071, "metal"),
        (-230, 0.0, -230, "partial volume stays where nothing is asked"),
        (55, 0.0005, 55, "less than a tenth of a HU is no edit"),
    ],
)
def test_edited_hu_by_hand(source, residual, hu, why):
    got = edited_hu(np.full((1, 2, 3), source, np.float32), np.full((1, 2, 3), residual, np.float32))
    np.testing.assert_allclose(got, hu, atol=0.01, err_msg=why)


def test_a_zero_residual_is_the_identity():
    source = np.random.default_rng(0).uniform(-1024, 3071, (6, 7, 8)).astype(np.float32)
    np.testing.assert_array_equal(edited_hu(source, np.zeros_like(source)), source)


def test_the_residual_of_a_pair_gives_the_pair_back():
    """W(edited) - W(source) leads from source to edited wherever the edited tissue lies in the window."""
    rng = np.random.default_rng(1)
    source = rng.uniform(-1000, 1200, (6, 7, 8))
    edited = rng.uniform(-190, 240, (6, 7, 8))
    residual = windowed(edited) - windowed(source)
    # What the window hid is only replaced by a clear change; a slight one is taken as a shift.
    told = (np.abs(source) <= 200) | (np.abs(residual) >= 0.5)
    assert told.sum() > 250
    np.testing.assert_allclose(edited_hu(source, residual)[told], edited[told], atol=1e-6)


def test_window_by_hand():
    assert windowed(np.array([-1000.0, -250.0, 0.0, 30.0, 250.0, 900.0])).tolist() == [-2.5, -2.5, 0, 0.3, 2.5, 2.5]
    assert windowed(torch.tensor([-400.0, 120.0])).tolist() == pytest.approx([-2.5, 1.2])


@pytest.fixture(scope="module")
def denoiser():
    torch.manual_seed(2)
    net = LesionDenoiser(text_width=12, widths=(8, 8, 16), condition=16).eval()
    with torch.no_grad():  # the head starts at zero; a trained one does not stay there
        net.head.weight.normal_(0, 0.5)
    return net


@pytest.fixture(scope="module")
def inputs():
    g = torch.Generator().manual_seed(4)
    return {
        "source": 40 + 30 * torch.randn(2, PATCH, PATCH, PATCH, generator=g),
        "mask": (torch.rand(2, PATCH, PATCH, PATCH, generator=g) > 0.9).float(),
        "plain": 0.3 * torch.randn(2, PATCH, PATCH, PATCH, generator=g),
        "text": torch.randn(2, 12, generator=g),
        "op": torch.tensor([0, 1]),
    }


def test_a_nearly_clean_sample_is_copied(denoiser, inputs):
    x = torch.randn(2, 1, PATCH, PATCH, PATCH, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        at = {s: denoiser(x, torch.full((2,), s), **inputs) for s in (1e-4, 1e-2, 0.5, 20.0)}
    assert at[0.5].shape == x.shape
    assert float((at[1e-4] - x).abs().max()) < 2e-3
    assert float((at[1e-2] - x).abs().mean()) < 0.03
    # In loud noise the input is ignored: c_skip = 0.0625 / (400 + 0.0625).
    assert float((at[20.0] / x).abs().median()) > 0
    fresh = LesionDenoiser(text_width=12, widths=(8, 8, 16), condition=16)
    with torch.inference_mode():
        torch.testing.assert_close(fresh(x, torch.full((2,), 20.0), **inputs), x * 0.0625 / 400.0625)
        torch.testing.assert_close(fresh(x, torch.full((2,), 0.25), **inputs), x / 2)  # sigma = sigma_data


def test_every_condition_reaches_the_output(denoiser, inputs):
    """A trained denoiser's modulation is not zero: then source, mask, plain edit, text and op each change it."""
    torch.manual_seed(6)
    with torch.no_grad():
        for block in [*denoiser.down, *denoiser.up]:
            block.film.weight.normal_(0, 0.2)
    x = torch.randn(2, 1, PATCH, PATCH, PATCH)
    sigma = torch.full((2,), 1.0)
    with torch.inference_mode():
        base = denoiser(x, sigma, **inputs)
        for name, other in (
            ("source", inputs["source"] + 80),
            ("mask", 1 - inputs["mask"]),
            ("plain", -inputs["plain"]),
            ("text", -inputs["text"]),
            ("op", torch.tensor([2, 2])),
        ):
            assert float((denoiser(x, sigma, **(inputs | {name: other})) - base).abs().max()) > 1e-3, name


def test_a_plain_addition_by_hand():
    """Fat of -100 HU becomes solid tissue of 60 HU, a border voxel as far as it is lesion."""
    source = np.full((20, 22, 24), -100.0)
    mask = np.zeros(source.shape, np.float32)
    mask[8:12, 9:13, 10:14] = 1.0
    mask[12, 9:13, 10:14] = 0.5
    np.testing.assert_allclose(plain_edit(source, mask, "add", "solid", 12.0), mask * 1.6, atol=1e-6)
    assert not plain_edit(source, mask, "none").any()
    source[8] = source[12] = -1000.0  # a lumen: the window ends at -250 HU
    lumen = plain_edit(source, mask, "add", "solid", 12.0)
    assert lumen[8, 10, 11] == pytest.approx(0.6 + 2.5)
    assert lumen[12, 10, 11] == 0  # half filled it has -470 HU


def test_a_plain_necrotic_lesion_is_dark_inside_alone():
    """A cube of 27 mm with a rim of 0.13 x 27 + 0.8 = 4.3 mm: the outer voxel is rim, the third from it core."""
    source = np.full((20, 20, 20), 10.0)
    mask = np.zeros(source.shape, np.float32)
    mask[5:14, 5:14, 5:14] = 1.0
    line = 10 + 100 * plain_edit(source, mask, "add", "necrotic", 27.0)[9, 9, 4:10]
    # Depths 1.5, 4.5, 7.5 mm: none, 0.5 + 0.2 / 3 and all of the core's share.
    share = 0.5 + (4.5 - (0.13 * 27 + 0.8)) / 3
    np.testing.assert_allclose(line, [10, 65, 65 - share * 43, 22, 22, 22], atol=1e-3)


def test_a_plain_removal_fills_in_what_lies_around():
    """A lesion of 120 HU in muscle of 20 HU; bone beside it does not count, nor does the lesion itself."""
    source = np.full((20, 22, 24), 20.0)
    mask = np.zeros(source.shape, np.float32)
    mask[8:12, 9:13, 10:14] = 1.0
    source[mask > 0] = 120.0
    source[:, :9] = 900.0
    np.testing.assert_allclose(plain_edit(source, mask, "remove"), -mask, atol=2e-3)


def test_without_a_model_a_sample_is_the_plain_edit():
    """A network that answers nothing leaves the plain edit, cut to where the edit may differ."""
    source, plain, support = torch.zeros(3, 1, 16, 18, 20)
    plain[:, 5:9, 6:10, 7:11] = 0.7
    support[:, :8] = 1.0
    silent = lambda x, sigma, *known: torch.zeros_like(x)  # noqa: E731
    out = sample_residual(
        silent, source, source, plain, torch.zeros(1, 4), torch.zeros(1, dtype=torch.long), support=support, seed=0,
        steps=6,
    )  # fmt: skip
    torch.testing.assert_close(out, plain * support, atol=2e-2, rtol=0)


@pytest.mark.parametrize("sigma", [0.02, 0.5, 3.0, 20.0])
def test_unprecondition_by_hand(sigma):
    """raw with c_skip x + c_out raw = denoised."""
    x, denoised = torch.randn(2, 1, 2, 3, 4), torch.randn(2, 1, 2, 3, 4)
    raw = unprecondition(denoised, x, torch.tensor(sigma))
    total = sigma**2 + SIGMA_DATA**2
    torch.testing.assert_close(
        SIGMA_DATA**2 / total * x + sigma * SIGMA_DATA / total**0.5 * raw, denoised, atol=1e-4, rtol=1e-4
    )


def test_small_residuals_make_small_changes_everywhere():
    source = np.linspace(-1020, 1500, 400)
    for residual in (-0.05, -0.01, 0.01, 0.05):
        change = edited_hu(source, np.full_like(source, residual)) - source
        # The steepest part is tissue that turns to air: 1600 HU a unit.
        assert np.abs(change).max() < 1700 * abs(residual) + 50


def sample(model, *, seed: int = 0, batch: int = 1, steps: int = 12, **given) -> torch.Tensor:
    empty = torch.zeros(batch, 16, 16, 16)
    return sample_residual(
        model,
        empty,
        empty,
        empty,
        torch.zeros(batch, 4),
        torch.zeros(batch, dtype=torch.long),
        support=torch.ones(batch, 16, 16, 16),
        seed=seed,
        steps=steps,
        **given,
    )


@pytest.mark.parametrize("spread", [0.25, 0.5, 1.0])
def test_samples_have_the_spread_of_the_data(spread):
    """For data N(0, s^2) the perfect denoiser is s^2 / (s^2 + sigma^2) x: samples must have that spread again."""

    def perfect(x, sigma, source, mask, plain, text, op):
        assert x.dtype == torch.float32
        return x * (spread**2 / (spread**2 + sigma.view(-1, 1, 1, 1, 1) ** 2))

    drawn = sample(perfect, batch=2)
    assert drawn.shape == (2, 16, 16, 16)
    assert float(drawn.std()) == pytest.approx(spread, rel=0.12)
    assert abs(float(drawn.mean())) < 0.1 * spread


def test_a_denoiser_that_knows_the_answer_gives_it():
    answer = torch.linspace(-2.5, 2.5, 16**3).reshape(1, 1, 16, 16, 16)
    drawn = sample(lambda x, *a: answer.expand_as(x))
    torch.testing.assert_close(drawn, answer[:, 0], atol=0.05, rtol=0)


def test_one_seed_one_sample_and_every_step_is_told():
    def perfect(x, sigma, *a):
        return x * (0.25 / (0.25 + sigma.view(-1, 1, 1, 1, 1) ** 2))

    told: list[tuple[int, int]] = []
    first = sample(perfect, seed=5, steps=6, on_step=lambda k, n: told.append((k, n)))
    assert told == [(k, 6) for k in range(1, 7)]
    assert torch.equal(first, sample(perfect, seed=5, steps=6))
    assert not torch.equal(first, sample(perfect, seed=6, steps=6))


def test_support_by_hand():
    """A 10 mm lesion reaches 0.35 * 10 + 3 = 6.5 mm beyond its mask, then fades over 6 mm."""
    mask = np.zeros((3, 3, 15), np.float32)
    mask[1, 1, 2] = 1.0
    got = support_of(mask, 10.0)[1, 1, 2:9]
    np.testing.assert_allclose(got, [1, 1, 1, 1 - 2.5 / 6, 1 - 5.5 / 6, 0, 0], atol=1e-6)
    assert support_of(mask, 10.0)[1, 1, 0] == 1.0
