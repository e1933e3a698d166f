"""What is wrong with a benchmark before any of its tasks runs: one line that says where, and no traceback."""

from __future__ import annotations

import time

import pytest

from tests.services.bench import Bench, interrupt

RUN = ("--hermes-bench=m.py:M", "--hermes-model=oracle", "--hermes-run-dir=out")

#: A benchmark of which everything is in order; a test replaces a part of it.
START = """\
import asyncio, sys
import pytest
from pytest_hermes import *

class M(Benchmark):
    name = "m"
"""
TASKS = """\
    def tasks(self):
        return [Task(id="a", prompt="", solution="true")]
"""
REWARD = """\
    async def compute_reward(self, item, result, ctx):
        return 1.0
"""


def tasks(*lines: str, head: str = "def tasks(self):") -> str:
    return "\n        ".join([f"    {head}", *lines]) + "\n"


def returns(expression: str) -> str:
    return tasks(f"return {expression}")


def one(arguments: str) -> str:
    return returns(f'[Task(id="fine", prompt="", solution="true"), Task(id="odd", prompt="", {arguments})]')


def method(head: str, *lines: str) -> str:
    return TASKS + tasks(*lines, head=head)


#: An invalid value of a task, and the message about it.
VALUES = {
    "difficulty=2": "task 'odd': difficulty must be a string or None, not 2",
    "category=3": "task 'odd': category must be a string or None, not 3",
    "tags=(1,)": 'task \'odd\': tags must be strings such as ("a", "b"), not (1,)',
    "tags='a b'": "task 'odd': tags must be strings such as (\"a\", \"b\"), not the string 'a b'",
    "threshold='high'": "task 'odd': threshold must be a finite number, not 'high'",
    "limits=Limits(turns='5')": "Limits.turns must be a whole number of at least 1 or None, not '5'",
    "sandbox=SandboxSpec(env={'A': 1})": "SandboxSpec.env['A'] must be a string, not 1",
}

RETURNS = "M.tasks() (m.py:7) returned {}; it must return Task objects or dicts"
SKIP = "M.tasks() at m.py:8 raised "

