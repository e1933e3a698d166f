"""A stand-in of the Hugging Face hub on loopback: datasets as folders, served as the hub serves them.

Paths as huggingface_hub asks for them: https://huggingface.co/docs/hub/api, and `…/resolve/REVISION/FILE` for files.
"""

from __future__ import annotations

import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from .loopback_server import LoopbackServer

_INFO = re.compile(r"/api/datasets/(?P<name>[^/]+/[^/]+)(?:/revision/(?P<revision>[^/]+))?")
_TREE = re.compile(r"/api/datasets/(?P<name>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)(?:/(?P<folder>.*))?")
_PATHS = re.compile(r"/api/datasets/(?P<name>[^/]+/[^/]+)/paths-info/(?P<revision>[^/]+)")
_FILE = re.compile(r"/datasets/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


class Hub:
    """`datasets` holds, by name, the files of each commit, the newest last, and `refs` what branches and tags mean."""

    def __init__(self) -> None:
        self.datasets: dict[str, dict[str, dict[str, bytes]]] = {}
        self.refs: dict[tuple[str, str], str] = {}
        self.requests: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._answer(self)

            def do_HEAD(self) -> None:
                hub._answer(self)

            def do_POST(self) -> None:
                self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                hub._answer(self)

            def log_message(self, format: str, *arguments: Any) -> None:
                hub.requests.append(f"{self.command} {self.path}")

        self._server = LoopbackServer(Handler)
        self.url = self._server.url

    def push(self, name: str, files: dict[str, bytes]) -> str:
        """Add a commit to a dataset and return its id."""
        commit = hashlib.sha1(b"".join(path.encode() + content for path, content in sorted(files.items()))).hexdigest()
        self.datasets.setdefault(name, {})[commit] = files
        self.refs[name, "main"] = commit
        return commit

    def close(self) -> None:
        self._server.stop()

    def _answer(self, request: Any) -> None:
        path = unquote(urlsplit(request.path).path)
        for pattern, answer in ((_FILE, self._file), (_PATHS, self._paths), (_TREE, self._tree), (_INFO, self._info)):
            match = pattern.fullmatch(path)
            if match is None:
                continue
            name = match["name"]
            revision = match["revision"] or "main"
            commit = self.refs.get((name, revision), revision)
            files = self.datasets.get(name, {}).get(commit)
            if files is None:
                code = "RepoNotFound" if name not in self.datasets else "RevisionNotFound"
                _send(request, 404, b'{"error": "not found"}', {"X-Error-Code": code, "X-Error-Message": "not found"})
            else:
                answer(request, name, commit, files, match)
            return
        _send(request, 404, b"{}", {})

    def _info(self, request: Any, name: str, commit: str, files: dict[str, bytes], match: re.Match[str]) -> None:
        reply = {
            "id": name,
            "sha": commit,
            "private": False,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": [{"rfilename": path} for path in files],
        }
        _send(request, 200, json.dumps(reply).encode(), {})

    def _tree(self, request: Any, name: str, commit: str, files: dict[str, bytes], match: re.Match[str]) -> None:
        folder = (match["folder"] or "").strip("/")
        below = {path: content for path, content in files.items() if not folder or path.startswith(folder + "/")}
        if folder and not below:
            _send(request, 404, b'{"error": "no"}', {"X-Error-Code": "EntryNotFound", "X-Error-Message": "no entry"})
            return
        deep = parse_qs(urlsplit(request.path).query).get("recursive", [""])[0].lower() == "true"
        reply: list[dict[str, Any]] = []
        for path, content in below.items():
            inner = path[len(folder) :].lstrip("/").split("/")
            parents = ["/".join(filter(None, [folder, *inner[:depth]])) for depth in range(1, len(inner))]
            reply += [_folder(parent) for parent in (parents if deep else parents[:1]) if _folder(parent) not in reply]
            reply += [_entry(path, content)] if deep or not parents else []
        _send(request, 200, json.dumps(reply).encode(), {})

    def _paths(self, request: Any, name: str, commit: str, files: dict[str, bytes], match: re.Match[str]) -> None:
        if request.body.startswith(b"{"):
            wanted = json.loads(request.body)["paths"]
        else:
            wanted = parse_qs(request.body.decode())["paths"]
        reply = [_entry(path, files[path]) for path in wanted if path in files]
        reply += [_folder(path) for path in wanted if any(name.startswith(f"{path}/") for name in files)]
        _send(request, 200, json.dumps(reply).encode(), {})

    def _file(self, request: Any, name: str, commit: str, files: dict[str, bytes], match: re.Match[str]) -> None:
        content = files.get(match["file"])
        if content is None:
            headers = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "no entry", "X-Repo-Commit": commit}
            _send(request, 404, b"", headers)
            return
        _send(request, 200, content, {"X-Repo-Commit": commit, "ETag": f'"{_digest(content)}"'})


def _entry(path: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "oid": _digest(content), "size": len(content), "path": path}


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "oid": _digest(path.encode()), "size": 0, "path": path}


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _send(request: Any, status: int, content: bytes, headers: dict[str, str]) -> None:
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(content)))
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(content)
