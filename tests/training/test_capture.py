"""A captured step, without a card: `recorder` repeats recorded kernels as a CUDA graph does."""

import pytest
import torch
from lightning_fabric import Fabric

from soundscene.network import blocks
from soundscene.network.models import build_network
from soundscene.training import fit as loop
from soundscene.training import step as steps
from soundscene.training.device import make_fabric
from soundscene.training.fit import LabelledImages, fit
from soundscene.training.step import Step, set_rate
from tests.training.recorder import CopyError, NoCopies, Recorder, Recording, WaitError
from tests.training.stepping import adam_of_a_card, losses, pairs, same, set_up
from tests.training.toys import AUGMENTED, N_SCENES, STILL, TINY, toy_images


@pytest.fixture
def as_on_a_card(monkeypatch):
    """The network as it runs on a graphics card, without the kernels for the processor."""
    monkeypatch.setattr(blocks, "fits", lambda _: False)


@pytest.mark.parametrize(
    "settings",
    [[], ["network.kind=cnn"], ["training.schedule=cosine"], ["training.mixing=none"], AUGMENTED],
    ids=lambda settings: settings[-1] if settings else "plain",
)
def test_captured_training_is_the_one_as_written_bit_for_bit(monkeypatch, as_on_a_card, settings):
    """Dropout, batch-norm statistics, two batch sizes, a rate that changes: all through replays that run no Python."""
    recorder = Recorder()
    monkeypatch.setattr(steps, "make_optimiser", adam_of_a_card)
    recipe = TINY.with_settings(settings)
    written = fit(recipe, toy_images(31), N_SCENES)
    monkeypatch.setattr(loop, "choose_capture", lambda *_: recorder)
    captured = fit(recipe, toy_images(31), N_SCENES)
    assert losses(captured) == losses(written)
    assert same(captured.network.state_dict(), written.network.state_dict())
    assert len(recorder.recordings) == 2  # 31 examples: one batch of 11 and two of 10, in every epoch


def test_the_same_in_bf16(monkeypatch, as_on_a_card):
    """Against the same step run each time, without autocast's cache too: with it the processor, which casts the recurrent
    weights for every frame, sums their gradients in another order."""
    monkeypatch.setattr(steps, "make_optimiser", adam_of_a_card)
    fabric = make_fabric("cpu", "bf16-mixed")
    monkeypatch.setattr(loop, "choose_capture", lambda *_: lambda compute: compute)
    written = fit(TINY, toy_images(), N_SCENES, fabric=fabric)
    monkeypatch.setattr(loop, "choose_capture", lambda *_: Recorder())
    captured = fit(TINY, toy_images(), N_SCENES, fabric=fabric)
    assert losses(captured) == losses(written)
    assert same(captured.network.state_dict(), written.network.state_dict())


def test_captured_interrupted_and_resumed_is_never_interrupted(monkeypatch, as_on_a_card, tmp_path):
    monkeypatch.setattr(steps, "make_optimiser", adam_of_a_card)
    monkeypatch.setattr(loop, "choose_capture", lambda *_: Recorder())
    recipe = TINY.with_settings(["network.filters=[4, 8, 16]"])  # channels-last differs from rows of memory
    whole = fit(recipe, toy_images(), N_SCENES)

    def stop(row, _):
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, toy_images(), N_SCENES, checkpoint=path, on_epoch=stop)
    resumed = fit(recipe, toy_images(), N_SCENES, checkpoint=path)
    assert same(resumed.network.state_dict(), whole.network.state_dict())
    assert losses(resumed) == losses(whole)


def test_recording_changes_no_weight_moment_sum_or_random_number(as_on_a_card):
    def idle(compute):
        for _ in range(4):
            compute()
        return lambda: None

    network, adam, step = set_up(capture=idle)
    step.start(pairs())
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    step.run(slice(0, 12), 0)  # a recording whose replay does nothing
    assert same(network.state_dict(), weights)
    assert torch.equal(torch.get_rng_state(), random)
    assert float(step.total) == 0
    assert all(float(moment.abs().max()) == 0 for state in adam.state.values() for moment in state.values())
    for state in adam.state.values():  # as far along as any training may be when another size comes
        for moment in state.values():
            moment.fill_(3.0)
    step.run(slice(12, 30), 0)
    assert same(network.state_dict(), weights)
    assert all(bool((moment == 3).all()) for state in adam.state.values() for moment in state.values())


