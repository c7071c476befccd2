"""A stand-in for the Hugging Face Hub on this machine: enough of its API to download a file, and to push a commit."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Hub:
    """Repositories in memory: commits by repository and revision, and a list of all requests."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, bytes]] = {}  # commit -> files
        self.revisions: dict[str, dict[str, str]] = {}  # owner/name -> branch or tag -> commit
        self.requests: list[str] = []
        self.stored: dict[str, bytes] = {}  # large files by their SHA-256
        self.refuse: int | None = None  # status of all answers
        self.url = ""

    def commit(self, repo: str, files: dict[str, bytes], *names: str, removed: tuple[str, ...] = ()) -> str:
        """Make a commit that holds these files, beside those of the branch, and name it."""
        known = self.revisions.setdefault(repo, {})
        whole = {**self.commits.get(known.get(names[0] if names else "main", ""), {}), **files}
        whole = {name: content for name, content in whole.items() if name not in removed}
        oid = hashlib.sha1(repr(sorted(whole.items())).encode()).hexdigest()
        self.commits[oid] = whole
        known |= dict.fromkeys(names or ("main",), oid)
        return oid

    def find(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Commit and files of a branch, a tag or a commit."""
        oid = self.revisions.get(repo, {}).get(revision, revision)
        return (oid, self.commits[oid]) if repo in self.revisions and oid in self.commits else None


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0].strip("/")
        self.hub.requests.append(f"{self.command} /{path}")
        if self.hub.refuse:
            return self._send(self.hub.refuse, b"")
        words = path.split("/")
        if words[0] == "lfs":
            self.hub.stored[words[1]] = body
            return self._send(200, b"")
        if path == "api/repos/create":
            asked = json.loads(body)
            repo = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            self.hub.revisions.setdefault(repo, {})
            return self._json({"url": f"{self.hub.url}/{repo}", "private": asked.get("private")})
        if path == "api/validate-yaml":
            return self._json({"warnings": [], "errors": []})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._json({"transfer": "basic", "objects": [self._upload(one) for one in json.loads(body)["objects"]]})
        if words[:2] == ["api", "models"] and len(words) > 5 and words[4] == "preupload":
            return self._json({"files": [_mode(one["path"]) for one in json.loads(body)["files"]]})
        if words[:2] == ["api", "models"] and len(words) > 5 and words[4] == "commit":
            return self._commit("/".join(words[2:4]), words[5], body)
        if len(words) > 4 and words[2] == "resolve":
            return self._file("/".join(words[:2]), words[3], "/".join(words[4:]))
        if words[:2] == ["api", "models"] and len(words) > 5 and words[4] == "tree":
            return self._tree("/".join(words[2:4]), words[5])
        if words[:2] == ["api", "models"]:
            found = self.hub.find("/".join(words[2:4]), "/".join(words[5:]) or "main")
            return self._json({"id": "/".join(words[2:4]), "sha": found[0]}) if found else self._missing("RevisionNotFound")
        return self._send(404, b"")

    def _upload(self, asked: dict) -> dict:
        actions = {"upload": {"href": f"{self.hub.url}/lfs/{asked['oid']}"}}
        return {"oid": asked["oid"], "size": asked["size"], "actions": actions}

    def _commit(self, repo: str, revision: str, body: bytes) -> None:
        files, removed = {}, []
        for line in body.splitlines():
            part = json.loads(line)
            if part["key"] == "file":
                files[part["value"]["path"]] = base64.b64decode(part["value"]["content"])
            elif part["key"] == "lfsFile":
                files[part["value"]["path"]] = self.hub.stored[part["value"]["oid"]]
            elif part["key"] == "deletedFile":
                removed.append(part["value"]["path"])
        oid = self.hub.commit(repo, files, revision, removed=tuple(removed))
        self._json({"commitUrl": f"{self.hub.url}/{repo}/commit/{oid}", "commitOid": oid, "success": True})

    def _tree(self, repo: str, revision: str) -> None:
        found = self.hub.find(repo, revision)
        if found is None:
            return self._missing("RevisionNotFound")
        files = found[1].items()
        return self._json([{"type": "file", "path": name, "size": len(content), "oid": "0" * 40} for name, content in files])

    def _file(self, repo: str, revision: str, name: str) -> None:
        if repo not in self.hub.revisions:
            return self._missing("RepoNotFound")
        found = self.hub.find(repo, revision)
        if found is None:
            return self._missing("RevisionNotFound")
        oid, files = found
        if name not in files:
            return self._missing("EntryNotFound", {"X-Repo-Commit": oid})
        digest = hashlib.sha256(files[name]).hexdigest()
        return self._send(200, files[name], {"X-Repo-Commit": oid, "ETag": f'"{digest}"'})

    def _missing(self, code: str, headers: dict[str, str] | None = None) -> None:
        self._send(404, b"", {"X-Error-Code": code, "X-Error-Message": code, **(headers or {})})

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _mode(path: str) -> dict[str, object]:
    return {
        "path": path,
        "uploadMode": "lfs" if path.endswith((".safetensors", ".onnx")) else "regular",
        "shouldIgnore": False,
    }


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Yield a running stand-in."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
