"""Habits of clinics beside the segmenter: without one it is the plain network, and it is learned where it is told."""

import torch

from hnvlm.models.unet import FoldedUNet
from hnvlm.train.habits import HABIT, HABIT_PENALTY, WithHabits


def learner() -> WithHabits:
    torch.manual_seed(0)
    return WithHabits(FoldedUNet(2, 3, (8, 16)), patients=4)


def test_without_a_habit_it_is_the_plain_network():
    with_habits, x = learner(), torch.randn(2, 2, 8, 12, 16)
    who = torch.tensor([1, 3])
    plain = with_habits.plain(x)
    assert plain.shape == (2, 3, 8, 12, 16)
    assert torch.allclose(with_habits(x, who, torch.zeros(2, 1)), plain, atol=1e-6)
    told = with_habits(x, who, torch.tensor([[1.0], [0.0]]))
    assert not torch.allclose(told[0], plain[0], atol=1e-4)
    assert torch.allclose(told[1], plain[1], atol=1e-6)


def test_a_habit_learns_from_its_own_patient_where_it_is_told():
    with_habits, x = learner(), torch.randn(2, 2, 8, 8, 8)
    with_habits(x, torch.tensor([0, 2]), torch.tensor([[1.0], [0.0]])).square().mean().backward()
    learned = with_habits.habit.weight.grad.abs().sum(1)
    assert learned[0] > 0 and learned[1:].tolist() == [0.0, 0.0, 0.0]
    assert all(p.grad is not None for p in with_habits.plain.parameters())


def test_the_penalty_is_the_mean_square_of_the_habits_drawn():
    with_habits = learner()
    with torch.no_grad():
        with_habits.habit.weight.zero_()
        with_habits.habit.weight[1] = 2.0
    assert with_habits.habit.weight.shape == (4, HABIT)
    assert torch.isclose(with_habits.penalty(torch.tensor([1, 0])), torch.tensor(HABIT_PENALTY * 2.0))
