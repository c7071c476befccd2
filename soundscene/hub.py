"""Models on the Hugging Face Hub: hf://owner/name names a file there, which is downloaded once, and pushed with a card.

    hf://owner/name                          its model, at its newest revision
    hf://owner/name/model.onnx@v1            a file, at a tag, branch or commit
    hf://owner/name@v1#sha256=0123...        of this content only

The model of a repository is its model.safetensors, or else its model.onnx, an exported model. Without PyTorch, which the
first needs, it is the other way round.

Nothing here is imported, and no request made, for a local path. The cache, HF_HUB_OFFLINE, HF_ENDPOINT, HF_HOME and the
token are those of huggingface_hub.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from soundscene.errors import BundleError
from soundscene.extras import is_installed, require

MODEL_FILE, EXPORTED_FILE, CARD_FILE = "model.safetensors", "model.onnx", "README.md"
SCHEME = "hf://"
_LICENCES = """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0
    cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0
    cdla-sharing-1.0 ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 gfdl gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1
    lgpl-3.0 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openrail osl-3.0 pddl postgresql unlicense wtfpl zlib
"""
LICENCES = frozenset(_LICENCES.split())
"""Identifiers that the Hub has a name for; it takes others as "other" with a name."""
_NOT_PERMITTED = "not allowed; log in with a token that may (hf auth login, or HF_TOKEN)"
_ANSWERS = {
    401: _NOT_PERMITTED,
    403: _NOT_PERMITTED,
    404: "the Hub answered with status 404, not found; is HF_ENDPOINT the address of a Hub?",
    429: "the Hub answered with status 429, too many requests; wait, or log in (hf auth login, or HF_TOKEN)",
}
_MOST_NAMES = 5  # of files in a message
_REFERENCE = re.compile(
    r"hf:/{1,2}(?P<repo>[^/@#\s]+/[^/@#\s]+)(?:/(?P<file>[^@#]+))?(?:@(?P<revision>[^#]+))?(?:#sha256=(?P<digest>[0-9a-fA-F]+))?"
)
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_REPO = re.compile(rf"(?=.{{1,96}}\Z)(?!.*(?:--|\.\.))(?!.*\.git\Z){_NAME}/{_NAME}")
_NOT_ALLOWED = (
    "no name that the Hub allows; expected hf://owner/name of the letters a to z, digits, '-', '_' and '.', without '-' or "
    "'.' at an end, '--' or '..' inside, or '.git' at the end"
)
_DIGITS = 64
_SUFFIXES = frozenset(PurePosixPath(name).suffix for name in (MODEL_FILE, EXPORTED_FILE))


@dataclass(frozen=True)
class HubReference:
    """A file on the Hub.

    Attributes:
        repo: owner/name.
        file: Its path there; None for the model of the repository.
        revision: Branch, tag or commit; None for the newest.
        digest: SHA-256 that the file must have, None for any.
    """

    repo: str
    file: str | None = None
    revision: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubReference":
        """Parse hf://owner/name[/file][@revision][#sha256=digest].

        >>> HubReference.parse("hf://me/scenes@v1")
        HubReference(repo='me/scenes', file=None, revision='v1', digest=None)

        Raises:
            BundleError: The text is of another form.
        """
        found = _REFERENCE.fullmatch(text)
        digest = found and found["digest"]
        if not found or (digest and len(digest) != _DIGITS) or ".." in (found["file"] or ""):
            written = re.sub("^hf:/+", SCHEME, text)  # `Path` makes one slash of two
            raise BundleError(f"{written}: expected hf://owner/name[/file][@revision][#sha256=64 hexadecimal digits]")
        if not _REPO.fullmatch(found["repo"]):
            raise BundleError(f"{SCHEME}{found['repo']}: {_NOT_ALLOWED}")
        revision, _, file = (found["revision"] or "").rpartition("/")
        if revision and not found["file"] and PurePosixPath(file).suffix in _SUFFIXES:
            meant = cls(found["repo"], file, revision)
            raise BundleError(f"{SCHEME}{found['repo']}@{revision}/{file}: the file comes before the revision: {meant}")
        return cls(found["repo"], found["file"], found["revision"], digest.lower() if digest else None)

    def __str__(self) -> str:
        """Return the reference as it is written."""
        file = f"/{self.file}" if self.file else ""
        return f"{SCHEME}{self.repo}{file}{f'@{self.revision}' if self.revision else ''}"

    @property
    def files(self) -> tuple[str, ...]:
        """Files to look for, the first that is there is the one; an exported model comes first where PyTorch is missing."""
        if self.file:
            return (self.file,)
        return (MODEL_FILE, EXPORTED_FILE) if is_installed("torch") else (EXPORTED_FILE, MODEL_FILE)


def is_reference(model: str | Path) -> bool:
    """Tell whether a model is on the Hub: it is written hf://, which `Path` shortens, and no local file has that name."""
    return str(model).startswith("hf:/") and not os.path.exists(model)