CASES: dict[str, tuple[str, str]] = {
    **{
        values: (one(values), f"benchmark 'm': M.tasks() at m.py:8 raised ValueError: {problem}")
        for values, problem in VALUES.items()
    },
    "tasks raises": (tasks('{}["x"]'), "benchmark 'm': M.tasks() at m.py:8 raised KeyError: 'x'"),
    "tasks raises while it yields": (
        tasks('yield Task(id="a", prompt="")', 'raise RuntimeError("two\\nlines")'),
        "benchmark 'm': M.tasks() at m.py:9 raised RuntimeError: two",
    ),
    "tasks exits": (tasks("sys.exit(3)"), f"benchmark 'm': {SKIP}SystemExit: 3"),
    "tasks skips": (tasks('pytest.skip("no gpu")'), f"benchmark 'm': {SKIP}Skipped: no gpu"),
    "tasks imports or skips": (
        tasks('pytest.importorskip("no_such_module")'),
        f"benchmark 'm': {SKIP}Skipped: could not import 'no_such_module': No module named 'no_such_module'",
    ),
    "tasks fails": (tasks('pytest.fail("no")'), f"benchmark 'm': {SKIP}Failed: no"),
    "tasks is cancelled": (tasks("raise asyncio.CancelledError"), f"benchmark 'm': {SKIP}CancelledError"),
    "tasks returns None": (returns("None"), f"benchmark 'm': {RETURNS.format('None')}"),
    "tasks returns a number": (returns("3"), f"benchmark 'm': {RETURNS.format('3')}"),
    "tasks returns a text": (returns("'ab'"), f"benchmark 'm': {RETURNS.format(chr(39) + 'ab' + chr(39))}"),
    "tasks returns a dict": (returns("{'id': 'a'}"), f"benchmark 'm': {RETURNS.format(repr({'id': 'a'}))}"),
    "tasks returns a Task": (returns("Task(id='a', prompt='')"), "benchmark 'm': M.tasks() (m.py:7) returned Task(*"),
    "tasks returns texts": (
        returns("['a', 'b']"),
        "benchmark 'm': item 1 of M.tasks() (m.py:7) is 'a'; it must be a Task or a dict",
    ),
    "tasks yields coroutines": (
        tasks("yield asyncio.sleep(0)"),
        "benchmark 'm': item 1 of M.tasks() (m.py:7) is <coroutine object sleep at 0x*>; it must be a Task or a dict",
    ),
    "tasks takes no self": (
        tasks("return []", head="def tasks():"),
        "benchmark 'm': M.tasks() (m.py:7) raised TypeError: M.tasks() takes 0 positional arguments but 1 was given",
    ),
    "tasks is a list": ("    tasks = [1]\n", "m.py:M: its `tasks` is [1]; it must be a method: def tasks(self, …)"),
    "an async tasks raises": (
        tasks("await asyncio.sleep(0)", "sys.exit()", head="async def tasks(self):"),
        "benchmark 'm': M.tasks() at m.py:9 raised SystemExit",
    ),
    "an async tasks returns None": (
        tasks("pass", head="async def tasks(self):"),
        f"benchmark 'm': {RETURNS.format('None')}",
    ),
    "an async tasks yields and raises": (
        tasks('yield Task(id="a", prompt="")', 'pytest.skip("no")', head="async def tasks(self):"),
        "benchmark 'm': M.tasks() at m.py:9 raised Skipped: no",
    ),
    "a row without an id": (
        returns("[{'id': 'a', 'prompt': ''}, {'prompt': ''}]"),
        "benchmark 'm': item 2 of M.tasks() (m.py:7): an item of 'm' has none of the keys id, task_id, *",
    ),
    "a row with an id that cannot be one": (
        returns("[{'id': 'a b', 'prompt': ''}]"),
        "benchmark 'm': item 1 of M.tasks() (m.py:7): task id 'a b' cannot be used: *",
    ),
    "to_task raises": (
        returns("[{}]") + tasks('return Task(id=item["name"], prompt="")', head="def to_task(self, item):"),
        "benchmark 'm': M.to_task() at m.py:10 raised KeyError: 'name' for item 1",
    ),
    "to_task skips": (
        returns("[{}]") + tasks('pytest.skip("no")', head="def to_task(self, item):"),
        "benchmark 'm': M.to_task() at m.py:10 raised Skipped: no for item 1",
    ),
    "to_task returns None": (
        returns("[3]") + tasks("pass", head="def to_task(self, item):"),
        "benchmark 'm': M.to_task() (m.py:9) returned None for item 1; it must return a Task",
    ),
    "to_task is async": (
        returns("[3]") + tasks("pass", head="async def to_task(self, item):"),
        "benchmark 'm': M.to_task() (m.py:9) returned <coroutine object M.to_task at 0x*> for item 1; it must return*",
    ),
    "format_prompt raises": (
        returns("[{'id': 'a'}]") + tasks("return item['text']", head="def format_prompt(self, item):"),
        "benchmark 'm': M.to_task() at m.py:10 raised KeyError: 'text' for item 1",
    ),
    "format_prompt returns None": (
        returns("[{'id': 'a'}]") + tasks("pass", head="def format_prompt(self, item):"),
        "benchmark 'm': item 1 of M.tasks() (m.py:7): task 'a': prompt must be a string, not None",
    ),
    "setup raises": (
        method("async def setup(self):", "await asyncio.sleep(0)", "open('/no/such/file')"),
        "benchmark 'm': M.setup() at m.py:11 raised FileNotFoundError: *",
    ),
    "setup exits": (
        method("async def setup(self):", "sys.exit('no data')"),
        "benchmark 'm': M.setup() at m.py:10 raised SystemExit: no data",
    ),
    "setup interrupts": (
        method("async def setup(self):", "raise KeyboardInterrupt"),
        "benchmark 'm': M.setup() at m.py:10 raised KeyboardInterrupt",
    ),
    "setup skips": (
        method("async def setup(self):", "await asyncio.to_thread(pytest.skip, 'no gpu')"),
        "benchmark 'm': M.setup() at m.py:10 raised Skipped: no gpu",
    ),
    "setup is cancelled": (
        method("async def setup(self):", "raise asyncio.CancelledError('by itself')"),
        "benchmark 'm': M.setup() at m.py:10 raised CancelledError: by itself",
    ),
    "__init__ wants an argument": (
        method("def __init__(self, path):", "pass"),
        "m.py:M: M.__init__() (m.py:9) must work without arguments: missing a required argument: 'path'",
    ),
    "__init__ raises": (
        method("def __init__(self):", "self.rows = open('/no/such/file')"),
        "m.py:M: M.__init__() at m.py:10 raised FileNotFoundError: *",
    ),
    "__init__ exits": (
        method("def __init__(self):", "sys.exit('no key')"),
        "m.py:M: M.__init__() at m.py:10 raised SystemExit: no key",
    ),
    "agent_seconds": (
        TASKS + "    agent_seconds = 'long'\n",
        "benchmark 'm': M.agent_seconds (m.py:5) must be a number greater than 0, not 'long'",
    ),
    "verifier_seconds": (
        TASKS + "    verifier_seconds = 0\n",
        "benchmark 'm': M.verifier_seconds (m.py:5) must be a number greater than 0, not 0",
    ),
    "agent_tokens": (
        TASKS + "    agent_tokens = 1.5\n",
        "benchmark 'm': M.agent_tokens (m.py:5) must be a whole number of at least 1 or None, not 1.5",
    ),
    "agent_cost": (
        TASKS + "    agent_cost = '$3'\n",
        "benchmark 'm': M.agent_cost (m.py:5) must be a number of dollars greater than 0 or None, not '$3'",
    ),
    "reward_range": (
        TASKS + "    reward_range = (1, -1)\n",
        "benchmark 'm': M.reward_range (m.py:5) must be a pair (low, high) of finite numbers, * or None, not (1, -1)",
    ),
    "revision": (
        method("async def setup(self):", "self.revision = 7"),
        "benchmark 'm': M.revision (m.py:5) must be a non-empty string or None, not 7",
    ),
    "a revision that is computed": (
        method("@property\n    def revision(self):", "return self.rows.commit"),
        "benchmark 'm': M.revision() at m.py:11 raised AttributeError: 'M' object has no attribute 'rows'",
    ),
    "max_agent_turns": (
        TASKS + "    max_agent_turns = 'many'\n",
        "benchmark m: env.max_agent_turns must be a whole number of at least 1, not 'many'",
    ),
    "system_prompt": (TASKS + "    system_prompt = 3\n", "benchmark m: env.system_prompt must be a string, not 3"),
    "default_toolsets": (
        TASKS + "    default_toolsets = 3\n",
        "benchmark m: env.enabled_toolsets must be a list of names, or names separated by commas, not 3",
    ),
    "terminal_timeout": (
        TASKS + "    terminal_timeout = None\n",
        "benchmark m: env.terminal_timeout must be a whole number of at least 1, not null",
    ),
}  # fmt: skip

