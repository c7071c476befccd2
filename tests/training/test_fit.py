import math
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from soundscene.errors import TrainingError
from soundscene.training import fit as loop
from soundscene.training import step
from soundscene.training.device import make_fabric
from soundscene.training.fit import LabelledImages, TrainedNetwork, fit
from tests.training.toys import N_SCENES, TINY, toy_images

ROOT = Path(__file__).parents[2]


def run(*settings, images=None, **options) -> TrainedNetwork:
    return fit(TINY.with_settings(settings), images or toy_images(), N_SCENES, **options)


def weights(fitted):
    return fitted.network.state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def losses(fitted):
    return [row["loss"] for row in fitted.history]


def accuracy(network, images):
    with torch.no_grad():
        return float((network(images.images).argmax(dim=1) == images.labels).float().mean())


# Learning -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [["network.kind=cnn"], ["training.mixing=none"], ["training.balanced=true"], []])
def test_toy_scenes_are_learnt(settings):
    fitted = run(*settings, "training.epochs=15", "training.learning_rate=0.02")
    assert losses(fitted)[-1] < 0.85 * losses(fitted)[0]
    assert accuracy(fitted.network, toy_images(60, seed=1)) > 0.6  # other images; chance is a third
    assert not fitted.network.training
    assert (fitted.epoch, len(fitted.history)) == (15, 15)


def test_the_first_loss_is_that_of_knowing_nothing():
    """Without learning, KL(y || uniform) = log 3 - H(y); the mean entropy of (r, 1 - r), r uniform, is 1/2."""
    fitted = run("training.epochs=1", "training.learning_rate=1e-9", "network.attention_scale=printed", epoch_size=600)
    assert losses(fitted)[0] == pytest.approx(math.log(3) - 0.5, abs=0.1)


def test_standardisation_is_that_of_the_training_part():
    images = toy_images()
    mean = run("training.epochs=1", images=images).network.standardise.mean[..., 0]
    np.testing.assert_allclose(mean, images.images.mean(dim=(0, 3)), rtol=1e-5)


def test_an_epoch_has_as_many_examples_as_segments_or_as_asked_for(monkeypatch):
    sizes = []
    loss = step.kl_divergence
    monkeypatch.setattr(step, "kl_divergence", lambda y, a: (sizes.append(len(y)), loss(y, a))[1])
    run("training.epochs=1")
    assert sizes == [10, 10, 10]  # 30 in batches of at most 12: even ones, no tiny last one
    sizes.clear()
    run("training.epochs=2", epoch_size=25)
    assert sizes == [9, 8, 8] * 2


def test_gain_and_masks_reach_the_examples():
    plain = run("training.epochs=1")
    for setting in ("training.gain_db=6", "training.mask_bands=16", "training.mask_frames=4"):
        assert losses(run("training.epochs=1", setting)) != losses(plain)


# Reproducibility ------------------------------------------------------------------------------------------------------


def test_one_seed_one_network_bit_for_bit():
    one, again = run(), run()
    assert same(weights(one), weights(again))
    assert losses(one) == losses(again)


def test_another_seed_another_network():
    one, other = run("training.epochs=1"), run("training.epochs=1", "training.seed=1")
    assert losses(one) != losses(other)
    assert not torch.equal(weights(one)["softmax.weight"], weights(other)["softmax.weight"])


def test_every_epoch_draws_new_pairs():
    """At a learning rate of almost nothing and without dropout only the pairs differ between epochs."""
    still = ["training.learning_rate=1e-12", "training.epochs=3", "network.conv_dropout=0", "network.recurrent_dropout=0"]
    assert len(set(losses(run(*still)))) == 3


def test_every_epoch_draws_new_dropout(monkeypatch):
    pairs = loop.draw_pairs(toy_images().labels, 30, torch.Generator().manual_seed(0))
    monkeypatch.setattr(loop, "draw_pairs", lambda *_: pairs)
    assert len(set(losses(run("training.learning_rate=1e-12", "training.epochs=3")))) == 3


def test_the_global_generators_are_left_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].tolist()  # noqa: NPY002
    run("training.epochs=1")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state(legacy=False)["state"]["key"].tolist() == before[1]  # noqa: NPY002


def test_the_global_generator_decides_nothing():
    torch.manual_seed(3)
    one = run("training.epochs=1")
    torch.manual_seed(4)
    assert same(weights(one), weights(run("training.epochs=1")))


def test_the_callback_cannot_influence_the_training():
    """Whatever it returns, draws or asks of the network, and however it changes the row."""

    def meddle(row, network):
        torch.rand(7)
        network(toy_images(3).images)
        network.train()
        row["validation_log_loss"] = -1e9
        return "stop"

    held = toy_images(30, seed=1)
    assert same(weights(run(validation=held)), weights(run(validation=held, on_epoch=meddle)))
    best = run("training.keep=best", validation=held)
    meddled = run("training.keep=best", validation=held, on_epoch=meddle)
    assert best.epoch == meddled.epoch
    assert same(weights(best), weights(meddled))


