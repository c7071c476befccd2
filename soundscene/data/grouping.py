"""Which files are excerpts of one recording, told by their names and folders.

Nothing but a name says that `street_01_a.wav` and `street_01_b.wav` are one recording. Two mistakes are possible. A false
join makes folds coarser and intervals wider. A missed one tests on what was trained on, and the score is wrong without a
sign. So names join where they can, up to the point where too few groups are left to test on: see
docs/decisions/0126-groups-by-name.md for the rules and for what they find in 26 naming schemes.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from soundscene.audio.recorded import hex_time, time_in_name
from soundscene.data.columns import nearest
from soundscene.errors import ManifestError
from soundscene.texts import counted, short

FEWEST = 5  # groups of a scene, so that each of five folds can test it
LARGEST = 0.5  # share of a scene's files that one group may hold
PAUSE = timedelta(hours=1)  # between two sessions of one recorder

By = Literal["stem", "source", "place", "session", "day", "folder", "name"]
"""What a scene's files are joined by; "name" joins none."""

_KNOWN = ("source", "place", "session")  # of a form of names that says itself what is one recording

_AGAIN = 0.5  # share of the names of the smallest part that begin again in another
_FITS = 0.9  # share of a scene's names that must have a form


@dataclass(frozen=True)
class FileName:
    """A file by its name.

    Attributes:
        scene: Its label.
        folder: Below its scene, such as "balcony"; empty for none.
        stem: Its name without suffix.
        part: Folder that is a column, such as train. It counts where names begin again in each.
    """

    scene: str
    folder: str
    stem: str
    part: str = ""


@dataclass(frozen=True)
class Grouping:
    """Groups of files.

    Attributes:
        groups: Of each file.
        by: What each scene's files are joined by.
        refused: For each scene that has a grouping which was not taken: how many groups it would leave.
    """

    groups: tuple[str, ...]
    by: dict[str, By]
    refused: dict[str, int]

    @property
    def joined(self) -> bool:
        """Whether any two files are in one group."""
        return len(set(self.groups)) < len(self.groups)


