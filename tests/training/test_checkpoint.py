import json

import pytest
import torch
from safetensors.torch import save_file

from soundscene.errors import TrainingError
from soundscene.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint


def state():
    parameter = torch.nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last))
    adam = torch.optim.Adam([parameter])
    parameter.square().sum().backward()
    adam.step()
    return TrainingState(
        epoch=3,
        history=[{"epoch": 1.0, "loss": 0.1 + 0.2}],
        network={"weight": parameter.detach(), "norm.num_batches_tracked": torch.tensor(7)},
        average={"weight": torch.full((2,), 0.25)},
        best={"weight": torch.full((2,), 0.5, dtype=torch.float64)},
        best_epoch=2,
        optimiser=adam.state_dict(),
        generators={"draws": torch.Generator().get_state()},
    )


def test_what_is_saved_comes_back_bit_by_bit(tmp_path):
    saved = state()
    path = tmp_path / "new" / "folder" / "checkpoint.safetensors"
    save_checkpoint(path, saved, "mark")
    back = load_checkpoint(path, "mark")
    assert back is not None
    assert (back.epoch, back.best_epoch, back.history) == (3, 2, [{"epoch": 1.0, "loss": 0.1 + 0.2}])
    for kind in ("network", "average", "best", "generators"):
        ours, theirs = getattr(back, kind), getattr(saved, kind)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype for name in ours)
    moments = back.optimiser["state"]
    assert moments.keys() == saved.optimiser["state"].keys() == {0}
    assert moments[0].keys() == {"step", "exp_avg", "exp_avg_sq"}
    assert all(torch.equal(moments[0][name], saved.optimiser["state"][0][name]) for name in moments[0])
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing is left beside it


def test_there_is_none_yet(tmp_path):
    assert load_checkpoint(tmp_path / "none.safetensors", "mark") is None


def test_a_failed_write_leaves_the_last_one_alone(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, state(), "mark")
    before = path.read_bytes()
    unwritable = state()
    unwritable.history.append({"loss": object()})  # type: ignore[dict-item]
    with pytest.raises(TypeError):
        save_checkpoint(path, unwritable, "mark")
    assert path.read_bytes() == before


def test_a_foreign_checkpoint_is_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, state(), "mine")
    with pytest.raises(TrainingError) as caught:
        load_checkpoint(path, "yours")
    assert str(caught.value) == (
        f"{path}: belongs to a training with another recipe or other recordings; finish that one, or delete the file"
    )


def empty(path):
    path.write_bytes(b"")


def cut(path):
    save_checkpoint(path, state(), "mark")
    path.write_bytes(path.read_bytes()[:-100])


def text(path):
    path.write_text("no tensors here " * 20)


def without_header(path):
    save_file({"weight": torch.zeros(2)}, path)


def with_another_header(path):
    save_file({"weight": torch.zeros(2)}, path, {"format": "pt"})


def with_half_a_header(path):
    save_file({"weight": torch.zeros(2)}, path, {"state": json.dumps({"epoch": 1})})


@pytest.mark.parametrize("damage", [empty, cut, text, without_header, with_another_header, with_half_a_header])
def test_a_damaged_checkpoint_is_refused(tmp_path, damage):
    path = tmp_path / "checkpoint.safetensors"
    damage(path)
    with pytest.raises(TrainingError) as caught:
        load_checkpoint(path, "mark")
    assert str(caught.value).startswith(f"{path}: damaged or not a soundscene checkpoint (")
    assert str(caught.value).endswith("); delete it to train from the start")