def local_model(model: str | Path) -> Path:
    """Return the local file of a model: the path itself, or the download of a reference.

    Args:
        model: A path, or hf://owner/name and so on.

    Raises:
        BundleError: It is not there, cannot be reached, or has another digest.
        SceneError: The extra `hub` is missing.
    """
    if not isinstance(model, str | os.PathLike):
        raise BundleError(f"a model of type {type(model).__name__}; expected a model file, or {SCHEME}owner/name")
    if not is_reference(model):
        _check_scheme(str(model))
        return Path(model)
    reference = HubReference.parse(str(model))
    require(str(reference), "hub")
    from huggingface_hub import errors, hf_hub_download

    others: dict[str, str] = {}  # digests of files that have another one
    failures: list[Exception] = []
    for file in reference.files:
        cached = any(map(_is_unreached, failures))  # the Hub is not asked again
        try:
            found = Path(hf_hub_download(reference.repo, file, revision=reference.revision, local_files_only=cached))
        except errors.EntryNotFoundError as error:
            failures.append(error)
            continue
        except Exception as error:  # of the library, of its HTTP client, of the disk
            raise BundleError(f"{reference}: {_why(error, reference)}") from None
        if not reference.digest or (digest := _digest(found)) == reference.digest:
            return found
        others[file] = digest
    raise BundleError(f"{reference}: {_why_none(reference, others, failures)}")


@contextmanager
def opened(model: str | Path) -> Iterator[Path]:
    """Yield the local file of a model, as `local_model` does; what is wrong with a download names the reference too.

    Args:
        model: A path, or hf://owner/name and so on.

    Raises:
        BundleError: As `local_model`, or by what the file is read for.
    """
    path = local_model(model)
    try:
        yield path
    except BundleError as error:
        if path == Path(model):
            raise
        raise BundleError(f"{HubReference.parse(str(model))}: {error}") from None


def _check_scheme(model: str) -> None:
    """Refuse what is a reference but for a space or capitals, and no file."""
    written = model.strip()
    if written[:4].lower() == "hf:/" and not os.path.exists(model):
        meant = SCHEME + written[4:].lstrip("/")
        raise BundleError(f"{model!r}: neither a file nor a model on the Hub; did you mean {meant}?")


def _is_unreached(error: Exception) -> bool:
    """Whether the Hub could not be asked, and the file is not in the cache."""
    from huggingface_hub import errors

    return isinstance(error, errors.LocalEntryNotFoundError)


def _why_none(reference: HubReference, others: Mapping[str, str], failures: list[Exception]) -> str:
    """Return why none of the files of a reference is what was asked for.

    Args:
        reference: As it was given.
        others: Digests of the files that have another one than the reference.
        failures: Of the other files.
    """
    if others:
        found = " and ".join(f"of {file} is {digest}" for file, digest in others.items())
        which = f"the SHA-256 {found}" if len(others) > 1 else f"its SHA-256 is {next(iter(others.values()))}"
        return f"{which}, expected {reference.digest}; was the file changed?"
    if unreached := next(filter(_is_unreached, failures), None):
        return _why(unreached, reference)
    return f"holds {_no_files(reference)} at {reference.revision or 'the newest revision'}{_models_there(reference)}"


def _no_files(reference: HubReference) -> str:
    return f"no {reference.file}" if reference.file else f"neither {MODEL_FILE} nor {EXPORTED_FILE}"


def _models_there(reference: HubReference) -> str:
    """Return which files of a repository could be meant, as the end of a message; empty where none, or not known."""
    from huggingface_hub import HfApi

    names: list[str] = []
    with suppress(Exception):  # it is a help, not what was asked for
        names = HfApi(library_name="soundscene").list_repo_files(reference.repo, revision=reference.revision)
    models = sorted(name for name in names if PurePosixPath(name).suffix.lower() in _SUFFIXES)
    if not models:
        return ""
    more = f" and {len(models) - _MOST_NAMES} more" if len(models) > _MOST_NAMES else ""
    return f"; it holds {', '.join(models[:_MOST_NAMES])}{more}: name it, as in {replace(reference, file=models[0])}"


def check_repo(repo: str) -> str:
    """Return owner/name of a repository, which may be written with hf:// in front.

    Raises:
        BundleError: It has another form.
    """
    name = repo.removeprefix(SCHEME)
    if name.count("/") != 1:
        raise BundleError(f"{repo}: expected the name of a repository on the Hub, owner/name")
    if not _REPO.fullmatch(name):
        raise BundleError(f"{repo}: {_NOT_ALLOWED}")
    return name


