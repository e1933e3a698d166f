"""HTTP on loopback, in threads of the tests' own process."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LoopbackServer(ThreadingHTTPServer):
    """Answers by `handler` on a free port from the beginning until `stop`."""

    request_queue_size = 256

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away.

        A traceback is parsed for its marks, and until 3.11.8 Python can parse in no two threads at once:
        https://github.com/python/cpython/issues/106905
        """
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Answer nothing more, and let go of the port."""
        self.shutdown()
        self.server_close()
        self._thread.join()
