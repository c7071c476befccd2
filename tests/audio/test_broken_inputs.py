"""Broken sound files and arrays: each is answered by one sentence, pinned here, and never by a traceback.

The tables read: name, how the input is made, the message that follows the input's path.
"""

import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from soundscene.audio.files import AudioFile, content_hash, gate_array, read_samples
from soundscene.errors import AudioError, AudioWarning
from soundscene.recipe import AudioRecipe
from tests.support.sounds import (
    RATE,
    aac,
    cut,
    empty_flac,
    headerless_mp3,
    link,
    made,
    never_closed,
    noise,
    patched,
    pipe,
    piped_flac,
    riff,
    silent_film,
    sound,
    spoiled,
    text,
)

RECIPE = AudioRecipe()
IMPLAUSIBLE = (
    ": a sample rate of {} Hz is not plausible, allowed are 1000 to 768000 Hz; "
    "is the header damaged, or the rate given in kHz?"
)
NO_SCALE = (
    ": samples of type {} have no known full scale; allowed are float, int8, int16, int32 and uint8; "
    "convert with samples.astype(np.int16), or divide to [-1, 1] as float"
)
TOO_SHORT = (
    "the recipe needs at least one segment of 2.000 s (audio.segment_s); leave the file out, or train with shorter segments"
)

