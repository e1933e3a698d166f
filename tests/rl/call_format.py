"""The tokenizer of the task, and conversations in its format whose arguments are random: what the warm start reads."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.services.run_api import make_tokenizer

from .two_turns import ARGUMENT, NUMBERS, TOOL, VARIABLES, Puzzle, puzzles, reading, writing

#: Roles are single tokens, so is the end of a turn; of the tools it says nothing, since they never change.
TEMPLATE = (
    "{%- for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{%- for call in message.tool_calls or [] %}"
    "[{{ call.function.name }}("
    "{%- for key, value in call.function.arguments.items() %}{{ key }}={{ value | tojson }}{% endfor %})]"
    "{%- endfor %}<|end|>{%- endfor %}{%- if add_generation_prompt %}<|assistant|>{% endif %}"
)
ASSISTANT, END = "<|assistant|>", "<|end|>"
SPECIAL = ("<|user|>", ASSISTANT, "<|tool|>", END)


def make_task_tokenizer(folder: Path) -> Path:
    """Make a tokenizer of few tokens for conversations of the task, save it with its template, and return its folder.

    A variable or a number is one token wherever it stands. A conversation has 24 tokens, of which the model samples 13.
    """
    call = _calling("COMMAND")["tool_calls"][0]["function"]
    texts = ["after ", f"[{call['name']}(", f'{ARGUMENT}="', '")]', "echo $", "echo ", " > out"]
    output = json.dumps(_read("|"))
    texts += [part.strip("|") for part in output.partition("|")]
    return make_tokenizer(folder, TEMPLATE, special=SPECIAL, eos=END, words=False, texts=texts)


def conversation(puzzle: Puzzle, rng: random.Random) -> list[dict[str, Any]]:
    """Return a conversation whose commands have the right form, and variables and numbers that mean nothing."""
    return [
        {"role": "user", "content": puzzle.prompt},
        _calling(reading(rng.choice(VARIABLES))),
        {"role": "tool", "content": json.dumps(_read(rng.choice(NUMBERS)))},
        _calling(writing(rng.choice(NUMBERS))),
    ]


def _calling(command: str) -> dict[str, Any]:
    call = {"type": "function", "function": {"name": TOOL, "arguments": {ARGUMENT: command}}}
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def _read(number: str) -> dict[str, Any]:
    return {"output": f"{number}\n", "exit_code": 0, "error": None}


def examples(tokenizer: Any, rng: random.Random) -> Iterator[tuple[list[int], list[bool]]]:
    """Yield conversations as token ids without end, and which of them the assistant writes.

    They are tokenised whole, by the tokenizer and its template alone.
    """
    assistant, end = tokenizer.convert_tokens_to_ids([ASSISTANT, END])
    for puzzle in puzzles(rng):
        text = tokenizer.apply_chat_template(conversation(puzzle, rng), tokenize=False)
        ids = tokenizer.encode(text, add_special_tokens=False)
        written, speaking = [], False
        for token in ids:
            written.append(speaking)
            speaking = token == assistant or (speaking and token != end)
        yield ids, written
