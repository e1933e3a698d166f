"""The base of every environment: Atropos's workers run the project's one rollout."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from atroposlib.envs.server_handling.server_baseline import APIServerConfig, ServerBaseline

from ..background import BorrowedLoop
from ..errors import HermesError, InfrastructureError, Refused, UsageError
from ..redact import Redactor
from ..rollout.attempt import AttemptPlan, Rollout
from ..rollout.configured import sandbox_choice
from ..rollout.engine import Engine
from ..rollout.places import MakeSpec, attempt_place
from ..rollout.plan import PlannedTask
from ..rollout.rendered_tokens import PLACEHOLDER, ConversationTokens, TemplateError, tokenise
from ..rollout.results_file import ResultsFile
from ..tools.bridge import bridged, install_bridge
from ..tools.place import Place
from ..tools.registry import PlaceDefaults, place_defaults
from ..tools.tool import Tool
from ..tools.toolsets import resolve_toolsets
from .as_benchmark import EnvBenchmark
from .env_config import HermesAgentEnvConfig, ServerConfig, as_list
from .evaluation_view import EvaluationView
from .scored_group import join
from .server import HermesServer, ServedSource
from .serving import RunFailed, ServingEnv
from .tokenizer import EnvTokenizer, no_tokenizer_yet
from .trajectory_file import TrajectoryFile, trajectory_lines

if TYPE_CHECKING:
    from ..benchmark import Benchmark
    from ..result import AgentResult
    from ..tools.context import ToolContext
    from ..verdict import Verdict

log = logging.getLogger("pytest_hermes.atropos")

#: Rollouts that may fail one after the other, for reasons that are not the model's, before a run ends.
FAILURES_IN_A_ROW = 8


class RolloutFailed(InfrastructureError):
    """A rollout came to no reward, by no fault of the model."""


@dataclass(frozen=True)
class Group:
    """The rollouts of one item."""

    id: str
    schemas: list[dict[str, Any]]
    names: frozenset[str]


#: The group whose rollout the running code belongs to.
_GROUP: ContextVar[Group | None] = ContextVar("hermes_group", default=None)


class HermesAgentBaseEnv(ServingEnv):
    """An environment whose rollouts are agents that call tools in a sandbox.

    A subclass says what is asked and what it is worth: `setup`, `get_next_item`, `format_prompt`, `compute_reward` and
    `evaluate`, with its defaults in `config_init`. `self.server` answers chats, for a judge say.
    """

    name: str | None = None
    env_config_cls: Any = HermesAgentEnvConfig
    server_cls: Any = HermesServer
    #: The toolsets the environment is meant for. A hint for readers: `enabled_toolsets` is what decides.
    default_toolsets: ClassVar[Sequence[str] | None] = None
    #: What it can be started for.
    modes: ClassVar[Sequence[str]] = ("serve", "process", "evaluate")
    #: The benchmark whose limits and preparations hold for the rollouts; None: the defaults.
    benchmark: Benchmark | None = None

    def __init__(
        self,
        config: HermesAgentEnvConfig,
        server_configs: ServerBaseline | list[APIServerConfig],
        slurm: bool = False,
        testing: bool = False,
    ) -> None:
        if not isinstance(config, HermesAgentEnvConfig):
            raise UsageError(f"{type(self).__name__} needs a HermesAgentEnvConfig, not a {type(config).__name__}")
        of_subclass = frozenset(vars(self))
        self._tokenizer: Any = None
        # Trajectories are written by this class: Atropos would write a line a group, without what a rollout was.
        quiet = config.model_copy(update={"data_path_to_save_groups": None})
        with no_tokenizer_yet():
            super().__init__(quiet, as_list(server_configs), slurm, testing)
        self.config = config
        self.source = ServedSource(self.server)
        self.tokenizers = EnvTokenizer(config, self.server.servers[0])
        self.redactor = Redactor.from_environment(os.environ, self._keys())
        self.run_id = uuid.uuid4().hex[:8]
        self.trajectories: TrajectoryFile | None = None
        self._engines: dict[str, Engine] = {}
        #: Records of evaluations, by their folder.
        self.results_files: dict[Path, ResultsFile] = {}
        self._as_benchmark = EnvBenchmark(self)
        self._again: dict[int, Any] = {}
        self._failures: list[str] = []
        self._told: set[str] = set()
        self._pool: ThreadPoolExecutor | None = None
        self._framework = (frozenset(vars(self)) | {"_framework"}) - of_subclass

    @classmethod
    def config_init(cls) -> tuple[HermesAgentEnvConfig, ServerBaseline | list[APIServerConfig]]:
        """Return the environment's own defaults. A configuration file and the command line win over them."""
        return cls.env_config_cls(), [ServerConfig()]

    @classmethod
    def cli(cls) -> None:
        """Run `serve`, `process` or `evaluate` as the command line says, and exit."""
        from .command_line import main

        raise SystemExit(main(cls))

    def _keys(self) -> list[str]:
        configs = [getattr(server, "config", None) for server in self.server.servers]
        return [key for config in configs if (key := getattr(config, "api_key", None))]

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, loaded at first use; None for a model that has none."""
        return self._tokenizer if self._tokenizer is not None else self.tokenizers.find()

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    # What a subclass defines.

    async def setup(self) -> None:
        """Load what the items are made of. Called once."""

    def format_prompt(self, item: Any) -> str:
        """Return the user message of an item."""
        raise NotImplementedError(f"{type(self).__name__} must define format_prompt(item)")

    async def compute_reward(self, item: Any, result: AgentResult, ctx: ToolContext) -> float | Verdict:
        """Return the reward of a rollout, usually from 0 to 1. `ctx` looks into its sandbox, without `await`."""
        raise NotImplementedError(f"{type(self).__name__} must define compute_reward(item, result, ctx)")

    async def evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Measure the model on items that are not trained on."""
        raise NotImplementedError(f"{type(self).__name__} must define evaluate()")

    # Tools.

    def _resolve_tools_for_group(self) -> tuple[list[dict[str, Any]], set[str]]:
        """Return the schemas and the names of the tools that the rollouts of one item may call."""
        tools = resolve_toolsets(self.config.enabled_toolsets, self.config.disabled_toolsets)
        return [tool.schema for tool in tools], {tool.name for tool in tools}

    def _group(self) -> Group:
        """Return the group that the running code belongs to, or a new one."""
        group = _GROUP.get()
        if group is None:
            schemas, names = self._resolve_tools_for_group()
            group = Group(uuid.uuid4().hex[:12], schemas, frozenset(names))
        return group

    def _tools(self, names: frozenset[str]) -> tuple[Tool, ...]:
        return tuple(tool for tool in resolve_toolsets() if tool.name in names)

    # Rollouts.

    async def rollout(self, item: Any, *, number: int = 1, results: ResultsFile | None = None) -> Rollout:
        """Let the agent work on an item once, score it, and return how it went.

        With `results` it is part of an evaluation, and recorded there. Raises Refused or RunFailed when no rollout
        can go on.
        """
        benchmark = self._as_benchmark.of(self)
        task = benchmark.to_task(item)
        planned = PlannedTask(benchmark, item, task)
        tools = self._tools(self._group().names)
        plan = AttemptPlan(planned, number, self.source, self.config, tools)
        engine = await self._engine("evaluate" if results else "train", results)
        key = f"{benchmark.name}-{task.id}-{uuid.uuid4().hex[:8]}"
        return await engine.run(plan, key)

    async def _engine(self, purpose: str, results: ResultsFile | None) -> Engine:
        name = purpose if results is None else str(results.path)
        if name not in self._engines:
            loop = asyncio.get_running_loop()
            self.prepare_loop(loop)
            self._engines[name] = await asyncio.to_thread(
                Engine,
                limit=self.config.max_eval_workers if results else self.groups_at_once * self.config.group_size,
                run_id=self.run_id,
                results=results,
                make_place=self._make_place,
                on_record=lambda record: None,
                loop=BorrowedLoop(loop),
                # What an endpoint or a sandbox did to one rollout should not cost the others of its group.
                infra_retries=1,
            )
        return self._engines[name]

    @property
    def groups_at_once(self) -> int:
        """How many items are worked on at once."""
        if self.config.max_num_workers > 0:
            return int(self.config.max_num_workers)
        return int(self.config.max_num_workers_per_node) * len(self.server.servers)

    def prepare_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make a loop fit for rollouts: sync calls in rewards, and threads for tools that are not async."""
        install_bridge(loop)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.config.tool_pool_size, thread_name_prefix="hermes-tool")
            loop.set_default_executor(self._pool)

    def _make_place(self, planned: PlannedTask, key: str, spec: MakeSpec) -> Place:
        return attempt_place(sandbox_choice(self.config), self.config, key, spec)

    def describe_sandbox(self) -> str:
        """Return the backend and what it isolates by. Raises UsageError for one that does not exist or work."""
        choice = sandbox_choice(self.config)
        choice.check()
        return choice.describe()

    async def collect_trajectory(self, item: Any) -> tuple[dict[str, Any] | None, list[Any]]:
        """Return one scored rollout in Atropos's form, and no further items to work on.

        Raises RolloutFailed when it came to no reward.
        """
        rollout = await self.rollout(item)
        record = rollout.record
        if record.reward is None:
            kind = record.error.kind if record.error else "skipped"
            raise RolloutFailed(record.error.message if record.error else record.reason or "", kind=kind)
        tokens = self.tokens_of(rollout.result.messages)
        return {
            "tokens": tokens.tokens,
            "masks": tokens.masks,
            "scores": record.reward,
            "messages": rollout.result.messages,
            "generation_params": {
                "token_source": tokens.source,
                "model": record.model,
                "temperature": self.config.agent_temperature,
            },
            "hermes_record": record.model_dump(mode="json", exclude={"messages"}),
        }, []

    def tokens_of(self, messages: Sequence[dict[str, Any]]) -> ConversationTokens:
        """Return the tokens of a conversation; placeholders, which is said once, where they cannot be had."""
        try:
            tokenizer = self.tokenizer
            if tokenizer is None:
                self._tell_once(f"no tokens, placeholders in their stead: {self.tokenizers.problem}")
                return PLACEHOLDER
            tokens = tokenise(tokenizer, messages, self._group().schemas)
        except TemplateError as error:
            if self.mode == "serve":
                raise RolloutFailed(str(error), kind="tokens") from None
            self._tell_once(f"placeholders in the stead of tokens: {error}")
            return PLACEHOLDER
        if tokens.lost_answers:
            self._tell_once(
                f"the chat template renders {tokens.lost_answers} of an agent's answers otherwise than they were; "
                "they are masked out"
            )
        return tokens

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            log.warning("%s", text)

    async def collect_trajectories(self, item: Any) -> tuple[Any, list[Any]]:
        """Run the group of an item and return it scored, with items to work on again.

        A rollout that fails costs the others nothing: while training, a group that is short is tried once more, then
        dropped, and said; otherwise what there is of it is kept.
        """
        schemas, names = self._resolve_tools_for_group()
        group = Group(uuid.uuid4().hex[:12], schemas, frozenset(names))
        token = _GROUP.set(group)
        try:
            outcomes = await asyncio.gather(
                *(self.collect_trajectory(item) for _ in range(self.config.group_size)), return_exceptions=True
            )
        finally:
            _GROUP.reset(token)
        scored: list[dict[str, Any]] = []
        backlog: list[Any] = []
        causes: list[str] = []
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                causes.append(self._failed(outcome))
                continue
            found, more = outcome
            backlog += more
            if found is not None:
                scored.append(dict(found))
                self._failures.clear()
        if causes:
            self._tell_failures(item, causes)
        if len(scored) < self.config.group_size and causes and self.mode == "serve":
            return None, backlog + self._requeue(item)
        self._again.pop(id(item), None)
        if not scored:
            return None, backlog
        joined = join(scored)
        joined["hermes_group"] = group.id
        joined["hermes_records"] = [row.get("hermes_record") or {} for row in scored]
        joined["hermes_tools"] = group.schemas
        return joined, backlog

    def _failed(self, error: BaseException) -> str:
        if not isinstance(error, Exception):  # cancelled, most likely by an engine that was halted
            cause = f"{type(error).__name__}"
        elif isinstance(error, HermesError):
            cause = f"{error.kind}: {error}" if isinstance(error, InfrastructureError) else str(error)
        else:
            cause = f"{type(error).__name__}: {error}"
            log.error("collect_trajectory raised", exc_info=error)
        fatal = next((engine.fatal for engine in self._engines.values() if engine.fatal), None)
        if isinstance(error, Refused | RunFailed) or fatal:
            self.stop(RunFailed(fatal or str(error)))
        elif isinstance(error, UsageError):
            self.stop(error)
        self._failures.append(cause)
        if len(self._failures) >= max(FAILURES_IN_A_ROW, 2 * self.config.group_size):
            common, _ = Counter(self._failures).most_common(1)[0]
            self.stop(
                RunFailed(f"the last {len(self._failures)} rollouts all failed, by no fault of the model: {common}")
            )
        return cause

    def _tell_failures(self, item: Any, causes: list[str]) -> None:
        task = self._as_benchmark.to_task(item).id
        for cause, count in Counter(causes).items():
            log.warning("%s of the %s rollouts of %s failed: %s", count, self.config.group_size, task, cause)

    def _requeue(self, item: Any) -> list[Any]:
        """Return the item if it may be tried again; the object itself tells whether it was."""
        if self._again.pop(id(item), None) is None:
            self._again[id(item)] = item
            return [item]
        self.groups_dropped["short"] += 1
        log.warning("group dropped, short: rollouts of %s failed twice", self._as_benchmark.to_task(item).id)
        return []

    # What is written down.

    def save_group(self, group: Mapping[str, Any]) -> None:
        if self.trajectories is None:
            return
        lines = trajectory_lines(group, env=self._as_benchmark.name, tools=group.get("hermes_tools") or [])
        self.trajectories.append(list(lines))

    def open_trajectories(self) -> None:
        """Open the file that `data_path_to_save_groups` names, if it does. Raises UsageError when it cannot."""
        if self.config.data_path_to_save_groups is not None and self.trajectories is None:
            self.trajectories = TrajectoryFile(Path(self.config.data_path_to_save_groups), self.redactor)

    # Evaluation.

    async def run_evaluation(self) -> None:
        """Call `evaluate`, so that what it builds by task id is of this environment's sandboxes and holds up nobody."""
        self.prepare_loop(asyncio.get_running_loop())
        with place_defaults(PlaceDefaults(sandbox_choice(self.config), self.config.terminal_timeout)):
            await bridged(self.evaluate())

    async def evaluate_in_training(self) -> None:
        """Call `evaluate` while a trainer goes on: it changes no buffer of the training, and a failure is heard."""
        view = EvaluationView(self, self._framework)
        try:
            with place_defaults(PlaceDefaults(sandbox_choice(self.config), self.config.terminal_timeout)):
                await bridged(view.run(type(self).evaluate))
        except Exception as error:
            self.failed_evaluations += 1
            log.error("the evaluation at step %s failed: %s", self.curr_step, error, exc_info=error)

    async def evaluate_log(self, metrics: dict[str, Any], *arguments: Any, **named: Any) -> None:
        """Write an evaluation's metrics.json and samples.jsonl; parameters as Atropos's own."""
        from .evaluation import write_evaluation

        await asyncio.to_thread(write_evaluation, self, metrics, *arguments, **named)

    async def close(self) -> None:
        """End what is in flight, with its sandboxes, and all connections."""
        for engine in self._engines.values():
            await engine.end()
        self._engines.clear()
        await self.api.close()
        await self.source.close()
        if self.trajectories is not None:
            self.trajectories.close()
        for results in self.results_files.values():
            results.close()
