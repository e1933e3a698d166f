"""The parts of the learning proof that can be seen to be right by themselves; the proof is a job of its own."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.rl import two_turns
from tests.rl.learning_report import LAST, Curve, problem, table
from tests.rl.scored_batch import IGNORED, Row, advantages, rows, spoiled
from tests.services.bench import Bench
from tests.services.token_server import TokenServer


def test_advantages_are_measured_within_a_group() -> None:
    assert advantages([1.0, 0.0, 0.0, 1.0]) == [1.0, -1.0, -1.0, 1.0]
    assert advantages([0.1] * 3) == [0.0] * 3
    some = advantages([0.0, 0.5, 0.5, 1.0, 0.0])
    assert math.fsum(some) == pytest.approx(0)
    assert math.fsum(one**2 for one in some) / 5 == pytest.approx(1)


BATCH = [
    {
        "tokens": [[5, 6, 7], [5, 8]],
        "masks": [[-100, 6, 7], [-100, 8]],
        "inference_logprobs": [[1.0, -0.1, -0.2], [1.0, -0.3]],
        "scores": [1.0, 0.0],
    },
    {"tokens": [[9, 9]], "masks": [[-100, 9]], "inference_logprobs": [[1.0, -0.4]], "scores": [0.5]},
]


def test_a_control_spoils_one_thing_and_nothing_else() -> None:
    batch = rows(BATCH)
    assert batch[0] == Row([5, 6, 7], [-100, 6, 7], [1.0, -0.1, -0.2], 1.0)
    assert [row.advantage for row in batch] == [1.0, -1.0, 0.0]
    assert spoiled(batch, "none", random.Random(0)) == batch
    orders = Counter(
        tuple(row.advantage for row in spoiled(batch, "advantages shuffled", random.Random(seed))) for seed in range(50)
    )
    assert len(orders) == 6
    assert set(map(sum, orders)) == {0}
    shifted = spoiled(batch, "masks shifted", random.Random(0))
    assert [row.masks for row in shifted] == [[IGNORED, IGNORED, 6], [IGNORED, IGNORED], [IGNORED, IGNORED]]
    for control in ("advantages shuffled", "masks shifted"):
        for before, after in zip(batch, spoiled(batch, control, random.Random(1)), strict=True):
            assert (before.tokens, before.logprobs) == (after.tokens, after.logprobs)
    stand_in = {**BATCH[0], "overrides": [{}, {"set_advantage_to_zero": True}]}
    assert [row.advantage for row in rows([stand_in])] == [1.0, 0.0]
    with pytest.raises(ValueError, match="without logprobs"):
        rows([{**BATCH[0], "inference_logprobs": None}])


def test_the_objective_is_clipped_on_the_side_that_goes_too_far() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed, which the learning proof needs")
    from tests.rl.trainer import clipped_loss

    old = torch.tensor([[0.5, 0.5, 0.5, 0.5, 0.5]]).log()
    new = torch.tensor([[0.75, 0.25, 0.75, 0.25, 0.55]]).log().requires_grad_()
    advantage = torch.tensor([[1.0, 1.0, -1.0, -1.0, 3.0]])
    trained = torch.tensor([[True, True, True, True, False]])
    loss, clipped = clipped_loss(new, old, advantage, trained)
    # min(1.5, 1.2), min(0.5, 0.8), min(-1.5, -1.2), min(-0.5, -0.8)
    assert loss.item() == pytest.approx(-(1.2 + 0.5 - 1.5 - 0.8) / 4)
    assert clipped.tolist() == [[True, False, False, True, False]]
    loss.backward()
    assert new.grad.tolist() == [pytest.approx([0, -0.5 / 4, 1.5 / 4, 0, 0])]


def curve(start: float, end: float, *, control: str = "none", seconds: float = 60.0) -> Curve:
    strict = [start] * 4 + [(start + end) / 2] * 4 + [end] * LAST
    return Curve(3, control, strict, strict, [seconds] * len(strict), 120.0)  # type: ignore[arg-type]


def test_the_verdict_is_about_strict_success() -> None:
    assert problem(curve(0.04, 0.9), 10) is None
    assert problem(curve(0.12, 0.9), 10) == "begins at 12%"
    assert problem(curve(0.04, 0.75), 10) == "ends at 75%"
    assert problem(curve(0.04, 0.9, seconds=660), 10) == "takes more than 10 min"
    assert problem(curve(0.04, 0.06, control="masks shifted"), 10) is None
    assert problem(curve(0.04, 0.5, control="masks shifted"), 10) == "learns all the same: 50%"
    assert problem(Curve(0), 10) is not None
    lines = table([curve(0.04, 0.9), curve(0.04, 0.5, control="masks shifted")], 10).splitlines()
    assert lines[1].split() == ["seed", "3", "4.0%", "90.0%", str(8 + LAST), "1.0", "2.0", "learns"]
    assert lines[2].endswith("NOT AS CLAIMED: learns all the same: 50%")


def test_no_answer_is_asked_for_more_often_than_another() -> None:
    drawn = list(itertools.islice(two_turns.puzzles(random.Random(0)), 4000))
    for some in zip(*[iter(drawn)] * len(two_turns.VARIABLES), strict=True):
        assert sorted(puzzle.variable for puzzle in some) == list(two_turns.VARIABLES)
        assert sorted(puzzle.values[puzzle.variable] for puzzle in some) == list(two_turns.NUMBERS)
    # Knowing one says nothing of the other, nor of where the numbers that are not asked for stand.
    pairs = Counter((puzzle.variable, puzzle.values[name], name) for puzzle in drawn for name in two_turns.VARIABLES)
    assert len(pairs) == 4**3
    assert max(pairs.values()) < 1.5 * min(pairs.values())


def test_every_prompt_has_one_strict_success() -> None:
    puzzle = next(two_turns.puzzles(random.Random(0)))
    number = two_turns.following(puzzle.values[puzzle.variable])
    scores = Counter(
        two_turns.score(puzzle, [two_turns.reading(variable), two_turns.writing(value)], partial(str, f"{value}\n"))
        for variable in two_turns.VARIABLES
        for value in two_turns.NUMBERS
    )
    count = len(two_turns.NUMBERS)
    assert scores == {1.0: 1, 0.5: 2 * (count - 1), 0.0: (count - 1) ** 2}
    right: list[str | None] = [two_turns.reading(puzzle.variable), two_turns.writing(number)]
    # Commands that look right and did nothing, or too much, or nothing at all.
    assert two_turns.score(puzzle, right, lambda: "") == two_turns.TURN
    assert two_turns.score(puzzle, [*right, None], lambda: f"{number}\n") == two_turns.TURN
    assert two_turns.score(puzzle, [None, right[1]], lambda: f"{number}\n") == 0
    assert two_turns.score(puzzle, [], lambda: "") == 0


@pytest.fixture
def solver(atropos: None, tmp_path: Path) -> Iterator[tuple[TokenServer, Path]]:
    """A model that follows every prompt, with the tokenizer of the task."""
    from transformers import AutoTokenizer

    from tests.rl.call_format import END, make_task_tokenizer

    folder = make_task_tokenizer(tmp_path / "tokenizer")
    server = TokenServer(AutoTokenizer.from_pretrained(str(folder)), "vllm_generate")

    def answer(prompt: str) -> str:
        *_, user = prompt.split("<|user|>after ")
        if "<|tool|>" not in prompt:
            return f'[terminal(command="{two_turns.reading(user[0])}")]{END}'
        read = json.loads(prompt.split("<|tool|>")[1].split(END)[0])["output"].strip()
        return f'[terminal(command="{two_turns.writing(two_turns.following(read))}")]{END}'

    server.script = answer
    yield server, folder
    server.close()


def test_its_environment_rewards_who_solves_it(solver: tuple[TokenServer, Path], bench: Bench) -> None:
    server, tokenizer = solver
    root = Path(__file__).parents[2]
    bench.env(HF_HUB_OFFLINE="1", PYTHONPATH=str(root))
    code, text = bench.python(
        "-m", "pytest_hermes.atropos", f"{root}/tests/rl/two_turns_env.py:TwoTurnsEnv", "process",
        "--openai.base_url", server.url, "--env.tokenizer_name", str(tokenizer), "--env.max_token_length", "60",
        "--env.group_size", "1", "--env.total_steps", "3", "--env.data_path_to_save_groups", "out.jsonl",
    )  # fmt: skip
    assert code == 0, text
    lines = [json.loads(line) for line in (bench.path / "out.jsonl").read_text().splitlines()]
    assert [line["reward"] for line in lines] == [1.0] * 3
    assert {line["token_source"] for line in lines} == {"sampled"}
    assert [len(line["trace"]["segments"][0]["turns"]) for line in lines] == [2] * 3
