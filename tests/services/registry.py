"""A registry of images on loopback, of which engines pull without TLS.

Format: https://distribution.github.io/distribution/spec/api/
"""

from __future__ import annotations

import gzip
import hashlib
import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler

import docker

from .loopback_server import LoopbackServer

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Registry:
    """Has one image under the tag `good`, with one layer; a tag that is a number is answered by that HTTP status."""

    def __init__(self, client: docker.APIClient, image: str) -> None:
        """`image` is what the layer is made from."""
        container = client.create_container(image, ["true"])["Id"]
        try:
            layer = b"".join(client.export(container))
        finally:
            client.remove_container(container)
        packed = gzip.compress(layer, 1)
        config = json.dumps(
            {"architecture": client.version()["Arch"], "os": "linux", "config": {"Cmd": ["sh"]},
             "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]}}
        ).encode()  # fmt: skip
        self._blobs = {_digest(blob): blob for blob in (packed, config)}
        manifest = json.dumps(
            {"schemaVersion": 2, "mediaType": _MANIFEST,
             "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config),
                        "digest": _digest(config)},
             "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": len(packed),
                         "digest": _digest(packed)}]}
        ).encode()  # fmt: skip
        self._manifests = {"good": manifest, _digest(manifest): manifest}
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, kind, body = registry._answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Docker-Content-Digest", _digest(body))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = LoopbackServer(Handler)
        #: How its image is called, without a tag.
        self.repository = f"127.0.0.1:{self._server.server_port}/team/image"

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        *_, kind, name = path.split("/")
        if kind == "manifests" and name in self._manifests:
            return HTTPStatus.OK, _MANIFEST, self._manifests[name]
        if kind == "blobs":
            return HTTPStatus.OK, "application/octet-stream", self._blobs[name]
        if kind != "manifests":
            return HTTPStatus.OK, "application/json", b"{}"
        status = HTTPStatus(int(name)) if name.isdigit() else HTTPStatus.NOT_FOUND
        code = {404: "MANIFEST_UNKNOWN", 429: "TOOMANYREQUESTS"}[status]
        error = {"errors": [{"code": code, "message": "the registry's reason"}]}
        return status, "application/json", json.dumps(error).encode()

    def close(self) -> None:
        self._server.stop()


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
