"""Tasks from directories in the Harbor layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pytest_hermes.core.one_line import shown
from pytest_hermes.dataset.directories import task_directories
from pytest_hermes.dataset.harbor import HarborTask, read_instruction, read_task, resolved
from pytest_hermes.dataset.line_ends import line_end_notes, mended
from pytest_hermes.dataset.rows import DatasetError
from pytest_hermes.dataset.source import content_digest
from pytest_hermes.errors import Unsupported
from pytest_hermes.sandbox.transfer import write_tar
from pytest_hermes.task import Limits, SandboxSpec, Solution, Task, VerifierSpec
from pytest_hermes.verifier.tests_run import TaskTests

from .material import SCRIPT, Material, malformed, task_tests

#: Folders without a task that are named.
_NAMED = 10


def folder_tasks(folder: Path) -> tuple[list[Task], list[str]]:
    """Return the tasks in a folder of task directories, or in one of these itself, and notes about the folder.

    A directory that lacks something becomes a task that ends in an error, which names file and key.
    """
    found = task_directories(folder)
    tasks: dict[str, Task] = {}
    for number, directory in enumerate(found.tasks, start=1):
        try:
            task = _task(directory)
        except DatasetError as problem:
            task = malformed(str(problem), directory.name, f"directory-{number}", tasks)
        tasks[task.id] = task
    return list(tasks.values()), _about_others(found.others)


def _about_others(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return [f"there is no task in {', '.join(map(shown, names[:_NAMED]))}{more}"]


def _task(folder: Path) -> Task:
    config = read_task(folder)
    material = FolderMaterial(folder, config)
    solution = folder / "solution" / "solve.sh"
    scripts = [script for script in (material.script, solution) if script.is_file()]
    try:
        task = Task(
            id=folder.name,
            prompt="" if config.steps else read_instruction(folder),
            category=config.metadata.category,
            difficulty=config.metadata.difficulty,
            tags=config.metadata.tags,
            sandbox=SandboxSpec(image=config.environment.docker_image),
            limits=Limits(agent_seconds=config.agent.timeout_sec, verifier_seconds=config.verifier.timeout_sec),
            solution=Solution(solution.parent, solution.name, config.solution.env) if solution.is_file() else None,
            verifier=VerifierSpec(processes=config.verifier.processes, reward=config.verifier.reward),
            notes=(*config.notes, *(note for script in scripts for note in _line_end_notes(script))),
            metadata={"material": material},
        )
    except ValueError as error:
        raise DatasetError(f"{folder}: {error}") from error
    if not config.steps and not material.script.is_file():
        raise DatasetError(f"{material.script}: there are no tests")
    return task


def _line_end_notes(script: Path) -> list[str]:
    return line_end_notes(f"{script.parent.name}/{script.name}", _content(script))


def _content(script: Path) -> bytes:
    try:
        return script.read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read {script}: {error}") from error


@dataclass(frozen=True)
class FolderMaterial(Material):
    """A task directory."""

    folder: Path
    config: HarborTask

    @property
    def artifacts(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.config.artifacts

    @property
    def wants_fresh_verifier(self) -> bool:  # type: ignore[override]
        return self.config.wants_fresh_verifier

    @property
    def exit_code_is_reward(self) -> bool:  # type: ignore[override]
        return self.config.verifier.reward == "exit_code"

    @property
    def script(self) -> Path:
        return self.folder / "tests" / SCRIPT

    def sandbox(self, *, force_build: bool) -> SandboxSpec:
        self.config.check_supported(self.folder)
        environment = self.config.environment
        dockerfile = self.folder / "environment" / "Dockerfile"
        context = dockerfile.parent if dockerfile.is_file() else None
        if context is None and environment.docker_image is None:
            raise Unsupported(f"the task names no image, and there is no {dockerfile}")
        self.tests()
        return SandboxSpec(
            image=environment.docker_image,
            build_context=context,
            force_build=force_build and context is not None,
            cpus=environment.cpus,
            memory=environment.memory,
            storage=environment.storage,
            env=resolved(environment.env),
            workdir=environment.workdir,
            network=False if environment.network_mode == "no-network" else None,
        )

    def digest(self) -> str:
        return content_digest(self.folder)

    def tests(self) -> TaskTests:
        script = mended(_content(self.script))
        write = partial(write_tar, self.script.parent, executable=SCRIPT, content=script)
        env = resolved(self.config.verifier.env)
        return task_tests(script, write, env, exit_code_is_reward=self.exit_code_is_reward)