def test_the_callback_sees_every_epoch_with_the_network_in_evaluation_mode():
    seen = []
    fitted = run(on_epoch=lambda row, network: seen.append((row["epoch"], network.training)))
    assert seen == [(1.0, False), (2.0, False), (3.0, False), (4.0, False)]
    assert [row.keys() for row in fitted.history] == [{"epoch", "loss", "seconds"}] * 4


# Averaging ------------------------------------------------------------------------------------------------------------


def test_the_kept_weights_are_a_moving_average_over_all_steps(monkeypatch):
    """12 steps and a share of 1/4: each step the average keeps exp(-1/3) of itself; it begins with the first weights."""
    steps = []
    compute = step.Step.run

    def watched(self, part, noise):
        compute(self, part, noise)
        steps.append({name: tensor.clone() for name, tensor in self._model.module.state_dict().items()})

    monkeypatch.setattr(step.Step, "run", watched)
    averaged = run("training.average=0.25", "training.epochs=4")
    assert len(steps) == 12
    kept = math.exp(-1 / 3)
    expected = steps[0]
    for now in steps[1:]:
        expected = {
            name: kept * tensor.double() + (1 - kept) * now[name].double()
            for name, tensor in expected.items()
            if tensor.is_floating_point()
        }
    for name, tensor in expected.items():
        torch.testing.assert_close(weights(averaged)[name].double(), tensor, rtol=1e-5, atol=1e-6)
    plain = run("training.epochs=4")
    assert same(weights(plain), steps[-1])  # averaging changes nothing of the training itself
    assert losses(plain) == losses(averaged)


def test_callback_and_validation_see_the_averaged_network():
    held, seen = toy_images(30, seed=1), []
    fitted = run("training.average=0.3", validation=held, on_epoch=lambda row, network: seen.append((row, network)))
    assert all(network is fitted.network for _, network in seen)
    assert accuracy(fitted.network, held) == pytest.approx(seen[-1][0]["validation_accuracy"])


# Resuming -------------------------------------------------------------------------------------------------------------


def stop_after(epoch):
    def observe(row, network):
        if row["epoch"] == epoch:
            raise KeyboardInterrupt

    return observe


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["network.filters=[4, 8, 16]", "training.schedule=cosine", "training.gain_db=3"],
        ["training.keep=best"],
        ["training.average=0.3"],
        ["training.average=0.3", "training.keep=best"],
    ],
)
def test_interrupted_and_resumed_is_never_interrupted_bit_for_bit(tmp_path, settings):
    held = toy_images(30, seed=1)
    whole = run(*settings, validation=held)
    path = tmp_path / "checkpoint.safetensors"
    for epoch in (1, 3):  # before anything was saved, and between two epochs
        with pytest.raises(KeyboardInterrupt):
            run(*settings, validation=held, checkpoint=path, on_epoch=stop_after(epoch))
    resumed = run(*settings, validation=held, checkpoint=path)
    assert same(weights(resumed), weights(whole))
    assert resumed.epoch == whole.epoch
    without_time = [[{k: v for k, v in row.items() if k != "seconds"} for row in f.history] for f in (resumed, whole)]
    assert without_time[0] == without_time[1]


