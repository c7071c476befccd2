import math
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from soundscene.network.models import build_network
from soundscene.training import fit as loop
from soundscene.training import step as steps
from soundscene.training.between_class import draw_pairs, kl_divergence, mix_images, mix_labels
from soundscene.training.device import make_fabric
from soundscene.training.fit import fit
from soundscene.training.step import make_optimiser, obstacle, set_rate
from tests.training.stepping import losses, pairs, same, set_up
from tests.training.toys import N_SCENES, STILL, TINY, toy_images

# As written -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["att-crnn", "cnn"])
def test_training_is_the_plain_loop_bit_for_bit(kind):
    """Section 3 and 4.3 without any of our machinery."""
    recipe, images = TINY.with_settings([f"network.kind={kind}", "training.epochs=2"]), toy_images(31)
    fitted = fit(recipe, images, N_SCENES)

    torch.manual_seed(0)
    network = build_network(recipe, N_SCENES)
    network.standardise.fit(images.images)
    adam = torch.optim.Adam(network.parameters(), lr=0.01)
    means = []
    for epoch in range(2):
        draws = torch.Generator().manual_seed(loop._seed(0, epoch, 0))
        torch.manual_seed(loop._seed(0, epoch, 1))
        drawn = draw_pairs(images.labels, 31, draws)
        network.train()
        total = torch.zeros(())
        for part in torch.arange(31).tensor_split(3):
            first, second, r = drawn.first[part], drawn.second[part], drawn.ratio[part]
            one, other = network.standardise(images.images[first]), network.standardise(images.images[second])
            mixed = mix_images(one, other, r).contiguous(memory_format=torch.channels_last)
            loss = kl_divergence(
                mix_labels(images.labels[first], images.labels[second], r, N_SCENES), network.from_standardised(mixed)
            )
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.detach() * len(part)
        means.append(total.item() / 31)
    assert losses(fitted) == means
    assert same(fitted.network.state_dict(), network.state_dict())


def test_a_step_needs_the_pairs_of_an_epoch():
    with pytest.raises(ValueError, match=r"an epoch begins with start\(pairs\)"):
        set_up()[2].run(slice(0, 4), 0)


def test_total_is_the_loss_summed_over_examples_since_the_start():
    network, _, step = set_up(TINY.with_settings([*STILL, "training.learning_rate=1e-12"]))
    images, drawn = toy_images(), pairs()
    for _ in range(2):
        step.start(drawn)
        for part in (slice(0, 12), slice(12, 30)):
            step.run(part, 0)
    expected = 0.0
    for part in (slice(0, 12), slice(12, 30)):
        first, second, r = drawn.first[part], drawn.second[part], drawn.ratio[part]
        one, other = (network.standardise(images.images[i]) for i in (first, second))
        targets = mix_labels(images.labels[first], images.labels[second], r, N_SCENES)
        with torch.no_grad():
            expected += float(kl_divergence(targets, network.from_standardised(mix_images(one, other, r)))) * len(r)
    assert float(step.total) == pytest.approx(expected, rel=1e-5)


# When -----------------------------------------------------------------------------------------------------------------


def without_inner_dropout():
    network = build_network(TINY, N_SCENES)
    for part in network.modules():
        if isinstance(part, nn.GRU):
            part.dropout = 0.0
    return network


@pytest.mark.parametrize(
    ("settings", "place", "reason"),
    [
        ([], ("cpu", "32-true", 1), "cpu has no CUDA graphs"),
        ([], ("mps", "32-true", 1), "mps has no CUDA graphs"),
        ([], ("cuda", "32-true", 2), "several processes"),
        (["training.gain_db=1"], ("cuda", "32-true", 1), "gain and masks"),
        (["training.mask_bands=4"], ("cuda", "32-true", 1), "gain and masks"),
        (["training.mask_frames=4"], ("cuda", "32-true", 1), "gain and masks"),
        ([], ("cuda", "16-mixed", 1), "16-mixed"),
        ([], ("cuda", "32-true", 1), ""),
        ([], ("cuda", "bf16-mixed", 1), ""),
    ],
)
def test_what_stands_in_the_way_of_a_capture(settings, place, reason):
    found = obstacle(TINY.with_settings(settings), without_inner_dropout(), *place)
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_dropout_that_cudnn_keeps_to_itself_stands_in_the_way():
    network = without_inner_dropout()
    gru = nn.GRU(4, 4, 2, dropout=0.1)
    network.add_module("another", gru)
    assert obstacle(TINY, network, "cuda", "32-true", 1).startswith("dropout inside cuDNN")
    gru.num_layers = 1  # then there is nothing between layers, and PyTorch's own dropout follows the seed
    assert obstacle(TINY, network, "cuda", "32-true", 1) == ""


def test_nothing_is_captured_on_the_processor():
    for precision in ("32-true", "bf16-mixed"):
        assert steps.choose_capture(TINY, make_fabric("cpu", precision), without_inner_dropout()) is None


def test_cuda_graphs_warm_up_beside_the_current_stream_and_record_once(monkeypatch):
    """The order of calls only: no card is needed for that, and none is proven by it."""
    log = []

    class Stream:
        def __init__(self, name="side"):
            self.name = name

        def wait_stream(self, other):
            log.append(f"{self.name} waits for {other.name}")

    @contextmanager
    def using(stream):
        log.append(f"on {stream.name}")
        yield
        log.append("back")

    @contextmanager
    def graph(recorded, pool, stream):
        log.append(f"record {pool} on {stream.name}")
        yield
        log.append("recorded")

    current = Stream("current")
    fakes = {"Stream": Stream, "stream": using, "graph": graph, "current_stream": lambda: current}
    fakes |= {"graph_pool_handle": lambda: "pool", "CUDAGraph": lambda: SimpleNamespace(replay=lambda: log.append("replay"))}
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    replay = steps.CudaGraphs()(lambda: log.append("compute"))
    replay()
    warm = ["side waits for current", "on side", *["compute"] * 3, "back", "current waits for side"]
    assert log == [*warm, "record pool on side", "compute", "recorded", "replay"]


def test_the_rate_is_a_number_where_it_can_be_and_a_tensor_where_it_must():
    network = build_network(TINY, N_SCENES)
    plain = make_optimiser(network, 0.01, torch.device("cpu"), captured=False)
    set_rate(plain, 0.005)
    assert plain.param_groups[0]["lr"] == 0.005
    captured = make_optimiser(network, 0.01, torch.device("cpu"), captured=True)
    rate = captured.param_groups[0]["lr"]
    set_rate(captured, 0.005)
    assert captured.param_groups[0]["lr"] is rate
    assert math.isclose(float(rate), 0.005, rel_tol=1e-6)
    assert (captured.param_groups[0]["fused"], captured.param_groups[0]["capturable"]) == (True, True)
    assert steps.WARM_UP >= 3  # cuDNN chooses its algorithms, Adam makes its moments
