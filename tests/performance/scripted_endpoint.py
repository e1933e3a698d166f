"""A chat completions endpoint that answers by script and costs next to nothing: HTTP by hand on one event loop.

    python tests/performance/scripted_endpoint.py TURNS

Prints the port it listens at on loopback and serves until its stdin ends. Each conversation gets TURNS tool calls,
one an answer, then a text. The base URL is `http://127.0.0.1:PORT/MS/v1`: answers come after so many milliseconds.
`GET /mark` returns when the first request since the last mark came, by the system's monotonic clock, and how many.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

#: What the tool call of each turn runs; the verifier counts the lines.
COMMAND = "echo turn {turn} >> notes.txt && cat notes.txt"


def completion(turn: int, turns: int) -> bytes:
    message: dict[str, object] = {"role": "assistant", "content": "All turns are noted."}
    if turn < turns:
        arguments = json.dumps({"command": COMMAND.format(turn=turn)})
        call = {"id": f"call_{turn}", "type": "function", "function": {"name": "terminal", "arguments": arguments}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    body = {
        "id": f"chatcmpl-{turn}",
        "object": "chat.completion",
        "created": 1,
        "model": "scripted",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if turn < turns else "stop"}],
        "usage": {"prompt_tokens": 100 + 30 * turn, "completion_tokens": 20, "total_tokens": 120 + 30 * turn},
    }
    return response(json.dumps(body).encode())


def response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


class Endpoint:
    def __init__(self, turns: int) -> None:
        self.answers = [completion(turn, turns) for turn in range(turns + 1)]
        self.first: float | None = None
        self.requests = 0

    def answer(self, body: bytes) -> bytes:
        if self.first is None:
            self.first = time.monotonic()
        self.requests += 1
        turn: int = sum(message["role"] == "assistant" for message in json.loads(body)["messages"])
        return self.answers[min(turn, len(self.answers) - 1)]

    def mark(self) -> bytes:
        reply = json.dumps({"first": self.first, "requests": self.requests})
        self.first, self.requests = None, 0
        return response(reply.encode())


class Connection(asyncio.Protocol):
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            request, *headers = self._buffer[:end].split(b"\r\n")
            length = next((int(h[15:]) for h in headers if h[:15].lower() == b"content-length:"), 0)
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            self._respond(request.split()[1], body)

    def _respond(self, path: bytes, body: bytes) -> None:
        if path == b"/mark":
            self._transport.write(self._endpoint.mark())
            return
        answer = self._endpoint.answer(body)
        milliseconds = int(path.split(b"/")[1])
        if milliseconds:
            asyncio.get_running_loop().call_later(milliseconds / 1000, self._transport.write, answer)
        else:
            self._transport.write(answer)


async def serve(turns: int) -> None:
    loop = asyncio.get_running_loop()
    endpoint = Endpoint(turns)
    server = await loop.create_server(lambda: Connection(endpoint), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