IMPORTS = {
    "raise SystemExit('not here')": "cannot import m.py: m.py:1: SystemExit: not here",
    "import pytest; pytest.importorskip('no_such_module')": "cannot import m.py: m.py:1: Skipped: could not import *",
    "import pytest; pytest.skip('no gpu', allow_module_level=True)": "cannot import m.py: m.py:1: Skipped: no gpu",
    "import beside": "cannot import m.py: beside.py:2: ZeroDivisionError: division by zero",
    "class M(": "cannot import m.py: m.py:1: SyntaxError: *",
}


def is_one_line(result: pytest.RunResult, message: str) -> None:
    """Assert that a run ended as for a wrong argument, with this line alone."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR, result.stdout.str() + result.stderr.str()
    problem = [line for line in result.errlines if line]
    result.stderr.fnmatch_lines([f"ERROR: {message.replace('[', '[[]')}"])
    assert len(problem) == 1
    for text in (result.stdout.str(), result.stderr.str()):
        assert "INTERNALERROR" not in text
        assert "Traceback" not in text


@pytest.mark.parametrize("case", CASES)
def test_one_line_says_where_and_what(bench: Bench, case: str) -> None:
    part, message = CASES[case]
    bench.file("m.py", START + part + REWARD)
    is_one_line(bench.run_inside(*RUN), message)
    assert not (bench.path / "out").exists()


def test_so_it_does_of_an_exit_in_a_task_of_setup(bench: Bench) -> None:
    load = tasks("sys.exit(2)", head="async def load(self):")
    bench.file("m.py", START + method("async def setup(self):", "await asyncio.gather(self.load())") + load + REWARD)
    is_one_line(bench.run(*RUN), "benchmark 'm': M.setup() at m.py:12 raised SystemExit: 2")


@pytest.mark.parametrize("text", IMPORTS)
def test_so_it_does_of_a_file_that_cannot_be_imported(bench: Bench, text: str) -> None:
    bench.file("m.py", f"{text}\n")
    bench.file("beside.py", "def fails():\n    1 / 0\nfails()\n")
    is_one_line(bench.run_inside(*RUN), IMPORTS[text])


@pytest.mark.parametrize("case", ["difficulty=2", "tasks returns None", "setup exits", "__init__ raises"])
def test_so_it_does_of_a_list_of_tasks_and_with_several_processes(bench: Bench, case: str) -> None:
    part, message = CASES[case]
    bench.file("m.py", START + part + REWARD)
    is_one_line(bench.run_inside(*RUN, "--hermes-list"), message)
    is_one_line(bench.run_inside(*RUN, "--hermes-procs=2", "-n2"), message)


LATER = """\
    async def setup(self):
        self.rows = await asyncio.to_thread(lambda: ["a", "b"])

    async def tasks(self):
        {}
