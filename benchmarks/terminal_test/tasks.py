"""The tasks. Paths are relative to the sandbox's home, where every command starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_hermes.task import Task

from .checks import Check, file_is, json_is, prints, succeeds


@dataclass(frozen=True)
class Case:
    """A task with the checks that must all hold for its reward."""

    task: Task
    checks: tuple[Check, ...]


def _case(
    task_id: str,
    prompt: str,
    *checks: Check,
    solution: str,
    category: str,
    difficulty: str,
    tags: tuple[str, ...] = (),
    files: Mapping[str, str] | None = None,
) -> Case:
    task = Task(
        id=task_id,
        prompt=prompt,
        category=category,
        difficulty=difficulty,
        tags=tags,
        files=files or {},
        solution=solution,
    )
    return Case(task, checks)


_PRIMES = "2\n3\n5\n7\n11\n13\n17\n19\n"
_POEM = "The wind moves on,\nthe willow bows,\n\nand stands again.\n"
_GREETINGS = "Grüße aus Köln\nこんにちは\n¡Olé! ✓\n"
_ACCESS_LOG = "".join(
    f"10.0.0.{host} GET /page/{host % 7} {status}\n"
    for host, status in enumerate([200, 404, 200, 500, 200, 200, 404, 200, 301, 200, 500, 200, 200], start=1)
)
_ORDERS = "id,customer,amount\n1,ada,12.50\n2,grace,7.25\n3,ada,30.00\n4,alan,0.25\n"
_SETTINGS = '{\n  "theme": "light",\n  "editor": {"tabs": 8, "wrap": false},\n  "recent": ["a.txt", "b.txt"]\n}\n'
_BROKEN_TOTAL = """#!/bin/bash
# Prints the sum of the numbers in the file that is its first argument.
total=0
while read number; do
  total=$((total + 1))
