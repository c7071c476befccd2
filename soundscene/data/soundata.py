"""Manifests of datasets of soundata, which downloads and checks many published corpora. It is not needed here itself."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from soundscene.data.manifest import Manifest
from soundscene.data.scan import N_FOLDS, Listing, arrange, names_of
from soundscene.errors import ManifestError
from soundscene.types import Recording

_GROUPS = ("src_file", "freesound_id", "identifier")  # of ESC-50, UrbanSound8K, TAU: what was recorded at once
_COLUMNS = {"fold": "fold", "split": "split", "city": "city", "source_label": "device"}


@runtime_checkable
class SoundataDataset(Protocol):
    """What `soundata.initialize(name, data_home)` returns."""

    def load_clips(self) -> Mapping[str, Any]:
        """Return the clips by their ids; each has `audio_path` and `tags.labels`."""
        ...


def from_soundata(
    dataset: SoundataDataset, path: str | Path = "manifest.csv", n_folds: int = N_FOLDS, seed: int = 0
) -> tuple[Manifest, tuple[str, ...]]:
    """Build a manifest of a soundata dataset that has been downloaded, and notes for the user.

    The scene is a clip's tag, and the group its source (`src_file`, `freesound_id` or `identifier`). `fold`, `split`, `city`
    and the device become columns. Without sources, groups are found by name; without folds and splits, folds are dealt.

        import soundata
        manifest, notes = from_soundata(soundata.initialize("esc50", data_home="sounds"))
        manifest.write("esc50.csv")

    Args:
        dataset: From `soundata.initialize`.
        path: Path the manifest is for.
        n_folds: Of folds that are dealt.
        seed: Of folds that are dealt.

    Raises:
        ManifestError: No clip has one tag and a file that is there.
    """
    recordings, missing, untagged = [], [], []
    clips = dataset.load_clips()
    for name, clip in clips.items():
        labels = list(getattr(getattr(clip, "tags", None), "labels", None) or [])
        file = Path(clip.audio_path) if getattr(clip, "audio_path", None) else None
        if len(labels) != 1:
            untagged.append(name)
        elif file is None or not file.is_file():
            missing.append(name)
        else:
            recordings.append(_recording(file, str(labels[0]), clip))
    notes = [
        f"{len(left)} of {len(clips)} clips {why} and left out, such as {left[0]}"
        for left, why in ((missing, "have no file"), (untagged, "have no tag or several"))
        if left
    ]
    if not recordings:
        raise ManifestError(
            f"no clip can be used: {'; '.join(notes) or 'the dataset is empty'}; was dataset.download() called?"
        )
    grouped = all(recording.columns.get("group") for recording in recordings)
    split = any(recording.columns.get("split") for recording in recordings)
    listing = Listing(Path(path), tuple(recordings), names_of(recordings, Path(path).parent), (), grouped, split)
    manifest, found = arrange(listing, n_folds=n_folds, seed=seed)
    return manifest, (*notes, *found)


def _recording(file: Path, scene: str, clip: Any) -> Recording:
    group = next((str(value) for name in _GROUPS if (value := getattr(clip, name, None)) not in (None, "")), "")
    columns = {"group": group} if group else {}
    for name, column in _COLUMNS.items():
        value = getattr(clip, name, None)
        if value not in (None, ""):
            columns[column] = str(value).rpartition(".")[2]  # development.train
    return Recording(file, scene, group or str(file), columns=columns)
