"""Decoding and resampling of sound files and arrays: what comes out, in how much memory, and what is known afterwards."""

import hashlib
import os
import tracemalloc
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import soundfile
import soxr

from soundscene.audio import decoders
from soundscene.audio.containers import Part, Window
from soundscene.audio.contents import read_contents
from soundscene.audio.files import AudioArray, AudioFile, content_hash, gate_array, read_samples
from soundscene.errors import AudioWarning
from soundscene.recipe import AudioRecipe
from tests.support.sounds import RATE, aac, headerless_mp3, noise, patched, sound, text

RECIPE = AudioRecipe()


def tone(hz: float, rate: int, seconds: float = 3.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def int16(seconds: float, rate: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Noise as integers, which every lossless format keeps exactly."""
    return (noise(seconds, rate, channels, seed) * 32768).astype(np.int16)


def test_samples_at_the_recipe_s_rate_are_not_touched(tmp_path: Path) -> None:
    x = int16(3.0, RATE)
    for name in ("a.wav", "a.flac", "a.aiff"):
        np.testing.assert_array_equal(read_samples(sound(tmp_path / name, x), RECIPE), x[:, 0] / np.float32(32768))


@pytest.mark.parametrize(("subtype", "step"), [("PCM_U8", 2**-7), ("PCM_24", 2**-23), ("PCM_32", 2**-24), ("FLOAT", 1e-9)])
def test_depths_agree_within_their_steps(tmp_path: Path, subtype: str, step: float) -> None:
    x = noise()
    np.testing.assert_allclose(read_samples(sound(tmp_path / "a.wav", x, subtype=subtype), RECIPE), x[:, 0], atol=1.1 * step)


def test_channels_are_averaged(tmp_path: Path) -> None:
    x = int16(3.0, RATE, 12)
    read = read_samples(sound(tmp_path / "a.wav", x), RECIPE)
    np.testing.assert_allclose(read, x.mean(axis=1) / 32768, atol=1e-7)


@pytest.mark.parametrize("rate", [8000, 44100, 48000, 192000])
def test_resampling_is_one_stream_whatever_the_blocks(tmp_path: Path, rate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = int16(3.3, rate, 2)
    path = sound(tmp_path / "a.wav", x, rate)
    at_once = soxr.resample((x / np.float32(32768)).mean(axis=1, dtype=np.float32), rate, RATE, quality="HQ")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)
        for values in (1 << 11, 1 << 15, 1 << 24):
            monkeypatch.setattr(decoders, "_BLOCK_VALUES", values)
            np.testing.assert_array_equal(read_samples(path, RECIPE), at_once)


@pytest.mark.parametrize("suffix", ["ogg", "mp3", "flac", "m4a"])
def test_block_length_does_not_change_what_is_decoded(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"a.{suffix}"
    path = aac(path) if suffix == "m4a" else sound(path, noise(3, 44100, 2), 44100)
    whole = read_samples(path, RECIPE)
    monkeypatch.setattr(decoders, "_BLOCK_VALUES", 1000)
    np.testing.assert_array_equal(read_samples(path, RECIPE), whole)


def test_a_tone_below_the_cutoff_survives_and_one_above_it_vanishes(tmp_path: Path) -> None:
    heard = read_samples(sound(tmp_path / "low.wav", tone(9000, 44100)[:, None], 44100, "FLOAT"), RECIPE)[2000:-2000]
    gone = read_samples(sound(tmp_path / "high.wav", tone(13000, 44100)[:, None], 44100, "FLOAT"), RECIPE)[2000:-2000]
    assert np.sqrt(2 * np.mean(heard**2)) == pytest.approx(0.5, rel=1e-3)
    assert 20 * np.log10(np.abs(gone).max() / 0.5) < -120


def test_resampling_keeps_time(tmp_path: Path) -> None:
    x = np.zeros((48000 * 4, 1), np.float32)
    x[48000 * 3] = 0.9
    with pytest.warns(AudioWarning, match="digital silence"):
        read = read_samples(sound(tmp_path / "click.wav", x, 48000), RECIPE)
    assert len(read) == 4 * RATE
    assert np.argmax(np.abs(read)) == 3 * RATE


@pytest.mark.parametrize("suffix", ["ogg", "mp3", "opus", "m4a"])
def test_lossy_formats_hold_the_sound(tmp_path: Path, suffix: str) -> None:
    """Within 1 dB of the tone's power, and nothing much beside it."""
    path, x = tmp_path / f"a.{suffix}", tone(1000, 48000)
    if suffix == "m4a":
        aac(path, x=np.stack([x, x], axis=1), rate=48000)
    else:
        opus = suffix == "opus"
        sound(path, x[:, np.newaxis], 48000, "OPUS" if opus else None, "OGG" if opus else None)
    source = AudioFile(path, RECIPE)
    power = np.abs(np.fft.rfft(np.concatenate(list(source.blocks()))[RATE // 2 :][:RATE])) ** 2
    near = power[995:1006].sum()
    assert source.duration_s == pytest.approx(3.0, abs=0.08)  # codecs pad
    assert 10 * np.log10(near / (0.5 * RATE / 2) ** 2) == pytest.approx(0.0, abs=1)  # one line of the DFT: amplitude * n / 2
    assert near / power.sum() > 0.999


def test_headerless_mp3_of_variable_rate_is_whole(tmp_path: Path) -> None:
    path = headerless_mp3(tmp_path / "a.mp3")
    assert soundfile.info(path).duration < 11  # the trap: libsndfile would read this much
    source = AudioFile(path, RECIPE)
    n_samples = sum(len(block) for block in source.blocks())
    assert source.duration_s == pytest.approx(12.0, abs=0.1)
    assert n_samples == pytest.approx(12.0 * RATE, abs=0.1 * RATE)


def test_peak_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    minute = int16(60.0, 16000)

    def peak(minutes: float) -> int:
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", 16000, 1, "PCM_16") as file:
            for _ in range(max(1, round(minutes))):
                file.write(minute[: round(min(1, minutes) * len(minute))])
        tracemalloc.start()
        seconds = sum(len(block) for block in AudioFile(path, AudioRecipe(sample_rate=8000)).blocks()) / 8000
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        path.unlink()
        assert seconds == 60 * minutes
        return highest

    peak(0.25)  # first-time costs
    short, long = peak(0.25), peak(20.0)
    assert long < 1.1 * short
    assert long < 4 << 20  # bytes; the recording has 38 MB, as float32 77 MB


def test_a_sound_is_known_by_its_samples(tmp_path: Path) -> None:
    x = int16(3.0, 44100, 2)
    mono = np.rint((x / np.float32(32768)).mean(axis=1, dtype=np.float32) * 32768).astype("<i2")
    expected = hashlib.sha256(mono.tobytes()).hexdigest()
    for name, subtype in (("a.wav", None), ("a.flac", None), ("other.aiff", None), ("b.flac", "PCM_24")):
        path = sound(tmp_path / name, x, 44100, subtype)
        source = AudioFile(path, RECIPE)
        for _ in source.blocks():
            pass
        assert source.content_hash == content_hash(path) == expected, name
    assert content_hash(sound(tmp_path / "a.wav", x, 48000)) == expected  # another rate is no other recording
    x[-1] += 4
    assert content_hash(sound(tmp_path / "a.wav", x, 44100)) != expected


def test_a_short_sound_has_a_hash(tmp_path: Path) -> None:
    assert len(content_hash(sound(tmp_path / "a.wav", noise(0.1)))) == 64


def test_nothing_is_known_before_the_end(tmp_path: Path) -> None:
    source = AudioFile(sound(tmp_path / "a.wav"), RECIPE)
    blocks = source.blocks()
    next(blocks)
    for name in ("notes", "duration_s", "content_hash"):
        with pytest.raises(RuntimeError, match=r"known only after blocks\(\) has been read to its end"):
            getattr(source, name)
    for _ in blocks:
        pass
    assert source.duration_s == 3.0
    assert source.notes == ()


def test_blocks_leave_warnings_to_the_caller_and_the_whole_warns(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.wav", noise(3, 8000), 8000)
    source = AudioFile(path, RECIPE)
    n_samples = sum(len(block) for block in source.blocks())  # a warning would be an error here
    assert len(source.notes) == 1
    with pytest.warns(AudioWarning, match="nothing above 4000 Hz"):
        assert len(read_samples(path, RECIPE)) == n_samples


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint8])
def test_integers_are_scaled_by_their_full_scale(dtype: type[np.integer]) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    middle = low + (high - low + 1) // 2
    x = np.tile(np.array([low, middle, high, middle], dtype), RATE)
    step = 2 / (int(high) - int(low) + 1)
    np.testing.assert_allclose(gate_array(x, RATE, RECIPE)[:4], [-1, 0, 1 - step, 0], atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_taken_as_they_are(dtype: type[np.floating]) -> None:
    x = noise()[:, 0].astype(dtype)
    np.testing.assert_array_equal(gate_array(x, RATE, RECIPE), x.astype(np.float32))


def test_array_and_file_are_one(tmp_path: Path) -> None:
    x = int16(3.0, 44100, 12)
    path = sound(tmp_path / "a.wav", x, 44100)
    np.testing.assert_array_equal(gate_array(x.T, 44100, RECIPE), read_samples(path, RECIPE))
    source = AudioArray(x.T, 44100, RECIPE)
    for _ in source.blocks():
        pass
    assert source.content_hash == content_hash(path)
    assert source.duration_s == 3.0


def test_notes_of_an_array_name_it() -> None:
    with pytest.warns(AudioWarning, match=r"^microphone: peak 1.5, samples are expected within -1 to 1, left unchanged$"):
        kept = gate_array(np.r_[noise()[:, 0], np.float32(1.5)], RATE, RECIPE, "microphone")
    assert kept[-1] == np.float32(1.5)


def test_single_zeros_are_no_silence(tmp_path: Path) -> None:
    """Quiet 16-bit sound is mostly zeros, one at a time: no warning (warnings are errors here)."""
    draws = np.random.default_rng(0)
    x = ((draws.random((RATE * 3, 1)) < 0.1) * draws.integers(-12, 13, (RATE * 3, 1))).astype(np.int16)
    assert np.mean(x == 0) > 0.8
    read_samples(sound(tmp_path / "quiet.wav", x), RECIPE)


def test_promises_of_healthy_files(tmp_path: Path) -> None:
    for name in ("a.wav", "a.aiff", "a.ogg", "a.mp3", "a.flac"):
        with sound(tmp_path / name).open("rb") as file:
            contents = read_contents(file)
        assert not contents.fault
        assert not contents.notes
        (part,) = contents.parts
        assert part.whole
        assert part.n_frames is None or 0.95 < part.n_frames / (3 * RATE) <= 1, name


def test_odd_chunks_and_tags_are_stepped_over(tmp_path: Path) -> None:
    wav = sound(tmp_path / "a.wav").read_bytes()
    junk = b"JUNK" + (5).to_bytes(4, "little") + b"abcde\0"  # an odd chunk has a pad byte
    text(tmp_path / "a.wav", wav[:12] + junk + wav[12:])
    plain = read_samples(sound(tmp_path / "b.wav"), RECIPE)
    np.testing.assert_array_equal(read_samples(tmp_path / "a.wav", RECIPE), plain)
    mp3 = sound(tmp_path / "a.mp3").read_bytes()
    whole = read_samples(tmp_path / "a.mp3", RECIPE)
    text(tmp_path / "a.mp3", b"ID3\4\0\0\0\0\1\0" + bytes(128) + mp3)  # 128 bytes, written with 7 bits to the byte
    np.testing.assert_array_equal(read_samples(tmp_path / "a.mp3", RECIPE), whole)


def test_a_part_of_a_file_reads_as_a_file_wherever_a_read_begins(tmp_path: Path) -> None:
    path = text(tmp_path / "a", "0123456789")
    expected = b"abc45678"
    with path.open("rb") as file:
        window = Window(file, Part(4, 9, b"abc"))
        for start in range(10):
            for n in range(11):
                assert window.seek(start) == window.tell() == start
                assert window.read(n) == expected[start : start + n]
                window.seek(start - 8, os.SEEK_END)
                buffer = bytearray(n)
                assert bytes(buffer[: window.readinto(buffer)]) == expected[start : start + n]
        window.seek(2)
        assert window.read() == expected[2:]


def test_wav_longer_than_a_header_can_say_is_not_cut_short(tmp_path: Path) -> None:
    """Streamed beyond 4 GiB, where libsndfile stops at the promise; a sparse file stands for it."""
    path = patched(patched(sound(tmp_path / "a.wav"), b"data", 4, b"\xff" * 4), b"RIFF", 4, b"\xff" * 4)
    with path.open("r+b") as file:
        file.truncate((1 << 32) + 100)
    with path.open("rb") as file:
        (part,) = read_contents(file).parts
        with soundfile.SoundFile(cast(Any, Window(file, part))) as whole:
            assert whole.frames == ((1 << 32) + 100 - 44) // 2
