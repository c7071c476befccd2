"""Where a sound file begins behind another: formats are told by their first bytes, and frames by what follows them."""

from collections.abc import Callable
from typing import BinaryIO

from soundscene.audio import mpeg
from soundscene.audio.containers import after_id3, at

_IN_A_ROW = 4  # frames of MP3 or AAC, which begin with 11 or 12 bits and nothing else


def begins_file(magic: bytes) -> bool:
    """Tell whether 16 bytes begin a file of samples: WAV, AIFF, AU, CAF, W64, 8SVX, VOC or NIST."""
    return (
        (magic[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and magic[8:12] == b"WAVE")
        or (magic[:4] == b"FORM" and magic[8:12] in (b"AIFF", b"AIFC", b"8SVX", b"16SV"))
        or magic[:4] in (b".snd", b"dns.")
        or magic[:6] in (b"caff\0\1", b"riff\x2e\x91")
        or magic[:12] == b"Creative Voi"
        or magic[:8] == b"NIST_1A\n"
    )


def begins_sound(file: BinaryIO, position: int, size: int) -> bool:
    """Tell whether a sound file of any format that is read begins at a position.

    Args:
        file: The file.
        position: Where it may begin, perhaps with a tag.
        size: Length of the whole file in bytes.
    """
    position = after_id3(file, position)
    magic = at(file, position, 16)
    if begins_file(magic) or _begins_coded(magic):
        return True
    return _frames(file, position, size, mpeg.is_mpeg, mpeg.frame_length) or _frames(
        file, position, size, mpeg.is_adts, mpeg.adts_length
    )


def _begins_coded(magic: bytes) -> bool:
    return (
        (magic[:4] == b"fLaC" and magic[4:8] in (b"\0\0\0\x22", b"\x80\0\0\x22"))
        or magic[:6] == b"OggS\0\2"
        or (magic[4:8] == b"ftyp" and magic[:2] == b"\0\0")
        or magic[:4] == b"\x1a\x45\xdf\xa3"
        or (magic[:4] == b"RIFF" and magic[8:12] == b"AVI ")
        or magic[:8] == b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
        or (magic[:5] == b"FLV\1\5" or magic[:5] == b"FLV\1\4")
        or magic[:6] in (b"#!AMR\n", b"#!AMR-", b"TTA1\1\0")
        or magic[:4] == b"wvpk"
    )


def _frames(
    file: BinaryIO, position: int, size: int, matches: Callable[[bytes], bool], length: Callable[[bytes], int]
) -> bool:
    for n in range(_IN_A_ROW):
        head = at(file, position, 16)
        if not matches(head):
            return n > 1 and position == size
        position += max(1, length(head))
    return True