"""


@pytest.mark.parametrize(
    "body",
    [
        'return [Task(id=row, prompt="", solution="true") for row in self.rows]',
        'return (Task(id=row, prompt="", solution="true") for row in self.rows)',
        'for row in self.rows: await asyncio.sleep(0); yield Task(id=row, prompt="", solution="true")',
    ],
)
def test_tasks_may_be_async(bench: Bench, body: str) -> None:
    bench.file("m.py", START + LATER.format(body) + REWARD)
    bench.run_inside(*RUN).assert_outcomes(passed=2)
    bench.run_inside(*RUN, "--hermes-list").stdout.fnmatch_lines(["m: 2 tasks", "  a", "  b"])


def test_async_tasks_run_in_several_processes(bench: Bench) -> None:
    bench.file("m.py", START + LATER.format('yield Task(id="a", prompt="", solution="true")') + REWARD)
    bench.run(*RUN, "--hermes-procs=2", "-n2").assert_outcomes(passed=1)


def test_items_of_another_kind_are_for_who_makes_tasks_of_them(bench: Bench) -> None:
    made = tasks("name, number = item", 'return Task(id=f"{name}-{number}", prompt="", solution="true")')
    to_task = made.replace("def tasks(self):", "def to_task(self, item):")
    bench.file(
        "m.py",
        START
        + returns('[("a", 1), ("b", 2)]')
        + to_task
        + tasks('return "p"', head="def format_prompt(self, item):")
        + REWARD,
    )
    bench.run_inside(*RUN).assert_outcomes(passed=2)


def test_a_broken_benchmark_does_not_hide_the_others_of_a_list(bench: Bench) -> None:
    bench.file("m.py", START + TASKS + REWARD)
    bench.file("n.py", "import sys\nsys.exit(1)\n")
    is_one_line(
        bench.run_inside("--hermes-bench=m.py:M,n.py:N", "--hermes-list"), "cannot import n.py: n.py:2: SystemExit: 1"
    )


def test_ctrl_c_ends_tasks(bench: Bench) -> None:
    body = tasks('open("begun", "w").close()', "import time; time.sleep(60)", "return []")
    bench.file("m.py", START + body + REWARD)
    process = bench.start(*RUN)
    deadline = time.monotonic() + 60
    while not (bench.path / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    interrupt(process)
    problem, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, problem
    assert "INTERNALERROR" not in problem