def addresses(network, adam, step):
    kept = [*network.parameters(), *network.buffers(), adam.param_groups[0]["lr"], step.total]
    kept += [moment for state in adam.state.values() for moment in state.values()]
    return [tensor.data_ptr() for tensor in (*kept, *(p.grad for p in network.parameters()))]


def test_nothing_that_a_recording_reads_is_ever_moved(as_on_a_card):
    network, adam, step = set_up(capture=Recorder())
    step.start(pairs())
    step.run(slice(0, 12), 0)
    before = addresses(network, adam, step)
    set_rate(adam, 1e-3)
    step.start(pairs(seed=1))
    step.run(slice(3, 15), 0)
    assert addresses(network, adam, step) == before


def test_a_new_rate_reaches_a_recording(as_on_a_card):
    network, adam, step = set_up(TINY.with_settings(STILL), Recorder())
    step.start(pairs())
    step.run(slice(0, 12), 0)
    set_rate(adam, 0.0)
    before = {name: tensor.clone() for name, tensor in network.named_parameters()}
    step.run(slice(12, 24), 0)
    assert same(dict(network.named_parameters()), before)
    set_rate(adam, 0.1)
    step.run(slice(12, 24), 0)
    assert not torch.equal(network.softmax.weight, before["softmax.weight"])


def test_the_stand_in_sees_what_a_graph_cannot_do(as_on_a_card):
    """Or the tests above would show nothing: each of these is a way to write a step that works only uncaptured."""
    x = torch.randn(5)
    with pytest.raises(WaitError, match="_local_scalar_dense"), Recording():
        x.sum().item()
    with pytest.raises(WaitError, match="index"), Recording():
        x[x > 0]
    _, _, step = set_up(capture=Recorder(), captured=False)  # Adam with its step count on the processor
    step.start(pairs())
    with pytest.raises(WaitError, match="_local_scalar_dense"):
        step.run(slice(0, 12), 0)
    made = (lambda: torch.tensor([0.0, 1.0]), lambda: x.new_tensor([0.0]), lambda: torch.as_tensor(1.0))
    fetched = (x.numpy, x.tolist, x.cpu, lambda: x.to("cpu"), lambda: x.to(device=torch.device("cpu")))
    listed = (lambda: x[[0, 1]], lambda: x[..., [0, 1]], lambda: x.__setitem__([0, 1], 0.0))
    for copy in (*made, *fetched, *listed):
        with pytest.raises(CopyError), NoCopies():
            copy()
    with NoCopies():
        kept = x.to(torch.float64), x[0], x[:2], x[torch.zeros(1, dtype=torch.int64)]  # stay on the device
    assert len(kept) == 4
    recording, frozen = Recording(), 2.0
    with recording:
        y = x * frozen
    x.fill_(1.0)
    frozen = 3.0
    recording.replay()
    assert y.tolist() == [2.0] * 5  # new tensor, old number


def test_a_step_makes_no_tensor_on_another_device(as_on_a_card):
    """On the device "meta", which refuses a tensor of the processor as CUDA does, and has no numbers to give back."""
    fabric = Fabric(accelerator="cpu", devices=1)
    images = toy_images()
    on_meta = LabelledImages(images.images.to("meta"), images.labels.to("meta"))
    network = build_network(TINY, N_SCENES).to("meta")
    sgd = torch.optim.SGD(network.parameters(), lr=0.1)  # Adam's capturable form knows real devices only
    model, sgd = fabric.setup(network, sgd, move_to_device=False)
    model.mark_forward_method("from_standardised")
    for recipe in (TINY, TINY.with_settings(AUGMENTED)):
        step = Step(recipe, fabric, model, sgd, on_meta, N_SCENES)
        step.start(pairs())
        with NoCopies():
            step.run(slice(0, 12), 0)
    assert step.total.device.type == "meta"
    assert all(p.grad is not None and p.grad.device.type == "meta" for p in network.parameters())
    shaken = Step(TINY.with_settings(["training.gain_db=3"]), fabric, model, sgd, on_meta, N_SCENES)
    shaken.start(pairs())
    shaken.run(slice(0, 12), 0)  # drawn on the processor, brought over by hand