def upload(
    repo: str, files: Mapping[str, Path], card: str, *, private: bool = False, revision: str | None = None
) -> tuple[str, tuple[str, ...]]:
    """Write a model and its card to a repository in one commit; the repository is made where it is missing.

    An exported model of another model file would stay what an installation without PyTorch loads. So it is removed in the
    same commit.

    Args:
        repo: owner/name.
        files: MODEL_FILE, EXPORTED_FILE or both, with the local file of each.
        card: Text of README.md.
        private: Whether a new repository is private.
        revision: Branch; by default the main one.

    Returns:
        The commit, a hexadecimal number, and the names of files that it removes.

    Raises:
        BundleError: The Hub refuses it, or cannot be reached; or an exported model alone is for a repository that holds
            a model file.
        SceneError: The extra `hub` is missing.
    """
    require("push", "hub")
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    operations: list[Any] = [
        *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path)) for name, path in files.items()),
        CommitOperationAdd(path_in_repo=CARD_FILE, path_or_fileobj=card.encode()),
    ]
    reference = HubReference(repo, revision=revision)
    try:
        api = HfApi(library_name="soundscene")
        api.create_repo(repo, private=private, exist_ok=True)
        stale = _stale(reference, files)
        removals = [CommitOperationDelete(path_in_repo=name) for name in stale]
        text = "Add a model of soundscene"
        made = api.create_commit(repo, [*operations, *removals], commit_message=text, revision=revision)
    except BundleError:
        raise
    except Exception as error:
        raise BundleError(f"{reference}: {_why(error, reference)}") from None
    return made.oid, stale


def _stale(reference: HubReference, files: Mapping[str, Path]) -> tuple[str, ...]:
    """Return which file of the repository a push makes wrong: the exported file of another model.

    Raises:
        BundleError: An exported model is pushed alone, and there is a model file.
    """
    if MODEL_FILE not in files:
        if _etag(reference, MODEL_FILE) is not None:
            raise BundleError(
                f"{reference}: holds {MODEL_FILE}, and an exported model alone may be of another model; push both: "
                f"soundscene push MODEL.safetensors {reference.repo} --onnx {files[EXPORTED_FILE]}"
            )
        return ()
    if EXPORTED_FILE in files or _etag(reference, EXPORTED_FILE) is None:
        return ()
    return () if _etag(reference, MODEL_FILE) == _digest(files[MODEL_FILE]) else (EXPORTED_FILE,)


def _etag(reference: HubReference, file: str) -> str | None:
    """Return what the Hub names the content of a file by, of a large one its SHA-256; None where it is not there."""
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    try:
        return get_hf_file_metadata(hf_hub_url(reference.repo, file, revision=reference.revision)).etag or ""
    except (errors.EntryNotFoundError, errors.RevisionNotFoundError):
        return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unreached(error: Exception) -> str:
    """Say why there was no answer: by the user's wish, or of the network."""
    from huggingface_hub import errors

    cause = error.__cause__
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, which allows no request"
    return f"the Hub cannot be reached{f' ({_line(cause)})' if cause else ', or HF_HUB_OFFLINE is set'}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status that an error, or what caused it, is about; None where there was no answer."""
    while error is not None:
        if (found := getattr(getattr(error, "response", None), "status_code", None)) is not None:
            return found
        error = error.__cause__
    return None


def _why(error: Exception, reference: HubReference) -> str:
    """Return why the Hub did not do what was asked, in one line."""
    from huggingface_hub import errors

    revision = reference.revision or "the newest revision"
    known: tuple[tuple[str, str], ...] = (  # special ones first
        ("GatedRepoError", "access to it must be asked for; then log in (hf auth login, or HF_TOKEN)"),
        ("RepositoryNotFoundError", "no such repository, or it is private; log in (hf auth login, or HF_TOKEN)"),
        ("RevisionNotFoundError", f"has no revision {reference.revision}"),
        ("RemoteEntryNotFoundError", f"holds {_no_files(reference)} at {revision}"),
        ("OfflineModeIsEnabled", "HF_HUB_OFFLINE is set, which allows no request"),
        ("LocalEntryNotFoundError", f"is not in the cache, and {_unreached(error)}"),
    )
    status = _status(error)
    for name, why in known:
        if name == "LocalEntryNotFoundError" and status is not None:
            break  # there was an answer
        kind: Any = getattr(errors, name, None)
        if kind is not None and isinstance(error, kind):
            return why
    if status in _ANSWERS:
        return _ANSWERS[status]
    if status is not None:
        own = "; it has a problem of its own, try again later" if status >= 500 else ""
        return f"the Hub answered with status {status}{own}"
    cause = error.__cause__ or error
    if isinstance(cause, OSError) or any(word in type(cause).__name__ for word in ("Connect", "Timeout")):
        return f"the Hub cannot be reached ({_line(cause)})"
    return f"the Hub did not answer as expected ({type(cause).__name__}: {_line(cause)})"
