"""Recordings with hardly any signal are noted, dead channels are left out of the mix, and ordinary sound is left alone."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from soundscene.audio.files import AudioArray, AudioFile, read_samples
from soundscene.audio.gate import Gate
from soundscene.recipe import AudioRecipe
from soundscene.render.scenes import SCENES as RENDERED
from tests.support.tiny import RATE, recording

RECIPE = AudioRecipe()
STEP = 2.0**-15
N = 4 * RATE


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def notes(x: np.ndarray) -> tuple[str, ...]:
    """Notes of samples [sample] or [sample, channel]."""
    source = AudioArray(np.ascontiguousarray(np.asarray(x, np.float32).T), RATE, RECIPE)
    list(source.blocks())
    return source.notes


def rain() -> np.ndarray:
    return recording("rain", 4.0, 1).astype(np.float32)


DEAD = {
    "one step": rng().integers(-1, 2, N) * STEP,
    "one step beside an offset": (rng().integers(-1, 2, N) + 100) * STEP,
    "a constant": np.full(N, 0.1),
    "half a step, dithered": np.round(rng().normal(0, 0.6, N)) * STEP,
    "A-law": rng().choice([-8, 8], N) * STEP,
    "mu-law": rng().choice([0, 0, 8], N) * STEP,
    "8 bits": rng().integers(-1, 2, N) / 128,
    "24 bits": rng().integers(-200, 201, N) * 2.0**-23,
    "scaled twice": rain() * STEP,
    "two channels of one step": rng().integers(-1, 2, (N, 2)) * STEP,
    "a click at the start": np.concatenate([[0.5, -0.5], rng().integers(-1, 2, N - 2) * STEP]),
}


@pytest.mark.parametrize("name", DEAD)
def test_a_dead_microphone_is_noted(name: str) -> None:
    (note,) = notes(DEAD[name])
    assert note.startswith("hardly any signal (")
    assert note.endswith("is the microphone connected, and its gain up?")


@pytest.mark.parametrize(("rate", "n"), [(8000, 1), (44100, 6), (48000, 1), (48000, 2), (48000, 16), (192000, 16)])
def test_a_dead_microphone_is_noted_at_any_rate(rate: int, n: int) -> None:
    samples = np.random.default_rng(0).integers(-1, 2, (n, rate * 3)).astype(np.int16)
    file = AudioArray(samples, rate, AudioRecipe())
    assert sum(map(len, file.blocks()))
    assert any(note.startswith("hardly any signal") for note in file.notes)


def test_a_dead_microphone_is_noted_behind_a_lossy_codec(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", DEAD["one step"], RATE)
    source = AudioFile(tmp_path / "a.mp3", RECIPE)
    try:
        list(source.blocks())
    except Exception as error:  # an encoder may make it digital silence
        assert "digital silence" in str(error)  # noqa: PT017
    else:
        assert "hardly any signal" in " ".join(source.notes)


@pytest.mark.parametrize("scene", sorted(RENDERED))
@pytest.mark.parametrize("level_db", [0, -30])
def test_every_rendered_scene_holds_a_signal(scene: str, level_db: float) -> None:
    x = np.round(recording(scene, 4.0, 3) * 10 ** (level_db / 20) / STEP) * STEP
    assert notes(x) == ()


def test_quiet_sound_of_16_bits_and_loud_sound_of_two_levels_hold_a_signal() -> None:
    quiet = np.round(rng().normal(0, 3, N)) * STEP  # -81 dB
    assert notes(quiet) == ()
    assert notes(0.3 * np.sign(np.sin(np.arange(N)))) == ()
    assert notes(rng().normal(0, 5e-5, N)) == (), "-86 dB of more than 16 bits"
    half = np.concatenate([DEAD["one step"], rain()])
    assert notes(half) == ()


@pytest.mark.parametrize("n", [2, 3, 6])
@pytest.mark.parametrize("kind", ["zero", "one step", "a constant"])
def test_dead_channels_are_left_out(n: int, kind: str, tmp_path: Path) -> None:
    x = rain()
    dead = {
        "zero": np.zeros((len(x), n)),
        "one step": rng().integers(-1, 2, (len(x), n)) * STEP,
        "a constant": np.full((len(x), n), 0.2),
    }
    channels = dead[kind].astype(np.float32)
    channels[:, n - 2] = x
    which = ", ".join(str(c + 1) for c in range(n) if c != n - 2)
    assert notes(channels) == (f"channel {which} of {n} holds no signal and is left out of the mix to mono",)
    soundfile.write(tmp_path / "a.wav", channels, RATE, "FLOAT")
    with pytest.warns(match="left out of the mix"):
        np.testing.assert_array_equal(read_samples(tmp_path / "a.wav", RECIPE), x)


def test_a_channel_that_comes_alive_counts_from_there() -> None:
    x = rain()
    late = np.where(np.arange(len(x)) < 3 * RATE, 0, x).astype(np.float32)
    source = AudioArray(np.stack([x, late]), RATE, RECIPE)
    mixed = np.concatenate(list(source.blocks()))
    alive = 3 * RATE + int(np.argmax(np.abs(late[3 * RATE :]) > 1.3e-4))
    np.testing.assert_array_equal(mixed[:alive], x[:alive])
    np.testing.assert_array_equal(mixed[alive:], ((x + late) * np.float32(0.5))[alive:])


def test_channels_that_are_merely_unlike_are_mixed_as_before() -> None:
    x, other = rain(), recording("office", 4.0, 2).astype(np.float32)
    for second in (0.02 * x, other, np.roll(x, 5), np.where(np.arange(len(x)) < RATE, 0, other)):
        second = second.astype(np.float32)
        source = AudioArray(np.stack([x, second]), RATE, RECIPE)
        np.testing.assert_array_equal(np.concatenate(list(source.blocks())), (x + second) * np.float32(0.5))
        assert source.notes == ()


@pytest.mark.parametrize("n", [2, 4])
def test_opposite_phase_is_noted(n: int) -> None:
    x = rain()
    channels = np.stack([x * (-1) ** c for c in range(n)], axis=1) * np.linspace(1, 0.9, n)
    (note,) = notes(channels)
    assert note.startswith("its channels cancel each other when mixed to mono (by ")
    assert notes(np.stack([x, np.roll(x, 400)], axis=1)) == ()


@pytest.mark.parametrize("sizes", [[1, 7, 999], [60000], [441]])
def test_the_mix_does_not_depend_on_the_blocks(sizes: list[int]) -> None:
    x = rain()
    late = np.where(np.arange(len(x)) < 3 * RATE, 0, x)
    channels = np.stack([late, x, np.zeros_like(x)], axis=1).astype(np.float32)

    def through(cuts: list[int]) -> tuple[np.ndarray, tuple[str, ...]]:
        gate, at, out, turn = Gate("a", RATE, RECIPE, False), 0, [], 0
        while at < len(channels):
            out.append(gate.push(channels[at : at + cuts[turn % len(cuts)]]))
            at, turn = at + cuts[turn % len(cuts)], turn + 1
        out.append(gate.flush())
        return np.concatenate(out), gate.summary().notes

    whole, cut = through([len(channels)]), through(sizes)
    np.testing.assert_array_equal(cut[0], whole[0])
    assert cut[1] == whole[1]
