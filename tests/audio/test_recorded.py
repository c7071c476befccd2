"""When a recording began: metadata of recorders, and names of files as recorders give them."""

import struct
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from soundscene.audio.recorded import recorded_at, wave_duration_s
from tests.support.tiny import write

NOON = datetime(2026, 5, 3, 12, 0, 7)


def wav(path: Path, *chunks: tuple[bytes, bytes], before: bool = True) -> Path:
    """A second of sound with chunks before or behind its samples."""
    content = write(path, np.zeros(8000, np.float32), 8000).read_bytes()
    body = b"".join(struct.pack("<4sI", name, len(text)) + text + b"\0" * (len(text) & 1) for name, text in chunks)
    content = content[:12] + body + content[12:] if before else content + body
    path.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])
    return path


def bext(date: bytes, time: bytes) -> tuple[bytes, bytes]:
    return b"bext", bytes(320) + date + time + bytes(264)


@pytest.mark.parametrize("before", [True, False])
def test_metadata_of_recorders(tmp_path: Path, before: bool) -> None:
    guano = (b"guan", b"GUANO|Version: 1.0\nMake: X\nTimestamp: 2026-05-03T12:00:07+02:00\n")
    path = wav(tmp_path / "20200101_000000.wav", bext(b"2026-05-03", b"12:00:07"), before=before)
    found = recorded_at(path)
    assert found is not None
    assert (found.at, found.source) == (NOON, "bext"), "metadata before the name"
    found = recorded_at(wav(tmp_path / "a.wav", bext(b"2025:01:01", b"00-00-00"), guano, before=before))
    assert found is not None
    assert (found.at, found.source) == (NOON.replace(tzinfo=timezone(timedelta(hours=2))), "GUANO")


@pytest.mark.parametrize(
    "stem",
    [
        "20260503_120007",  # AudioMoth
        "SITE-1_20260503_120007",  # Song Meter
        "S4A01234_20260503_120007_000",
        "2026-05-03T12-00-07",
        "2026-05-03 12.00.07",
        "Recording 2026.05.03 12h00m07",
        "20260503T120007Z",
        "20260503120007",
        "20260503T120007.250Z",
        "site_20260503T120007.250+0200",
        "Recording 2026-05-03 at 12.00.07",
        "WhatsApp Audio 2026-05-03 at 12.00.07 PM (1)",
        "PXL_20260503_120007123",
    ],
)
def test_names_of_files(tmp_path: Path, stem: str) -> None:
    found = recorded_at(tmp_path / f"{stem}.flac")  # which need not be there
    assert found is not None
    assert found.source == "file name"
    zone = UTC if stem.endswith("Z") or stem.startswith("PXL") else None
    zone = timezone(timedelta(hours=2)) if stem.endswith("+0200") else zone
    assert (found.at, found.at.utcoffset()) == (NOON.replace(tzinfo=zone), zone and zone.utcoffset(None))


@pytest.mark.parametrize("stem", ["2026-05-03_1200", "2026-05-03_12h00", "20260503_12-00", "2026-05-03 at 12.00"])
def test_names_without_seconds(tmp_path: Path, stem: str) -> None:
    found = recorded_at(tmp_path / f"{stem}.flac")
    assert found is not None
    assert found.at == NOON.replace(second=0)


@pytest.mark.parametrize("stem", ["5E90A4D4", "5E90A4D4_000"])
def test_names_of_the_first_audiomoths(tmp_path: Path, stem: str) -> None:
    found = recorded_at(tmp_path / f"{stem}.flac")
    assert found is not None
    assert found.at == datetime(2020, 4, 10, 16, 54, 44, tzinfo=UTC)


@pytest.mark.parametrize(
    "stem",
    [
        *("30052024", "DEADBEEF", "1A2B3C4D"),  # a date, a time to come, a time before there were AudioMoths
        *("20260503_0012", "202605031200", "2026-05-03_12_05"),  # perhaps numbers of files
        *("20260231_120000", "20260503_1200079"),
    ],
)
def test_numbers_that_may_be_anything_are_no_time(tmp_path: Path, stem: str) -> None:
    assert recorded_at(tmp_path / f"{stem}.wav") is None


@pytest.mark.parametrize("stem", ["a", "street_01", "20261303_120007", "2026", "1234567890123456", "00000001", "20260503"])
def test_what_is_no_time_is_none(tmp_path: Path, stem: str) -> None:
    assert recorded_at(tmp_path / f"{stem}.wav") is None
    assert recorded_at(wav(tmp_path / "x.wav", bext(b"\0" * 10, b"\0" * 8), (b"guan", b"\xffTimestamp: never"))) is None


def test_the_duration_of_a_wav_by_its_header(tmp_path: Path) -> None:
    assert wave_duration_s(wav(tmp_path / "a.wav")) == pytest.approx(1, abs=0.01)
    (tmp_path / "b.wav").write_bytes(b"RIFF\0\0\0\0WAVEfmt \xff\xff\xff\xff")
    assert wave_duration_s(tmp_path / "b.wav") is None
    assert wave_duration_s(tmp_path) is None
