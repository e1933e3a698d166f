"""A real HTTP server that speaks the chat completions API and answers by script."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal

from .loopback_server import LoopbackServer

#: From a request's JSON body to what is sent: a completion's JSON, or a Reply for anything else.
Script = Callable[[dict[str, Any]], "dict[str, Any] | Reply"]


@dataclass(frozen=True)
class Reply:
    """An answer that is not a plain 200 with JSON, or not a whole one.

    Moods: `hang` sends nothing until the server is closed, `reset` breaks the connection before the answer, `half`
    after half of its body, `trickle` sends a byte every `seconds`; `late` sends it all after `seconds`.
    """

    status: int = 200
    body: str = ""
    content_type: str = "application/json"
    encoding: str = "utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    mood: Literal["", "hang", "reset", "half", "trickle", "late"] = ""
    seconds: float = 0.1


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


def completion(
    content: str | None = None,
    *calls: tuple[str, dict[str, Any] | str],
    finish_reason: str | None = None,
    prompt_tokens: int = 100,
    completion_tokens: int = 10,
    **message: Any,
) -> dict[str, Any]:
    """Return a completion: text, or calls as (tool, arguments); further fields go into the message."""
    tool_calls = [
        {
            "id": f"call_{index}",
            "type": "function",
            "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
        }
        for index, (name, given) in enumerate(calls)
    ]
    reply: dict[str, Any] = {"role": "assistant", "content": content, **message}
    if tool_calls:
        reply["tool_calls"] = tool_calls
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "scripted",
        "choices": [
            {"index": 0, "message": reply, "finish_reason": finish_reason or ("tool_calls" if calls else "stop")}
        ],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


class ModelServer:
    """Serves on loopback until it is closed. `script` answers; `requests` are what came in, `peak` how many of
    them at most were in flight at once."""

    def __init__(self) -> None:
        self.script: Script = lambda body: completion("Done.")
        self.requests: list[Request] = []
        self.peak = 0
        self._in_flight = 0
        self._counting = threading.Lock()
        self._closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                server.requests.append(Request(self.path, headers, body))
                server._count(1)
                try:
                    reply = server.script(body)
                    self.send(reply if isinstance(reply, Reply) else Reply(body=json.dumps(reply)))
                except ConnectionError:
                    self.close_connection = True  # the client lost its patience
                finally:
                    server._count(-1)

            def send(self, reply: Reply) -> None:
                if reply.mood in ("hang", "late"):
                    server._closing.wait(None if reply.mood == "hang" else reply.seconds)
                if reply.mood == "reset":
                    self.reset()
                    return
                data = reply.body.encode(reply.encoding)
                self.send_response(reply.status)
                self.send_header("content-type", reply.content_type)
                self.send_header("content-length", str(len(data)))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if reply.mood == "half":
                    self.wfile.write(data[: len(data) // 2])
                    self.close_connection = True
                elif reply.mood == "trickle":
                    for byte in data:
                        if server._closing.wait(reply.seconds):
                            break
                        self.wfile.write(bytes([byte]))
                else:
                    self.wfile.write(data)

            def reset(self) -> None:
                """Close the connection by RST, as a router or a killed process does."""
                self.close_connection = True
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                socket.close(self.connection.detach())

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = LoopbackServer(Handler)

    @property
    def url(self) -> str:
        return f"{self._server.url}/v1"

    def play(self, *answers: dict[str, Any] | Reply) -> None:
        """Answer each conversation with these, one a turn; the last one again and again."""

        def script(body: dict[str, Any]) -> dict[str, Any] | Reply:
            turn: int = sum(message["role"] == "assistant" for message in body["messages"])
            return answers[min(turn, len(answers) - 1)]

        self.script = script

    def _count(self, change: int) -> None:
        with self._counting:
            self._in_flight += change
            self.peak = max(self.peak, self._in_flight)

    def close(self) -> None:
        self._closing.set()
        self._server.stop()
