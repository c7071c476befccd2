"""When a recording began: from GUANO or broadcast-wave metadata of a WAV, else from the name of the file.

GUANO is what bat detectors write (https://guano-md.org), bext is EBU Tech 3285. Both stand in the header, so no sound is
decoded. A clock that was never set tells a wrong time, which nobody can see in the file.
"""

import re
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

_MOST_CHUNKS = 1000
_MOST_BYTES = 1 << 20  # of a chunk of text
_FIRST, _LAST = datetime(1990, 1, 1), datetime(2100, 1, 1)  # what is outside is no time of a recording

_IN_NAME = re.compile(
    r"(?<!\d)(?P<y>(?:19|20)\d\d)(?P<dash>[-_.]?)(?P<m>0[1-9]|1[0-2])[-_.]?(?P<d>0[1-9]|[12]\d|3[01])"
    r"(?:T| (?:at|um|à) |[ _.-]{1,3}|)(?P<H>[01]\d|2[0-3])(?P<colon>[-_.:hH]?)(?P<M>[0-5]\d)"
    r"(?:[-_.:mM]?(?P<S>[0-5]\d)(?:\.\d{1,6}|\d{3})?(?P<zone>Z|[+-](?:0\d|1[0-4]):?[0-5]\d)?)?(?!\d)"
    r"(?:\s?(?P<half>[AaPp])\.?[Mm]\b)?"
)
_HEX = re.compile(r"(?=\d*[A-F])([0-9A-F]{8})(?:_\d{1,3})?")  # of the first AudioMoths, sold since 2017: seconds since 1970
_FIRST_HEX = datetime(2015, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class NamedTime:
    """A date and time of day in a name.

    Attributes:
        at: The time, with a zone where the name has one.
        start: Where it begins in the name.
        sure: Whether it can hardly be a date and the number of a file: it has seconds, or separators as a clock's.
    """

    at: datetime
    start: int
    sure: bool


@dataclass(frozen=True)
class Recorded:
    """When a recording began, as its recorder's clock had it, and where that is written."""

    at: datetime
    source: str


def recorded_at(path: Path) -> Recorded | None:
    """Return when a recording began; None where nothing tells it.

    Args:
        path: Of the recording.
    """
    chunks = wave_chunks(path)
    attempts: tuple[tuple[str, Callable[[], datetime | None]], ...] = (
        ("GUANO", lambda: _guano(chunks.get(b"guan", b""))),
        ("bext", lambda: _bext(chunks.get(b"bext", b""))),
        ("file name", lambda: _name(path.stem)),
    )
    for source, read in attempts:
        with suppress(ValueError, OverflowError, OSError):
            at = read()
            if at is not None and _FIRST <= at.replace(tzinfo=None) < _LAST:
                return Recorded(at, source)
    return None


def time_in_name(stem: str) -> NamedTime | None:
    """Return the date and time of day that the name of a file holds; None where it holds none.

    Args:
        stem: Its name without suffix.
    """
    found = _IN_NAME.search(stem)
    if found is None:
        return None
    hour = int(found["H"])
    if found["half"] and 1 <= hour <= 12:
        hour = hour % 12 + (12 if found["half"] in "pP" else 0)
    zone = "Z" if stem.startswith("PXL_") else found["zone"] or ""  # Pixel's camera writes UTC
    sure = bool(found["S"] or (found["colon"] or "_") in "-.:hH" or (found["dash"] and not found["colon"]))
    try:
        at = datetime.fromisoformat(
            f"{found['y']}-{found['m']}-{found['d']}T{hour:02}:{found['M']}:{found['S'] or '00'}{zone}"
        )
    except ValueError:  # the 31st of February
        return None
    return NamedTime(at, found.start(), sure)


def hex_time(stem: str) -> datetime | None:
    """Return the time that the first AudioMoths wrote as a name of eight hexadecimal digits; None for other names.

    A number without a letter may be anything, and so may one that tells a time before there were AudioMoths, or to come.

    Args:
        stem: Name of a file without suffix.
    """
    found = _HEX.fullmatch(stem)
    at = datetime.fromtimestamp(int(found[1], 16), UTC) if found else None
    return at if at and _FIRST_HEX <= at < datetime.now(UTC) + timedelta(days=1) else None


def wave_duration_s(path: Path) -> float | None:
    """Return about how long a WAV file lasts by its header and its size; None for other files.

    Args:
        path: Of the recording.
    """
    form = wave_chunks(path).get(b"fmt ", b"")
    if len(form) < 12:
        return None
    (bytes_per_s,) = struct.unpack_from("<I", form, 8)
    with suppress(OSError):
        return path.stat().st_size / bytes_per_s if bytes_per_s else None
    return None


def wave_chunks(path: Path) -> dict[bytes, bytes]:
    """Return the chunks of a WAV file (RIFF or RF64) but for its samples, each cut at a megabyte; {} for other files.

    Args:
        path: Of the file.
    """
    chunks: dict[bytes, bytes] = {}
    with suppress(OSError, ValueError, struct.error):
        if path.is_file():  # a pipe would block
            with path.open("rb") as file:
                _read_chunks(file, chunks)
    return chunks


def _read_chunks(file: BinaryIO, chunks: dict[bytes, bytes]) -> None:
    magic = file.read(12)
    if magic[:4] not in (b"RIFF", b"RF64", b"BW64") or magic[8:] != b"WAVE":
        return
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            if size == 0xFFFFFFFF and len(big := chunks.get(b"ds64", b"")) >= 16:
                (size,) = struct.unpack_from("<Q", big, 8)
            file.seek(size + (size & 1), 1)
            continue
        content = file.read(min(size, _MOST_BYTES))
        file.seek(size - len(content) + (size & 1), 1)
        chunks.setdefault(name, content)


def _guano(chunk: bytes) -> datetime | None:
    for line in chunk.decode("utf-8", "replace").replace("\0", "").splitlines():
        key, _, value = line.partition(":")
        if key.strip().casefold() == "timestamp":
            return datetime.fromisoformat(value.strip())
    return None


def _bext(chunk: bytes) -> datetime | None:
    text = chunk[320:338].decode("ascii", "replace")
    date, time = text[:10], text[10:18]
    numbers = [*map(int, re.split(r"\D", date)), *map(int, re.split(r"\D", time))]
    return datetime(*numbers[:6]) if len(numbers) == 6 else None  # pyright: ignore[reportArgumentType]


def _name(stem: str) -> datetime | None:
    found = time_in_name(stem)
    return found.at if found and found.sure else hex_time(stem)
