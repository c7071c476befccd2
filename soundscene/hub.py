"""Models on the Hugging Face Hub: hf://owner/name names a file there, which is downloaded once, and pushed with a card.

    hf://owner/name                          its model.safetensors, at its newest revision
    hf://owner/name/model.onnx@v1            another file, at a tag, branch or commit
    hf://owner/name@v1#sha256=0123...        and of this content only

Nothing here is imported, and no request made, for a local path. The cache, HF_HUB_OFFLINE, HF_ENDPOINT, HF_HOME and the
token are those of huggingface_hub.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soundscene.errors import BundleError
from soundscene.extras import require

MODEL_FILE, CARD_FILE = "model.safetensors", "README.md"
SCHEME = "hf://"
_REFERENCE = re.compile(
    r"hf:/{1,2}(?P<repo>[\w-][\w.-]*/[\w-][\w.-]*)(?:/(?P<file>[^@#]+))?(?:@(?P<revision>[^#]+))?(?:#sha256=(?P<digest>[0-9a-fA-F]+))?"
)
_REPO = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_DIGITS = 64


@dataclass(frozen=True)
class HubReference:
    """A file on the Hub.

    Attributes:
        repo: owner/name.
        file: Its path there.
        revision: Branch, tag or commit; None for the newest.
        digest: SHA-256 that the file must have, None for any.
    """

    repo: str
    file: str = MODEL_FILE
    revision: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubReference":
        """Parse hf://owner/name[/file][@revision][#sha256=digest].

        >>> HubReference.parse("hf://me/scenes@v1")
        HubReference(repo='me/scenes', file='model.safetensors', revision='v1', digest=None)

        Raises:
            BundleError: The text is of another form.
        """
        found = _REFERENCE.fullmatch(text)
        digest = found and found["digest"]
        if not found or (digest and len(digest) != _DIGITS) or ".." in (found["file"] or ""):
            raise BundleError(f"{text}: expected hf://owner/name[/file][@revision][#sha256=64 hexadecimal digits]")
        return cls(found["repo"], found["file"] or MODEL_FILE, found["revision"], digest.lower() if digest else None)

    def __str__(self) -> str:
        """Return the reference as it is written."""
        file = "" if self.file == MODEL_FILE else f"/{self.file}"
        return f"{SCHEME}{self.repo}{file}{f'@{self.revision}' if self.revision else ''}"


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
    if not is_reference(model):
        return Path(model)
    reference = HubReference.parse(str(model))
    require(str(reference), "hub")
    import huggingface_hub

    try:
        found = Path(huggingface_hub.hf_hub_download(reference.repo, reference.file, revision=reference.revision))
    except Exception as error:  # of the library, of its HTTP client, of the disk
        raise BundleError(f"{reference}: {_why(error, reference)}") from None
    if reference.digest and (digest := _digest(found)) != reference.digest:
        raise BundleError(f"{reference}: its SHA-256 is {digest}, expected {reference.digest}; was the file changed?")
    return found


def check_repo(repo: str) -> str:
    """Return owner/name of a repository, which may be written with hf:// in front.

    Raises:
        BundleError: It has another form.
    """
    name = repo.removeprefix(SCHEME)
    if not _REPO.fullmatch(name):
        raise BundleError(f"{repo}: expected the name of a repository on the Hub, owner/name")
    return name


def upload(repo: str, model: Path, card: str, *, private: bool = False, revision: str | None = None) -> str:
    """Write a model and its card to a repository in one commit; the repository is made where it is missing.

    Args:
        repo: owner/name.
        model: File of the model.
        card: Text of README.md.
        private: Whether a new repository is private.
        revision: Branch; by default the main one.

    Returns:
        The commit, a hexadecimal number.

    Raises:
        BundleError: The Hub refuses it, or cannot be reached.
        SceneError: The extra `hub` is missing.
    """
    require("push", "hub")
    from huggingface_hub import CommitOperationAdd, HfApi

    operations = [
        CommitOperationAdd(path_in_repo=MODEL_FILE, path_or_fileobj=str(model)),
        CommitOperationAdd(path_in_repo=CARD_FILE, path_or_fileobj=card.encode()),
    ]
    reference = HubReference(repo, revision=revision)
    try:
        api = HfApi(library_name="soundscene")
        api.create_repo(repo, private=private, exist_ok=True)
        made = api.create_commit(repo, operations, commit_message="Add a model of soundscene", revision=revision)
    except Exception as error:
        raise BundleError(f"{reference}: {_why(error, reference)}") from None
    return made.oid


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _why(error: Exception, reference: HubReference) -> str:
    """Return why the Hub did not do what was asked, in one line."""
    from huggingface_hub import errors

    revision = reference.revision or "the newest revision"
    known: tuple[tuple[str, str], ...] = (  # special ones first
        ("GatedRepoError", "access to it must be asked for; then log in (hf auth login, or HF_TOKEN)"),
        ("RepositoryNotFoundError", "no such repository, or it is private; log in (hf auth login, or HF_TOKEN)"),
        ("RevisionNotFoundError", f"has no revision {reference.revision}"),
        ("RemoteEntryNotFoundError", f"holds no {reference.file} at {revision}"),
        ("OfflineModeIsEnabled", "HF_HUB_OFFLINE is set, which allows no request"),
        ("LocalEntryNotFoundError", "is not in the cache, and the Hub cannot be reached, or HF_HUB_OFFLINE is set"),
    )
    for name, why in known:
        kind: Any = getattr(errors, name, None)
        if kind is not None and isinstance(error, kind):
            return why
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return "not allowed; log in with a token that may (hf auth login, or HF_TOKEN)"
    cause = error.__cause__ or error
    return f"the Hub did not answer as expected ({type(cause).__name__}: {' '.join(str(cause).split())[:200]})"