def group_by_name(files: Sequence[FileName], forced: Literal["stem", "parent"] | None = None) -> Grouping:
    """Group files by their names and folders, scene by scene.

    A way of grouping that leaves a scene fewer than five groups, or puts more than half of its files into one, is not taken.

    Args:
        files: All files of a corpus.
        forced: Ways to try: only names, or only folders. By default both.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for row, file in enumerate(files):
        rows[file.scene].append(row)
    groups, by, refused = [""] * len(files), {}, {}
    for scene, own in rows.items():
        way, keys, least = _best(_placed([files[row] for row in own], forced), forced)
        by[scene] = way
        if least is not None:
            refused[scene] = least
        for row, key in zip(own, keys, strict=True):
            # the number of a source, such as Freesound's, is one recording in every scene
            groups[row] = str(key) if way == "source" else f"{scene}/{key}"
    return Grouping(tuple(groups), by, refused)


def group_by_pattern(paths: Sequence[str], pattern: str) -> tuple[tuple[str, ...], int]:
    """Group files by a regular expression: what its groups match in the path, or all that it matches.

    Args:
        paths: Relative to the folder that was scanned, with slashes.
        pattern: Regular expression, searched in each path.

    Returns:
        The group of each file, and how many files it does not match. Each of those is its own group.

    Raises:
        ManifestError: It is no regular expression, or is empty, or matches no path.
    """
    if not pattern:
        raise ManifestError(
            "--group '': is empty; give parent, stem, none, or a regular expression that finds the recording"
        )
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ManifestError(
            f"--group {short(pattern)}: not a regular expression ({error}); or say parent, stem or none"
        ) from None
    found = [_matched(compiled.search(path)) for path in paths]
    if not any(found):
        only_empty = "" if compiled.search("") is None else " but with an empty text"
        raise ManifestError(
            f"--group {short(pattern)}: matches none of {counted(len(paths), 'path')}{only_empty}, such as {paths[0]}"
            f"{nearest(pattern, ('parent', 'stem', 'none'))}"
        )
    return tuple(key or path for path, key in zip(paths, found, strict=True)), sum(not key for key in found)


def _matched(match: re.Match[str] | None) -> str:
    """What a match finds, empty where it finds no text."""
    return "" if match is None else "/".join(part for part in match.groups() if part) or match[0]


def _placed(files: Sequence[FileName], forced: str | None) -> list[tuple[str, str]]:
    """Folder and stem of each file of a scene.

    The part is a folder too where names begin again in each part, and where each folder is to be a recording. A few names in
    two parts are files that were copied, and say nothing of the others.
    """
    names = {(f.part, f.folder, f.stem) for f in files}
    smallest = min(Counter(part for part, _, _ in names).values())
    n_again = sum(n > 1 for n in Counter((folder, stem) for _, folder, stem in names).values())
    with_part = forced == "parent" or n_again >= _AGAIN * smallest
    return [(f"{f.part}/{f.folder}".strip("/") if with_part else f.folder, f.stem) for f in files]


# --- choosing a way ---------------------------------------------------------------------------------------------------

Keys = list[Hashable]


def _best(files: list[tuple[str, str]], forced: str | None) -> tuple[By, Keys, int | None]:
    """Choose how to group one scene: the way, the group of each file, and how many groups a refused way would leave."""
    own: Keys = _inside([folder for folder, _ in files], [stem for _, stem in files])
    refused = None
    for way, keys in _ways(files, forced):
        n_groups = len(set(keys))
        if n_groups == len(set(own)):
            if way == "source":  # but perhaps with files of another scene
                return way, keys, None
            if way in _KNOWN:
                break
            continue  # it joins nothing
        if n_groups >= FEWEST and max(Counter(keys).values()) <= LARGEST * len(keys):
            return way, keys, refused if way == "stem" else None
        if refused is None and (way != "folder" or forced):
            refused = n_groups
    return "name", own, refused


def _ways(files: list[tuple[str, str]], forced: str | None) -> list[tuple[By, Keys]]:
    """Ways to group the files of one scene, the best first."""
    folders, stems = [folder for folder, _ in files], [stem for _, stem in files]
    ways: list[tuple[By, Keys]] = []
    if forced != "stem" and (forced == "parent" or all(folders)):
        ways.append(("folder", list(folders)))
    if forced == "parent":
        return ways
    if sources := _keys(stems, _source):
        ways.append(("source", sources))
    if places := _keys(stems, _place):
        ways.append(("place", places))
    if times := _keys(stems, _time):
        ways.append(("session", _inside(folders, _sessions(folders, times))))
        ways.append(("day", _inside(folders, _days(times))))
        ways.append(("stem", _inside(folders, [_unmarked(stem) for stem in stems])))
        return ways
    spans = _spans(stems)
    clocks = _clocks(stems)
    ways.append(("stem", _inside(folders, [_excerpt(stem, spans, clocks) for stem in stems])))
    ways.append(("stem", _inside(folders, [_unmarked(stem) for stem in stems])))
    ways.append(("stem", _inside(folders, [_unnumbered(stem) for stem in stems])))
    return ways


def _inside(folders: Sequence[str], keys: Sequence[Hashable]) -> Keys:
    return [f"{folder}/{key}" if folder else key for folder, key in zip(folders, keys, strict=True)]


def _keys(stems: Sequence[str], key_of: Callable[[str], Hashable | None]) -> Keys | None:
    """Key of each name, where nearly all names have one; the others are their own."""
    keys = [key_of(stem) for stem in stems]
    if sum(key is not None for key in keys) < _FITS * len(keys):
        return None
    return [stem if key is None else key for stem, key in zip(stems, keys, strict=True)]


# --- forms of names that are known ------------------------------------------------------------------------------------

_SOURCES = (
    re.compile(r"[1-5]-(\d+)-[A-Z](?:-\d{1,2})?"),  # ESC-50: fold, Freesound's number, take, class; ESC-10 lacks the last
    re.compile(r"(\d{2,7})-\d-\d+-\d+"),  # UrbanSound8K: Freesound's number, class, event, slice
    re.compile(r"([1-9]\d{4,6}|\d{3,4}(?=__))_{1,2}[^\W\d_].*"),  # Freesound: number, user, title
)
_TAU = re.compile(r"([A-Za-z_]+-[A-Za-z]+-\d+)(?:-\d+){1,2}-(?:[a-d]|s\d)(?:[_-].*)?")  # scene, city, place, pieces, device
_DCASE_2016 = re.compile(r"([ab]\d{3,4})_\d+_\d+")  # recording, start and end in seconds


def _source(stem: str) -> Hashable | None:
    """Return the number of the source, where the name is one of Freesound or of a corpus made from it."""
    return next((match[1] for form in _SOURCES if (match := form.fullmatch(stem))), None)


def _place(stem: str) -> Hashable | None:
    """Return scene, city and place of a name of TAU Urban Acoustic Scenes, or the recording of one of TUT 2016 and 2017."""
    match = _TAU.fullmatch(stem) or _DCASE_2016.fullmatch(stem)
    return match[1] if match else None


def _time(stem: str) -> tuple[str, datetime] | None:
    """Return what stands before a date and time of day, such as the number of a recorder, and that time."""
    found = time_in_name(stem)
    return found and (stem[: found.start].strip(" _-."), found.at.replace(tzinfo=None))


def _sessions(folders: Sequence[str], times: Keys) -> Keys:
    """Join the files of one recorder until it pauses for an hour; a night is one session."""
    keys: Keys = list(times)
    last: dict[tuple[str, str], tuple[datetime, str]] = {}
    order = sorted((time[0], time[1], row) for row, time in enumerate(times) if isinstance(time, tuple))
    for recorder, start, row in order:
        before = last.get((folders[row], recorder))
        key = before[1] if before and start - before[0] <= PAUSE else f"{recorder} {start:%Y-%m-%d %H:%M:%S}".strip()
        last[folders[row], recorder] = start, key
        keys[row] = key
    return keys


def _days(times: Keys) -> Keys:
    return [f"{time[0]} {time[1]:%Y-%m-%d}".strip() if isinstance(time, tuple) else time for time in times]


# --- names in general ---------------------------------------------------------------------------------------------------

_EDGE = r"[\s_.\-]*"
_MARKS = re.compile(
    rf"(?:{_EDGE}\(\d+\)"  # (2): a second file of one name
    rf"|[\s_.\-]+\d+{_EDGE}of{_EDGE}\d+"  # 3of4
    rf"|{_EDGE}\b(?:copy|kopie)(?:{_EDGE}\d+)?"
    r"|(?:^|(?<=[\W_\d]))(?:part|pt|piece|seg|segment|chunk|clip|slice|split|excerpt|snippet|crop|window|win|frame|take|tr|"
    r"track|ch|chan|channel|mic|aug|augmented|norm|normalized|normalised|cut|trim|trimmed|edit|edited|loop|denoised|"
    rf"resampled|converted|left|right|front|rear|mono|stereo|lr|ms|xy){_EDGE}\d*(?:{_EDGE}of{_EDGE}\d+)?)$",
    re.IGNORECASE,
)
_LETTER = re.compile(r"(?<=\d)[\s_.\-]*[A-Za-z]$")  # a, b, L, R behind a number
_NUMBER = re.compile(  # a number by itself, or a time: 10, 10.5s, 10sec, t10.5, 00m10s
    r"[\s_.\-]+(?:#?\d+(?:\.\d+)?(?:s|secs?|seconds?)?|t\d+(?:\.\d+)?s?|(?:\d+h)?\d+m\d+(?:\.\d+)?s)$"
)
_CLOCK = re.compile(r"[\s_.\-]+(\d\d)([-.:])[0-5]\d\2[0-5]\d$")  # hours, minutes, seconds: 00-10-00
_NUMBER_AT_END = re.compile(r"[\s_.\-]*#?\d+$")
_SPAN = re.compile(r"[\s_.\-]+(\d+(?:\.\d+)?)s?[\s_-]+(\d+(?:\.\d+)?)s?$")  # from second to second


def _unmarked(stem: str) -> str:
    """Take part numbers, copies, channels and letters off: `ZOOM0001_Tr1`, `rec1 (2)` and `street_01_a`."""
    while hex_time(stem) is None and (shorter := _LETTER.sub("", _MARKS.sub("", stem)).rstrip(" _-.")) not in (stem, ""):
        stem = shorter
    return stem


def _excerpt(stem: str, spans: bool, clocks: bool) -> str:
    """Take the number of an excerpt off as well: the last of two numbers, or its start, or start and end."""
    stem = _unmarked(stem)
    if clocks and (rest := _CLOCK.sub("", stem)) not in (stem, ""):
        return _unmarked(rest)
    if spans and (rest := _SPAN.sub("", stem)) not in (stem, ""):
        return _unmarked(rest)
    rest = _NUMBER.sub("", stem)
    if not re.search(r"\d", rest):  # the only number counts recordings, not excerpts
        return stem
    return _unmarked(rest)


def _unnumbered(stem: str) -> str:
    """Take the only number off: `old mill 1` and `old mill 2` are of one place."""
    stem = _unmarked(stem)
    return stem if hex_time(stem) else _NUMBER_AT_END.sub("", stem) or stem


def _clocks(stems: Sequence[str]) -> bool:
    """Tell whether nearly all names end with hours, minutes and seconds; a date would have no 00 where hours are."""
    found = [match for stem in stems if (match := _CLOCK.search(stem))]
    return len(found) >= _FITS * len(stems) and any(match[1] == "00" for match in found)


def _spans(stems: Sequence[str]) -> bool:
    """Tell whether nearly all names end with start and end, in seconds or samples, of excerpts of one length."""
    found = [match for stem in stems if (match := _SPAN.search(stem))]
    if len(found) < _FITS * len(stems):
        return False
    lengths = Counter(round(float(match[2]) - float(match[1]), 3) for match in found)
    length, n = lengths.most_common(1)[0]
    return length > 0 and n >= _FITS * len(found) and len({match[1] for match in found}) > 1
