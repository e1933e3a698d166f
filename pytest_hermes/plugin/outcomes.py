"""What a finished attempt says as a test: texts for people, without a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..report.numbers import counted

if TYPE_CHECKING:
    from _pytest._io import TerminalWriter

    from ..rollout.record import AttemptRecord

#: Characters of the agent's last words, and lines of the verifier's output, that a failure shows.
_LAST_WORDS = 500
_OUTPUT_LINES = 20


class PlainText:
    """A report's text, in the form pytest wants it: whole, and as one line for the short summary."""

    class Crash:
        def __init__(self, message: str) -> None:
            self.message = message

    def __init__(self, text: str) -> None:
        self._text = text
        self.reprcrash = self.Crash(text.partition("\n")[0])

    def __str__(self) -> str:
        return self._text

    def toterminal(self, writer: TerminalWriter) -> None:
        first, _, rest = self._text.partition("\n")
        writer.line(first, red=True, bold=True)
        if rest:
            writer.line(rest)


class AttemptFailed(AssertionError):
    """The reward is below the task's threshold."""

    def __init__(self, record: AttemptRecord, why: str | None = None) -> None:
        super().__init__(why or describe_failure(record))


class AttemptNotScored(Exception):
    """Something other than the agent failed; the attempt counts as an error."""

    def __init__(self, record: AttemptRecord) -> None:
        super().__init__(describe_error(record))


def properties_of(record: AttemptRecord) -> list[tuple[str, object]]:
    """Return what stands of an attempt in its test's report, by name: the properties of JUnit's XML."""
    cost = record.usage.cost if record.usage.cost_source else None
    values = {
        "reward": record.reward,
        "turns": record.turns_used,
        "tokens": record.usage.total_tokens,
        "cost": None if cost is None else str(cost),
        "attempt": record.attempt,
        "error_kind": record.error.kind if record.error else None,
    }
    return [(name, value) for name, value in values.items() if value is not None]


def describe_failure(record: AttemptRecord) -> str:
    """Return why an attempt failed: first a line that says it all, then what to look at."""
    reward = "no reward" if record.reward is None else f"reward {record.reward:g}"
    why = f"{record.reason}; {reward}" if record.reason else reward
    lines = [f"{why} is below the threshold {record.threshold:g}; {how_it_ended(record)}"]
    if record.verifier is not None and record.verifier.tampered:
        lines.append(f"the verifier: {record.verifier.tampered}")
    lines += [
        f"tool error in turn {error.turn + 1}: {error.tool_name}: {error.error}" for error in record.tool_errors[-3:]
    ]
    words = _last_words(record)
    if words:
        lines += ["", "last words of the agent:", *_indented(words)]
    if record.verifier_output.strip():
        tail = record.verifier_output.rstrip().splitlines()[-_OUTPUT_LINES:]
        lines += ["", "verifier output:", *_indented("\n".join(tail))]
    return "\n".join(lines)


def describe_error(record: AttemptRecord) -> str:
    """Return what kept an attempt from being scored, and where a benchmark's own code raised."""
    text = "an error" if record.error is None else f"{record.error.kind} error: {record.error.message}"
    if record.turns_used:
        text += f"\nafter {how_it_ended(record)}"
    for earlier in record.earlier_errors:
        text += f"\nan earlier start ended with this {earlier.kind} error: {earlier.message}"
    if record.error is not None and record.error.traceback:
        text += "\n\n" + record.error.traceback.rstrip()
    return text


def how_it_ended(record: AttemptRecord) -> str:
    from ..errors import STOP_REASONS  # sessions without a benchmark need none of them

    turns = counted(record.turns_used, "turn")
    tokens = f", {counted(record.usage.total_tokens, 'token')}" if record.usage.total_tokens else ""
    stopped = f", {STOP_REASONS.get(record.stop_reason, record.stop_reason)}" if record.stop_reason else ""
    return f"{turns}{tokens}{stopped}"


def _last_words(record: AttemptRecord) -> str:
    for message in reversed(record.messages):
        texts = [message.get("content"), message.get("refusal")] if message.get("role") == "assistant" else []
        words = next((text.strip() for text in texts if isinstance(text, str) and text.strip()), "")
        if words:
            return words if len(words) <= _LAST_WORDS else words[:_LAST_WORDS] + " …"
    return ""


def _indented(text: str) -> list[str]:
    return ["    " + line for line in text.splitlines()]
