"""Which device a model computes on."""

import pytest
import torch

from soundscene.compute import choose_device, place
from soundscene.errors import SceneError
from tests.support.tiny import blank_bundle, only


def test_auto_is_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(SceneError, match="'cuda' is not available here; there is cpu; --device cpu always works"):
        choose_device("cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [choose_device(name) for name in ("auto", "cuda", "mps", "cpu")] == ["cuda", "cuda", "mps", "cpu"]
    with pytest.raises(SceneError, match="device 'gpu': allowed are auto, cpu, cuda, mps"):
        choose_device("gpu")


def test_networks_move_and_svms_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device "meta", which every machine has: a place without numbers."""
    monkeypatch.setattr("soundscene.compute.choose_device", lambda name: "meta")
    member = only(place(blank_bundle(), "cuda"))
    assert member.network.softmax.weight.device.type == "meta"
    assert member.svm.weight.device.type == "cpu"