@pytest.mark.kill
def test_killed_in_the_middle_of_an_epoch_and_resumed_is_never_killed_bit_for_bit(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    died = subprocess.run([sys.executable, "-m", "tests.training.killed", path], cwd=ROOT, capture_output=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()[-500:]
    with safe_open(path, "pt") as file:
        assert '"epoch": 2,' in file.metadata()["state"]
    epochs = []
    resumed = run(checkpoint=path, on_epoch=lambda row, _: epochs.append(row["epoch"]))
    whole = run()
    assert epochs == [3.0, 4.0]
    assert same(weights(resumed), weights(whole))
    assert losses(resumed) == losses(whole)


def test_a_finished_training_resumes_to_its_end(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    finished = run(checkpoint=path)
    again = run(checkpoint=path, on_epoch=lambda row, _: pytest.fail("nothing is left to train"))
    assert same(weights(again), weights(finished))
    assert again.history == finished.history


@pytest.mark.parametrize("change", ["recipe", "labels", "images"])
def test_a_checkpoint_of_another_training_is_refused(tmp_path, change):
    path = tmp_path / "checkpoint.safetensors"
    run("training.epochs=1", checkpoint=path)
    images = toy_images()
    if change == "labels":
        images = LabelledImages(images.images, images.labels.flip(0))
    if change == "images":
        images = toy_images(seed=1)
    settings = ["training.epochs=2"] if change == "recipe" else ["training.epochs=1"]
    with pytest.raises(
        TrainingError, match="belongs to a training with another recipe or other recordings; finish that one"
    ):
        run(*settings, images=images, checkpoint=path)


# Which epoch, when to stop, how fast ----------------------------------------------------------------------------------


def test_best_is_the_epoch_of_lowest_validation_log_loss():
    seen = {}
    held = LabelledImages(
        toy_images(30, seed=1).images, toy_images(30).labels.roll(1)
    )  # wrong labels: learning makes it worse
    fitted = run(
        "training.keep=best",
        "training.epochs=6",
        validation=held,
        on_epoch=lambda row, network: seen.update({row["epoch"]: {k: v.clone() for k, v in network.state_dict().items()}}),
    )
    curve = [row["validation_log_loss"] for row in fitted.history]
    assert fitted.epoch == 1 + curve.index(min(curve))
    assert fitted.epoch < 6  # or the test shows nothing
    assert same(weights(fitted), seen[fitted.epoch])
    last = run("training.epochs=6", validation=held)
    assert last.epoch == 6
    assert same(weights(last), seen[6])


def test_validation_scores_are_those_of_the_returned_network():
    held = toy_images(30, seed=1)
    fitted = run(validation=held)
    with torch.no_grad():
        log_posterior = torch.log_softmax(fitted.network(held.images), -1).numpy()
    truth = held.labels.numpy()
    row = fitted.history[-1]
    assert row["validation_log_loss"] == pytest.approx(-np.mean([p[y] for p, y in zip(log_posterior, truth, strict=True)]))
    assert row["validation_accuracy"] == pytest.approx(np.mean(log_posterior.argmax(axis=1) == truth))


def test_patience_ends_a_training_that_gets_no_better():
    held = LabelledImages(toy_images(30, seed=1).images, toy_images(30).labels.roll(1))
    fitted = run("training.keep=best", "training.patience=2", "training.epochs=50", validation=held)
    assert len(fitted.history) == fitted.epoch + 2 < 50


def test_best_without_a_validation_part_is_refused():
    with pytest.raises(TrainingError) as caught:
        run("training.keep=best")
    assert str(caught.value) == 'training.keep = "best" needs a validation part to choose the epoch by; there is none'


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_learning_rate_by_epoch(monkeypatch, schedule):
    rates = []
    adam = torch.optim.Adam.step

    def spy(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return adam(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    run(f"training.schedule={schedule}", "training.learning_rate=0.01")
    expected = {"constant": [0.01] * 4, "cosine": [0.01, 0.00853553, 0.005, 0.00146447]}[schedule]
    np.testing.assert_allclose(rates[::3], expected, rtol=1e-5)
    assert rates == [rate for rate in rates[::3] for _ in range(3)]  # the same within an epoch


def test_adam_has_the_usual_moments_and_no_weight_decay(monkeypatch):
    """Section 4.3 names Adam and its rate, nothing else: the defaults of its paper."""
    made = []
    adam = torch.optim.Adam
    monkeypatch.setattr(loop.torch.optim, "Adam", lambda *args, **kwargs: made.append(adam(*args, **kwargs)) or made[-1])
    run("training.epochs=1")
    group = made[0].param_groups[0]
    assert (group["betas"], group["eps"], group["weight_decay"], group["amsgrad"]) == ((0.9, 0.999), 1e-8, 0, False)


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", ["rate", "images"])
def test_a_loss_that_is_no_longer_finite_ends_the_training(tmp_path, cause):
    images = toy_images()
    if cause == "images":
        images.images[3, 0, 0, 0] = math.nan
    rate = "1e36" if cause == "rate" else "0.01"
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(TrainingError) as caught:
        run(f"training.learning_rate={rate}", images=images, checkpoint=path)
    assert str(caught.value) == (
        f"the loss is no longer finite in epoch 1: the learning rate {float(rate):g} may be too high for this corpus; "
        "try a tenth of it (--set training.learning_rate=...)"
    )
    assert not path.exists()  # no broken weights are kept


def test_one_scene_is_refused():
    images = toy_images()
    with pytest.raises(
        TrainingError, match="between-class training needs segments of at least two scenes, this training part"
    ):
        run(images=LabelledImages(images.images, torch.zeros_like(images.labels)))


def test_more_processes_than_a_batch_has_examples_are_refused(monkeypatch):
    fabric = make_fabric("cpu")
    monkeypatch.setattr(type(fabric), "world_size", 16)
    with pytest.raises(TrainingError) as caught:
        run(fabric=fabric)
    assert str(caught.value) == (
        "16 processes cannot share batches of 12 out of 30 examples: every process needs at least one of each batch; "
        "start fewer, or raise training.batch_size"
    )


@pytest.mark.parametrize(
    ("device", "precision", "message"),
    [
        ("tpu", "32-true", "device 'tpu': allowed are auto, cpu, cuda, mps"),
        ("cpu", "8", "precision '8': allowed are 32-true, bf16-mixed, 16-mixed"),
    ],
)
def test_an_unknown_device_or_precision_is_refused(device, precision, message):
    with pytest.raises(TrainingError) as caught:
        make_fabric(device, precision)
    assert str(caught.value) == message


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has one")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(TrainingError, match=r"^device 'mps' cannot be used here \(.*\); --device cpu always works$"):
        make_fabric("mps")


def test_bf16_trains():
    fitted = run("training.epochs=1", fabric=make_fabric("cpu", "bf16-mixed"))
    assert math.isfinite(losses(fitted)[0])
    assert all(t.dtype != torch.bfloat16 for t in weights(fitted).values())  # weights stay in float32
    assert losses(fitted) != losses(run("training.epochs=1"))
