"""A benchmark: tasks, and the reward of what an agent left behind."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, cast

from .config.fields import EnvConfig
from .core.awaiting import awaited, is_asynchronous
from .task import SandboxSpec, Task

if TYPE_CHECKING:
    from .result import AgentResult
    from .tools.context import ToolContext
    from .verdict import Verdict, VerifierMode

#: What `tasks()` and `get_next_item()` yield, and what the other methods get back: a Task, or a dataset's row.
Item = Task | Mapping[str, Any]
#: What `tasks()` returns, as a method with or without `async`.
Items = Iterable[Item] | AsyncIterable[Item] | Awaitable[Iterable[Item]]

#: The lowest and the highest reward of a benchmark that declares no others.
REWARD_RANGE = (0.0, 1.0)

_ID_KEYS = ("id", "task_id", "task_name", "name")
_PROMPT_KEYS = ("prompt", "instruction")


class Benchmark:
    """Base of every benchmark. A small one has a `name`, `tasks()` and `compute_reward()`.

    `setup()` runs once, before `tasks()` is called; `prepare()` and `compute_reward()` run once an attempt, inside
    the attempt's sandbox. The object is shared by all attempts, which run concurrently.
    """

    #: Names the benchmark in node ids, records and on the command line.
    name: ClassVar[str]
    #: One line for `--hermes-list`; the class docstring's first line by default.
    description: ClassVar[str] = ""
    #: The run's configuration, as the user set it; it is there from before `setup()` on.
    config: EnvConfig = EnvConfig.model_validate({})
    #: How many tasks are wanted at most, set before `setup()`; None: all. The first ones are taken in any case.
    limit: int | None = None
    #: Fields of `config` that this benchmark itself obeys; the others' effect is not its business.
    config_fields: ClassVar[frozenset[str]] = frozenset()
    #: The revision of the dataset, as far as there is one; it stands in every record.
    revision: str | None = None
    #: What people should know about the tasks as a whole, a line each, once `setup()` has run: the header shows it.
    notes: Sequence[str] = ()
    #: The model to use when the user names none. None: he has to.
    default_model: ClassVar[str | None] = None
    #: Whether `compute_reward` asks `ctx.judge`, so that there must be a judge model before anything runs.
    uses_judge: ClassVar[bool] = False
    default_toolsets: ClassVar[tuple[str, ...]] = ("terminal", "file")
    system_prompt: ClassVar[str | None] = None
    #: Limits of tasks that set none of their own.
    max_agent_turns: ClassVar[int] = 30
    agent_seconds: ClassVar[float] = 3600
    verifier_seconds: ClassVar[float] = 900
    #: True: `compute_reward` keeps to `ctx.verifier_seconds` by itself and is not cut short from outside.
    verifier_times_itself: ClassVar[bool] = False
    #: Tokens and dollars for all model calls of an attempt; None: no limit of their own.
    agent_tokens: ClassVar[int | None] = None
    agent_cost: ClassVar[float | None] = None
    #: Sampling temperature. None leaves it to the endpoint.
    agent_temperature: ClassVar[float | None] = 1.0
    #: Seconds for one terminal command unless the model asks for other.
    terminal_timeout: ClassVar[int] = 120
    #: A YAML file beside the class's module with the benchmark's defaults for the fields of a configuration, in the
    #: form of `--hermes-config`; it wins over the attributes of the class that names it.
    default_config: ClassVar[str | None] = None
    #: Defaults of a benchmark that knows them only once it is made, by key (`env.terminal_backend`).
    own_settings: Mapping[str, object] = MappingProxyType({})
    #: What a dataset benchmark reads its tasks from; a path may count from the folder of the class's module.
    dataset: ClassVar[str | None] = None
    #: The lowest and the highest reward there can be. None: not declared, which means 0 to 1. A reward beyond it is an
    #: error of the attempt, and says that the verifier is wrong.
    reward_range: ClassVar[tuple[float, float] | None] = None
    #: Whether there is no end of tasks, so that somebody has to say how many are wanted.
    endless: ClassVar[bool] = False

    def configure(self, config: EnvConfig, limit: int | None = None) -> None:
        """Take the run's configuration. Called once, before `setup()`, in every process of the run."""
        self.config, self.limit = config, limit

    async def setup(self) -> None:
        """Load what `tasks()` needs: a dataset, an index. Does nothing by default."""

    def tasks(self) -> Items:
        """Return the tasks, in a stable order: `Task` objects, or dicts as a dataset's rows.

        It may be an `async def` too, which returns them or yields them.
        """
        raise NotImplementedError(f"{type(self).__name__} must define tasks()")

    async def get_next_item(self) -> Item:
        """Return the next item, for who trains: the tasks in order, again and again."""
        cycle: Iterator[Item] | None = getattr(self, "_cycle", None)
        if cycle is None:
            given = self.tasks()
            # What had to be waited for is kept: the iterator below cannot wait.
            kept = list(cast("Iterable[Item]", await awaited(given))) if is_asynchronous(given) else None
            first = cast("Iterable[Item]", given) if kept is None else kept
            cycle = self._cycle = getattr(self, "_cycle", None) or self._forever(first, kept)
        return next(cycle)

    def _forever(self, items: Iterable[Item], kept: Iterable[Item] | None) -> Iterator[Item]:
        while True:
            empty = True
            for item in items:
                empty = False
                yield item
            if empty:
                raise ValueError(f"benchmark {self.name!r} has no tasks")
            items = cast("Iterable[Item]", self.tasks()) if kept is None else kept

    def format_prompt(self, item: Item) -> str:
        """Return the user message of an item: a Task's prompt, or a dict's `prompt` or `instruction`."""
        if isinstance(item, Task):
            return item.prompt
        for key in _PROMPT_KEYS:
            if key in item:
                return str(item[key])
        raise ValueError(
            f"an item of {self.name!r} has none of the keys {', '.join(_PROMPT_KEYS)}; override format_prompt(item)"
        )

    def to_task(self, item: Item) -> Task:
        """Return the Task that an item stands for; override it when dicts carry sandbox needs or limits.

        Raises ValueError when a dict has no id.
        """
        if isinstance(item, Task):
            return item
        task_id = next((str(item[key]) for key in _ID_KEYS if item.get(key)), None)
        if task_id is None:
            raise ValueError(
                f"an item of {self.name!r} has none of the keys {', '.join(_ID_KEYS)}; override to_task(item)"
            )
        return Task(id=task_id, prompt=self.format_prompt(item))

    async def sandbox(self, item: Item) -> SandboxSpec:
        """Return what an attempt's sandbox is made from; called when the attempt needs one. By default the task's own.

        For what `tasks()` should not do for all tasks at once: unpacking a build context, choosing an image. Raises
        Unsupported for a task that cannot run here.
        """
        return self.to_task(item).sandbox

    async def prepare(self, item: Item, ctx: ToolContext) -> None:
        """Make the sandbox ready before the agent starts. By default writes the files of `Task.files`."""
        if isinstance(item, Task):
            for path, content in item.files.items():
                written = ctx.write_file(path, content)
                if written.get("error"):
                    raise RuntimeError(f"cannot write {path!r} of task {item.id!r}: {written['error']}")

    async def compute_reward(self, item: Item, result: AgentResult, ctx: ToolContext) -> float | Verdict:
        """Return the reward of an attempt, within `reward_range`, or a Verdict, which says more than a number.

        `ctx` is called without `await` and looks into the sandbox the agent worked in.
        """
        raise NotImplementedError(f"{type(self).__name__} must define compute_reward()")

    def verifier_mode(self, item: Item) -> VerifierMode | None:
        """Return the mode in which a task wants to be verified, for a benchmark that has modes; None: any."""
        return None

    def verification_digest(self, item: Item) -> str | None:
        """Return what changes when the tests or the solution of a task do, for a benchmark that has verifier modes.

        None, the default: not known, so that nothing is remembered about the modes in which its solution passes.
        """
        return None

    async def evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Evaluate during training, called by the trainer's door every so many steps. Does nothing by default."""