# name, how the file is made, the message after its path; # stands for a number that depends on the encoder
FILES: list[tuple[str, Callable[[Path], Path], str]] = [
    ("absent", lambda p: p / "a.wav", ": does not exist; is the path relative to another folder?"),
    ("broken link", lambda p: link(p / "a.wav"), ": is a link to gone.wav, which does not exist"),
    ("directory", lambda p: made(p / "a.wav"), ": is a directory; expected an audio file"),
    ("pipe", lambda p: pipe(p / "a.wav"), ": is not a regular file; expected an audio file"),
    ("file as a folder", lambda p: text(p / "a", "x") / "b.wav", ": cannot be opened (Not a directory)"),
    ("empty", lambda p: text(p / "a.wav", ""), ": is empty (0 bytes); was the copy or the download interrupted?"),
    ("text", lambda p: text(p / "a.wav", "no sound " * 99), ": is not an audio file but plain text"),
    ("PNG", lambda p: text(p / "a.mp3", b"\x89PNG\r\n\x1a\n" + bytes(999)), ": is not an audio file but a PNG image"),
    (
        "Git LFS pointer",
        lambda p: text(p / "a.flac", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        ": is not an audio file but a Git LFS pointer (run git lfs pull)",
    ),
    (
        "web page",
        lambda p: text(p / "a.ogg", "<!DOCTYPE html><title>404</title>"),
        ": is not an audio file but an HTML page (did the download fail?)",
    ),
    (
        "random bytes",
        lambda p: text(p / "a.wav", np.random.default_rng(0).bytes(5000)),
        ": not readable as WAV, FLAC, OGG, MP3 or AIFF (Format not recognised), and FFmpeg does not know it either; "
        "it is damaged or not an audio file",
    ),
    (
        "WAV, no samples",
        lambda p: sound(p / "a.wav", noise(0)),
        ": holds no samples; was the recording or the export interrupted?",
    ),
    (
        "FLAC, no samples",
        lambda p: empty_flac(p / "a.flac"),
        ": holds no samples; was the recording or the export interrupted?",
    ),
    (
        "WAV, header cut",
        lambda p: text(p / "a.wav", sound(p / "a.wav").read_bytes()[:30]),
        ": is truncated: the header ends before the samples begin (no 'data' chunk); copy or export it again",
    ),
    (
        "WAV, samples cut",
        lambda p: cut(sound(p / "a.wav"), 0.9),
        ": is truncated: the header promises 132300 bytes of samples, the file holds 119066; copy or export it again",
    ),
    (
        "RF64, samples cut",
        lambda p: cut(sound(p / "a.wav", form="RF64"), 0.9),
        ": is truncated: the header promises 132300 bytes of samples, the file holds 119060; copy or export it again",
    ),
    (
        "AIFF, samples cut",
        lambda p: cut(sound(p / "a.aiff"), 0.9),
        ": is truncated: the header promises 132308 bytes of samples, the file holds 119073; copy or export it again",
    ),
    (
        "FLAC cut",
        lambda p: cut(sound(p / "a.flac", noise(9)), 0.6),
        ": cannot be decoded beyond # s (the header promises 9.00 s); it is truncated or damaged",
    ),
    (
        "OGG cut",
        lambda p: cut(sound(p / "a.ogg"), 0.6),
        ": is truncated: its last OGG page is incomplete; copy or export it again",
    ),
    (
        "MP3 cut",
        lambda p: cut(sound(p / "a.mp3"), 0.6),
        ": is truncated: the header promises # bytes of samples, the file holds #; copy or export it again",
    ),
    (
        "MP3 cut, header with a number of frames only",
        lambda p: cut(patched(sound(p / "a.mp3"), b"Xing", 4, b"\0\0\0\1"), 0.6),
        ": cannot be decoded beyond # s (the header promises # s); it is truncated or damaged",
    ),
    (
        "M4A cut, index lost",
        lambda p: cut(aac(p / "a.m4a"), 0.6),
        ": is truncated: its index (moov), which may stand at the end, is missing; copy or export it again",
    ),
    (
        "M4A cut, index kept",
        lambda p: cut(aac(p / "a.m4a", flags="faststart"), 0.6),
        ": cannot be decoded beyond # s (Invalid data found when processing input); it is truncated or damaged",
    ),
    ("video without sound", lambda p: silent_film(p / "a.mp4"), ": contains no audio, only video"),
    (
        "NaN",
        lambda p: sound(p / "a.wav", spoiled(np.nan, 1.5), subtype="FLOAT"),
        ": holds nan at 1.500 s (channel 2), samples must be finite; did the program that wrote it divide by zero?",
    ),
    (
        "infinity",
        lambda p: sound(p / "a.wav", spoiled(-np.inf, 2.0), subtype="DOUBLE"),
        ": holds -inf at 2.000 s (channel 2), samples must be finite; did the program that wrote it divide by zero?",
    ),
    (
        "digital silence",
        lambda p: sound(p / "a.wav", np.zeros(RATE * 3)),
        ": digital silence: all 66150 samples are exactly zero; was the microphone muted, or the wrong input recorded?",
    ),
    (
        "channels cancel",
        lambda p: sound(p / "a.wav", noise() * np.array([1, -1], np.float32), subtype="FLOAT"),
        ": its channels cancel each other when mixed to mono; is the polarity of one inverted?",
    ),
    ("too short", lambda p: sound(p / "a.wav", noise(1.5)), ": lasts 1.500 s, " + TOO_SHORT),
    ("a sample too short", lambda p: sound(p / "a.wav", noise(2)[1:]), ": lasts 2.000 s, " + TOO_SHORT),
    ("too short at 8 kHz", lambda p: sound(p / "a.wav", noise(1.999, 8000), 8000), ": lasts 1.999 s, " + TOO_SHORT),
    (
        "12 Hz",
        lambda p: text(p / "a.wav", riff(12)),
        IMPLAUSIBLE.format(12),
    ),
    (
        "3 MHz",
        lambda p: text(p / "a.wav", riff(3_000_000)),
        IMPLAUSIBLE.format(3000000),
    ),
]


@pytest.mark.parametrize(("make", "message"), [row[1:] for row in FILES], ids=[row[0] for row in FILES])
def test_broken_sound_file(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    path = make(tmp_path)
    with pytest.raises(AudioError) as error:
        read_samples(path, RECIPE)
    said = str(error.value)
    assert said.startswith(str(path))
    assert re.fullmatch(re.escape(message).replace(re.escape("#"), "[0-9.]+"), said[len(str(path)) :]), said


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_file_of_another_user() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = sound(Path(folder, "a.wav"))
        path.chmod(0)
        root = os.geteuid() == 0
        if root:  # root may read everything, so become nobody for the moment
            os.seteuid(65534)
        try:
            with pytest.raises(AudioError) as error:
                read_samples(path, RECIPE)
        finally:
            if root:
                os.seteuid(0)
    assert str(error.value) == f"{path}: may not be read (permission denied); ask its owner, or run chmod +r"


def test_m4a_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = aac(tmp_path / "a.m4a")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError) as error:
        read_samples(path, RECIPE)
    assert str(error.value) == (
        f"{path}: not readable as WAV, FLAC, OGG, MP3 or AIFF; if it is m4a, video or another "
        'format that FFmpeg knows, pip install "soundscene[av]"'
    )


def test_mp3_of_variable_rate_without_header_needs_no_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = headerless_mp3(tmp_path / "a.mp3")
    monkeypatch.setitem(sys.modules, "av", None)
    assert len(read_samples(path, RECIPE)) / RATE == pytest.approx(12, abs=0.1)


def test_content_hash_refuses_broken_files_too(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"is truncated: the header promises 132300 bytes of samples, the file holds 66"):
        content_hash(cut(sound(tmp_path / "a.wav"), 0.5))


# name, samples, sample rate, the message after "array"
ARRAYS: list[tuple[str, np.ndarray, int, str]] = [
    (
        "[sample, channel]",
        noise(channels=2),
        RATE,
        ": shape (66150, 2) looks like [sample, channel], allowed are [sample] and [channel, sample]; hand in samples.T",
    ),
    ("three axes", np.zeros((2, 2, 9)), RATE, ": shape (2, 2, 9); allowed are [sample] and [channel, sample]"),
    ("no axis", np.array(1.0), RATE, ": shape (); allowed are [sample] and [channel, sample]"),
    ("no channel", np.zeros((0, 9)), RATE, ": shape (0, 9) has no channel; allowed are [sample] and [channel, sample]"),
    ("no sample", np.zeros(0), RATE, ": holds no samples; was the recording or the export interrupted?"),
    ("int64", np.zeros(99999, np.int64), RATE, NO_SCALE.format("int64")),
    ("uint16", np.zeros(99999, np.uint16), RATE, NO_SCALE.format("uint16")),
    ("complex", np.zeros(99999, np.complex64), RATE, NO_SCALE.format("complex64")),
    ("truth values", np.zeros(99999, np.bool_), RATE, NO_SCALE.format("bool")),
    (
        "beyond float32",
        np.r_[noise()[:, 0].astype(np.float64), 1e300],
        RATE,
        ": holds 1e+300 at 3.000 s (channel 1), samples are expected within -1 to 1; is the file damaged?",
    ),
    (
        "kHz",
        noise()[:, 0],
        22,
        IMPLAUSIBLE.format(22),
    ),
    ("too short", noise(1.0)[:, 0], RATE, ": lasts 1.000 s, " + TOO_SHORT),
]


@pytest.mark.parametrize(("samples", "rate", "message"), [row[1:] for row in ARRAYS], ids=[row[0] for row in ARRAYS])
def test_broken_array(samples: np.ndarray, rate: int, message: str) -> None:
    with pytest.raises(AudioError) as error:
        gate_array(samples, rate, RECIPE)
    assert str(error.value) == f"array{message}"


# name, how the file is made, what is noted (# as above); odd, but good enough to be answered
ODD: list[tuple[str, Callable[[Path], Path], list[str]]] = [
    ("WAV called OGG", lambda p: sound(p / "a.wav").rename(p / "a.ogg"), []),
    ("FLAC called raw", lambda p: sound(p / "a.flac").rename(p / "a.raw"), []),
    ("MP3 without suffix", lambda p: sound(p / "a.mp3").rename(p / "a"), []),
    ("8 bits", lambda p: sound(p / "a.wav", subtype="PCM_U8"), []),
    ("24 bits", lambda p: sound(p / "a.wav", subtype="PCM_24"), []),
    ("192 kHz", lambda p: sound(p / "a.wav", noise(3, 192000), 192000), []),
    ("12 channels", lambda p: sound(p / "a.wav", noise(channels=12)), []),
    ("m4a", lambda p: aac(p / "a.m4a"), []),
    ("WAV from a pipe", lambda p: patched(sound(p / "a.wav"), b"data", 4, b"\xff\xff\xff\xff"), []),
    ("WAV never closed", lambda p: never_closed(p / "a.wav"), []),
    ("FLAC from a pipe", lambda p: piped_flac(p / "a.flac"), []),
    ("MP3 of variable rate, headerless", lambda p: headerless_mp3(p / "a.mp3"), []),
    (
        "OGG cut between pages",
        lambda p: text(p / "a.ogg", (data := sound(p / "a.ogg", noise(20)).read_bytes())[: data.rfind(b"OggS")]),
        ["its OGG stream 1 of 1 has no end; sound may be missing from # s on"],
    ),
    ("SoX in a pipe", lambda p: patched(sound(p / "a.wav"), b"data", 4, b"\x00\xf0\xff\x7f"), []),
    (
        "8 kHz",
        lambda p: sound(p / "a.wav", noise(3, 8000), 8000),
        [
            "sampled at 8000 Hz, below the recipe's 22050 Hz: nothing above 4000 Hz, so the bands from 4000 to 11025 Hz "
            "stay empty and the prediction may be wrong"
        ],
    ),
    (
        "mostly silent, 4 kHz",
        lambda p: sound(p / "a.wav", np.concatenate([np.zeros((8000, 1)), noise(1.0, 4000), np.zeros((8000, 1))]), 4000),
        [
            "sampled at 4000 Hz, below the recipe's 22050 Hz: nothing above 2000 Hz, so the bands from 2000 to 11025 Hz "
            "stay empty and the prediction may be wrong",
            "80% is digital silence (samples exactly zero), of it 2.00 s at the start",
        ],
    ),
    (
        "loud floats",
        lambda p: sound(p / "a.wav", np.r_[noise(), [[-2.5]]], subtype="FLOAT"),
        ["peak 2.5, samples are expected within -1 to 1, left unchanged"],
    ),
    (
        "unscaled floats",
        lambda p: sound(p / "a.wav", np.r_[noise() * 32768, [[30000.0]]], subtype="FLOAT"),
        ["peak 3e+04, samples are expected within -1 to 1; were integers converted without scaling?"],
    ),
]


@pytest.mark.parametrize(("make", "notes"), [row[1:] for row in ODD], ids=[row[0] for row in ODD])
def test_odd_sound_file_is_read_with_notes(tmp_path: Path, make: Callable[[Path], Path], notes: list[str]) -> None:
    source = AudioFile(path := make(tmp_path), RECIPE)
    n_samples = sum(len(block) for block in source.blocks())  # a warning would be an error here
    assert len(source.notes) == len(notes)
    for note, expected in zip(source.notes, notes, strict=True):
        assert re.fullmatch(re.escape(expected).replace(re.escape("#"), "[0-9.]+"), note), note
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(read_samples(path, RECIPE)) == n_samples
    assert [(w.category, str(w.message)) for w in caught] == [(AudioWarning, f"{path}: {note}") for note in source.notes]
    assert n_samples == pytest.approx(source.duration_s * RATE, abs=1)
    assert source.duration_s >= 3


@pytest.mark.parametrize("value", [1e25, -3e38, 1.1e10])
def test_a_sample_whose_power_would_overflow_is_refused(tmp_path: Path, value: float) -> None:
    path = sound(tmp_path / "a.wav", spoiled(value, 1.5), subtype="FLOAT")
    expected = rf"holds {value:g} at 1\.500 s \(channel 2\), samples are expected within -1 to 1; is the file damaged\?"
    with pytest.raises(AudioError, match=expected.replace("+", r"\+")):
        read_samples(path, RECIPE)


def test_an_exception_of_a_decoder_is_the_error_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **named: object) -> None:
        raise RuntimeError("a bug\nin two lines")

    monkeypatch.setattr("soundscene.audio.decoders._open_soundfile", broken)
    with pytest.raises(AudioError, match=r"a\.wav: failed unexpectedly \(RuntimeError: a bug in two lines\); leave it out"):
        read_samples(sound(tmp_path / "a.wav"), RECIPE)
