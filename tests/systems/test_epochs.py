"""The loop of the networks of Table 3: rates, batches, last epoch, and a killed training that ends with the same bits."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from soundscene.errors import TrainingError
from soundscene.systems.epochs import Optimisation, fingerprint, run_epochs, shuffled
from soundscene.systems.system import FitContext, PredictFunction

INPUTS = torch.randn(23, 4, generator=torch.Generator().manual_seed(0))
LABELS = (INPUTS[:, 0] > 0).long()
CHOICES = Optimisation(epochs=5, learning_rate=0.05, largest_gradient=0.5)


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 2))


def train(context: FitContext, choices: Optimisation = CHOICES, facts: str = "") -> tuple[nn.Module, list[dict[str, float]]]:
    def predict(network: nn.Module) -> PredictFunction:
        return lambda corpus: {}

    identity = lambda: fingerprint({"facts": facts}, [INPUTS.numpy(), LABELS.numpy()])  # noqa: E731
    return run_epochs(make, shuffled(INPUTS, LABELS, 6), choices, context, identity, predict)


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_an_epoch_has_every_example_once_in_even_batches_and_a_share_of_them_if_asked() -> None:
    batches = list(shuffled(INPUTS, LABELS, 6)(torch.Generator().manual_seed(1)))
    assert [len(labels) for _, labels in batches] == [6, 6, 6, 5]
    rows = torch.cat([inputs for inputs, _ in batches])
    assert not torch.equal(rows, INPUTS)
    assert torch.equal(rows.sort(dim=0).values, INPUTS.sort(dim=0).values)
    assert torch.equal(torch.cat([labels for _, labels in batches]), (rows[:, 0] > 0).long())
    assert sum(len(labels) for _, labels in shuffled(INPUTS, LABELS, 6, 0.5)(torch.Generator())) == 12


def test_the_rate_falls_along_half_a_cosine_and_the_gradient_has_a_largest_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    norms: list[float] = []
    step = torch.optim.Adam.step

    def spy(self: torch.optim.Adam, *rest: object) -> object:
        rates.append(self.param_groups[0]["lr"])
        gradients = [p.grad for p in self.param_groups[0]["params"] if p.grad is not None]
        norms.append(float(torch.stack([g.square().sum() for g in gradients]).sum().sqrt()))
        return step(self)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    train(FitContext(0))
    assert rates[::4] == pytest.approx([0.05 * 0.5 * (1 + math.cos(math.pi * n / 5)) for n in range(5)])
    assert max(norms) == pytest.approx(0.5, abs=1e-4)
    norms.clear()
    train(FitContext(0), Optimisation(5, 0.05))
    assert max(norms) > 0.6


def test_a_seed_decides_and_nobody_elses_draws_are_disturbed() -> None:
    state = torch.manual_seed(4).get_state()
    one, history = train(FitContext(1))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(77)
    assert same(one, train(FitContext(1))[0])
    assert not same(one, train(FitContext(2))[0])
    assert [row["epoch"] for row in history] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert history[-1]["loss"] < history[0]["loss"]
    assert not one.training


@pytest.mark.parametrize("end", [1, 3, 5])
def test_a_killed_training_resumes_behind_its_last_epoch_and_ends_with_the_same_bits(end: int, tmp_path: Path) -> None:
    whole, history = train(FitContext(1))
    path, seen = tmp_path / "new" / "checkpoint.safetensors", []

    def observer(row: dict[str, float], predict: PredictFunction) -> None:
        seen.append(row["epoch"])
        if len(seen) == end + 1:
            raise KeyboardInterrupt

    if end < 5:
        with pytest.raises(KeyboardInterrupt):
            train(FitContext(1, checkpoint=path, observer=observer))
    else:
        train(FitContext(1, checkpoint=path, observer=observer))
    seen.clear()
    resumed, rows = train(FitContext(1, checkpoint=path, observer=lambda row, _: seen.append(row["epoch"])))
    assert seen == [float(n) for n in range(end + 1, 6)]
    assert same(whole, resumed)
    assert [row["loss"] for row in rows] == [row["loss"] for row in history]


def test_a_foreign_checkpoint_and_a_loss_that_is_no_number_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    train(FitContext(1, checkpoint=path))
    with pytest.raises(TrainingError, match="belongs to a training with another recipe or other recordings"):
        train(FitContext(1, checkpoint=path), facts="other")
    with pytest.raises(TrainingError, match=r"the loss is no longer finite in epoch 1: .* 0.05 too high"):
        run_epochs(make, shuffled(INPUTS * math.inf, LABELS, 6), CHOICES, FitContext(0), lambda: "")


def test_another_array_is_another_training() -> None:
    facts, array = {"a": 1}, np.arange(4.0)
    assert fingerprint(facts, [array]) == fingerprint(facts, [array.copy()])
    assert len({fingerprint(facts, [array]), fingerprint({"a": 2}, [array]), fingerprint(facts, [array[::-1]])}) == 3
