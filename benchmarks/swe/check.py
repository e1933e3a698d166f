"""The program that runs a task's tests beside the agent's solution, in its sandbox."""

from __future__ import annotations

#: Where the agent's program stands.
SOLUTION = "solution.py"

#: Exit code of a sandbox without Python, and of nothing else.
NO_PYTHON = 97

#: Runs the program and removes it; `-B` leaves no traces of modules.
CHECK = (
    f"command -v python3 >/dev/null || exit {NO_PYTHON}; python3 -B {{program}}; code=$?; rm -f {{program}}; exit $code"
)

_PROGRAM = """\
import asyncio, importlib.util, inspect, os, sys, unittest

def call(test):
    outcome = test()
    if inspect.iscoroutine(outcome):
        asyncio.run(outcome)

os.unlink(__file__)
tests, entry_point, proof = {values}
spec = importlib.util.spec_from_file_location("solution", {solution!r})
solution = importlib.util.module_from_spec(spec)
sys.modules["solution"] = solution
sys.path.insert(0, os.getcwd())
spec.loader.exec_module(solution)
names = dict(vars(solution), __name__="tests")
before = dict(names)
exec(compile(tests, "tests", "exec"), names)
new = {{name: value for name, value in names.items() if before.get(name) is not value}}
# A `check` that the tests define and do not call themselves, as in HumanEval.
if entry_point and callable(new.get("check")) and "\\ncheck(" not in "\\n" + tests:
    new["check"](getattr(solution, entry_point))
for name, value in new.items():
    if name.startswith("test") and callable(value) and not isinstance(value, type):
        call(value)
    elif isinstance(value, type) and issubclass(value, unittest.TestCase):
        outcome = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(value).run(outcome)
        if not outcome.wasSuccessful():
            sys.exit("\\n".join(text for _, text in outcome.failures + outcome.errors))
    elif isinstance(value, type) and name.startswith("Test"):
        for method in [method for method in dir(value) if method.startswith("test")]:
            case = value()
            if hasattr(case, "setup_method"):
                case.setup_method()
            call(getattr(case, method))
print()
print(proof)
"""


def check_program(tests: str, entry_point: str | None, proof: str) -> str:
    """Return a program that runs `tests` with the names of the solution, and prints `proof` when all of them passed.

    Tests are plain assertions, functions called `test…`, also in classes called `Test…`, `unittest` cases, or a
    `check(candidate)` for `entry_point`. They run in one process with the program, so one that is written to fool
    exactly this check can.
    """
    return _PROGRAM.format(values=repr((tests, entry_point, proof)), solution=SOLUTION)