done < $1
echo "$total"
"""

CASES: tuple[Case, ...] = (
    _case(
        "create-file",
        "Create a file called greeting.txt that contains exactly this line: Hello, world!",
        file_is("greeting.txt", "Hello, world!\n"),
        solution="echo 'Hello, world!' > greeting.txt",
        category="files",
        difficulty="easy",
        tags=("create",),
    ),
    _case(
        "nested-path",
        "Create the file projects/2024/q4/status.txt, with the folders it needs. Its only line is: on track",
        file_is("projects/2024/q4/status.txt", "on track\n"),
        solution="mkdir -p projects/2024/q4 && echo 'on track' > projects/2024/q4/status.txt",
        category="files",
        difficulty="easy",
        tags=("create", "folders"),
    ),
    _case(
        "append-line",
        "The file journal.txt has two lines. Add a third one at its end: day three: rest. Change nothing else.",
        file_is("journal.txt", "day one: arrive\nday two: climb\nday three: rest\n"),
        solution="echo 'day three: rest' >> journal.txt",
        category="files",
        difficulty="easy",
        tags=("edit",),
        files={"journal.txt": "day one: arrive\nday two: climb\n"},
    ),
    _case(
        "edit-one-line",
        "In server.conf, change the port from 8080 to 9090. Leave every other line as it is.",
        file_is("server.conf", "host = localhost\nport = 9090\nadmin_port = 18080\nworkers = 4\n"),
        solution="sed -i 's/^port = 8080$/port = 9090/' server.conf",
        category="files",
        difficulty="easy",
        tags=("edit",),
        files={"server.conf": "host = localhost\nport = 8080\nadmin_port = 18080\nworkers = 4\n"},
    ),
    _case(
        "multi-line",
        "Write the first eight prime numbers to primes.txt, one a line, in ascending order.",
        file_is("primes.txt", _PRIMES),
        solution="printf '%s\\n' 2 3 5 7 11 13 17 19 > primes.txt",
        category="files",
        difficulty="easy",
        tags=("create",),
    ),
    _case(
        "blank-line",
        "Write this poem to poem.txt, with its blank line and its punctuation:\n\n" + _POEM,
        file_is("poem.txt", _POEM),
        solution=f"cat > poem.txt <<'END'\n{_POEM}END\n",
        category="files",
        difficulty="easy",
        tags=("create", "quoting"),
    ),
    _case(
        "unicode-text",
        "Write these three lines to greetings.txt, encoded as UTF-8:\n\n" + _GREETINGS,
        file_is("greetings.txt", _GREETINGS),
        solution=f"cat > greetings.txt <<'END'\n{_GREETINGS}END\n",
        category="files",
        difficulty="medium",
        tags=("create", "unicode"),
    ),
    _case(
        "executable-script",
        "Write a script double.sh that prints twice the whole number given as its first argument "
        "(./double.sh 21 prints 42), and make it executable.",
        succeeds("test -x double.sh"),
        prints("./double.sh 21", "42"),
        prints("./double.sh -4", "-8"),
        solution="printf '#!/bin/sh\\necho $(($1 * 2))\\n' > double.sh && chmod +x double.sh",
        category="scripts",
        difficulty="medium",
        tags=("create", "permissions"),
    ),
    _case(
        "count-lines",
        "How many lines of access.log end with the status 200? Write only that number to count.txt.",
        file_is("count.txt", str(_ACCESS_LOG.count(" 200\n"))),
        solution="grep -c ' 200$' access.log > count.txt",
        category="text",
        difficulty="easy",
        tags=("search",),
        files={"access.log": _ACCESS_LOG},
    ),
    _case(
        "fix-script",
        "total.sh should print the sum of the numbers in the file it is given, but `bash total.sh numbers.txt` prints "
        "a wrong one. Fix the script.",
        prints("bash total.sh numbers.txt", "60"),
        prints("printf '1\\n2\\n-4\\n' > other.txt && bash total.sh other.txt", "-1"),
        solution="sed -i 's/total + 1/total + number/' total.sh",
        category="scripts",
        difficulty="medium",
        tags=("debug",),
        files={"total.sh": _BROKEN_TOTAL, "numbers.txt": "10\n20\n30\n"},
    ),
    _case(
        "rename-files",
        "Rename every .txt file in the folder notes to .md. Leave other files alone, and the contents as they are.",
        prints("ls notes | LC_ALL=C sort | tr '\\n' ' '", "draft one.md ideas.md plan.md todo.csv"),
        file_is("notes/draft one.md", "first draft\n"),
        solution='cd notes && for file in *.txt; do mv -- "$file" "${file%.txt}.md"; done',
        category="files",
        difficulty="medium",
        tags=("quoting",),
        files={
            "notes/ideas.txt": "an idea\n",
            "notes/plan.txt": "a plan\n",
            "notes/draft one.txt": "first draft\n",
            "notes/todo.csv": "1,buy milk\n",
        },
    ),
    _case(
        "edit-json",
        "In settings.json, set editor.tabs to 4 and append c.txt to the list recent. It must stay valid JSON, and "
        "nothing else may change.",
        json_is(
            "settings.json",
            {
                "theme": "light",
                "editor": {"tabs": 4, "wrap": False},
                "recent": ["a.txt", "b.txt", "c.txt"],
            },
        ),
        solution='sed -i -e \'s/"tabs": 8/"tabs": 4/\' -e \'s/"b.txt"/"b.txt", "c.txt"/\' settings.json',
        category="text",
        difficulty="medium",
        tags=("edit", "json"),
        files={"settings.json": _SETTINGS},
    ),
    _case(
        "sum-column",
        "orders.csv has a column amount. Write the sum of ada's amounts to ada.txt, with two decimals and no more.",
        file_is("ada.txt", "42.50"),
        solution='awk -F, \'$2 == "ada" {sum += $3} END {printf "%.2f\\n", sum}\' orders.csv > ada.txt',
        category="text",
        difficulty="medium",
        tags=("csv",),
        files={"orders.csv": _ORDERS},
    ),
    _case(
        "find-needle",
        "Exactly one file below the folder archive contains the word NEEDLE. Write its path, beginning with archive/, "
        "to found.txt.",
        file_is("found.txt", "archive/b/deep/er/17.log"),
        solution="grep -rl NEEDLE archive > found.txt",
        category="text",
        difficulty="medium",
        tags=("search",),
        files={
            **{f"archive/a/{n}.log": f"entry {n}\nneedles of a pine\n" for n in range(4)},
            "archive/b/deep/er/17.log": "entry 17\nhere is the NEEDLE\n",
            "archive/b/deep/18.log": "entry 18\nNEED LE\n",
        },
    ),
    _case(
        "clean-up",
        "Delete every empty file below the folder cache, however deep, and keep all others.",
        prints("cd cache && find . -type f | LC_ALL=C sort | tr '\\n' ' '", "./keep.bin ./x/y/also.bin"),
        solution="find cache -type f -size 0 -exec rm {} +",
        category="files",
        difficulty="medium",
        tags=("delete",),
        files={
            "cache/keep.bin": "1",
            "cache/empty.bin": "",
            "cache/x/none.tmp": "",
            "cache/x/y/also.bin": "2",
            "cache/x/y/void": "",
        },
    ),
    _case(
        "switch-link",
        "releases/v1 and releases/v2 are folders. Make current a symbolic link, relative, to releases/v2.",
        prints("readlink current", "releases/v2"),
        prints("cat current/version", "2.0"),
        solution="ln -sfn releases/v2 current",
        category="files",
        difficulty="hard",
        tags=("links",),
        files={"releases/v1/version": "1.0\n", "releases/v2/version": "2.0\n"},
    ),
)
