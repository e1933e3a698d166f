"""An environment's rollouts: who answers, where they run, and what one of them is as training data."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atroposlib.envs.server_handling.server_baseline import APIServerConfig, ServerBaseline

from ..background import BorrowedLoop
from ..errors import InfrastructureError, UsageError
from ..judging import Judging
from ..models.tokens.certificate import problems
from ..models.tokens.errors import TemplateError
from ..models.tokens.model import TokenSettings
from ..models.tokens.trace import TokenTrace
from ..redact import Redactor
from ..rewards import keyword_overlap
from ..rollout.attempt import Rollout
from ..rollout.engine import Engine
from ..rollout.places import sandbox_choice
from ..rollout.plan import AttemptPlan, PlannedTask
from ..rollout.rendered_tokens import PLACEHOLDER, ConversationTokens, tokenise
from ..rollout.watchdog import Watchdog
from ..runs.results_file import ResultsFile
from ..tools.bridge import install_bridge
from ..tools.tool import Tool
from ..tools.toolsets import resolve_toolsets
from .env_benchmark import EnvBenchmark
from .env_config import HermesAgentEnvConfig, as_list
from .server import HermesServer, ServedSource
from .serving import ServingEnv
from .tokenizer import EnvTokenizer, no_tokenizer_yet

if TYPE_CHECKING:
    from ..benchmark import Benchmark

log = logging.getLogger("pytest_hermes.atropos")


class RolloutFailed(InfrastructureError):
    """A rollout came to no reward, by no fault of the model."""


@dataclass(frozen=True)
class Group:
    """The rollouts of one item."""

    id: str
    schemas: list[dict[str, Any]]
    names: frozenset[str]


#: The group whose rollout the running code belongs to.
GROUP: ContextVar[Group | None] = ContextVar("hermes_group", default=None)


class RolloutEnv(ServingEnv):
    """An environment that can run one rollout of an item."""

    env_config_cls: Any = HermesAgentEnvConfig
    server_cls: Any = HermesServer
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
        self._tokenizer: Any = None
        # Trajectories are written by this class: Atropos would write a line a group, without what a rollout was.
        quiet = config.model_copy(update={"data_path_to_save_groups": None})
        with no_tokenizer_yet():
            super().__init__(quiet, as_list(server_configs), slurm, testing)
        self.config = config
        self.source = ServedSource(self.server)
        self.tokenizers = EnvTokenizer(config, self.server.servers[0])
        tokens = TokenSettings(
            self._needed_tokenizer, config.tool_call_parser, extra_body=config.extra_body, longest=self._longest
        )
        for server in self.server.servers:
            if isinstance(server, HermesServer):
                server.tokens = tokens
        self.redactor = Redactor.from_environment(os.environ, self._keys())
        self.run_id = uuid.uuid4().hex[:8]
        #: Records of evaluations, by their folder.
        self.results_files: dict[Path, ResultsFile] = {}
        self._engines: dict[Path | None, asyncio.Task[Engine]] = {}
        self._as_benchmark = EnvBenchmark(self)
        self._told: set[str] = set()
        self._pool: ThreadPoolExecutor | None = None
        #: Of the loop that the rollouts run on, once there is one.
        self.watchdog: Watchdog | None = None

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

    def _needed_tokenizer(self) -> Any:
        if self.tokenizer is None:
            raise UsageError(f"a model that is asked by token ids needs a tokenizer: {self.tokenizers.problem}")
        return self.tokenizer

    def _longest(self) -> int | None:
        """Return how many tokens a sequence may have: a trainer takes fewer than its `max_token_len`."""
        return self.max_token_len - 1 if self.mode == "serve" and self.max_token_len > 0 else None

    # Tools.

    def _resolve_tools_for_group(self) -> tuple[list[dict[str, Any]], set[str]]:
        """Return the schemas and the names of the tools that the rollouts of one item may call."""
        tools = resolve_toolsets(self.config.enabled_toolsets, self.config.disabled_toolsets)
        return [tool.schema for tool in tools], {tool.name for tool in tools}

    def _group(self) -> Group:
        """Return the group that the running code belongs to, or a new one."""
        group = GROUP.get()
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
        key = f"{benchmark.name}-{task.id}-{uuid.uuid4().hex[:8]}"
        return await (await self._engine(results)).run(plan, key)

    async def _engine(self, results: ResultsFile | None) -> Engine:
        """Return the engine of an evaluation that is recorded in `results`, or else that of all other rollouts."""
        name = None if results is None else results.path
        if name not in self._engines:
            self._engines[name] = asyncio.create_task(self._new_engine(results))
        # Many rollouts begin at once, and one of them may be cancelled.
        return await asyncio.shield(self._engines[name])

    async def _new_engine(self, results: ResultsFile | None) -> Engine:
        loop = asyncio.get_running_loop()
        self.prepare_loop(loop)
        # Its constructor waits for the loop.
        return await asyncio.to_thread(
            Engine,
            limit=self.config.max_eval_workers if results else self.groups_at_once * self.config.group_size,
            run_id=self.run_id,
            results=results,
            on_record=lambda record: None,
            loop=BorrowedLoop(loop),
            watchdog=self.watchdog,
            on_undeclared_reward=self._tell_undeclared,
            # What an endpoint or a sandbox did to one rollout should not cost the others of its group.
            infra_retries=1,
            make_judging=self.new_judging,
        )

    def _tell_undeclared(self, said: str) -> None:
        """Warn of a reward outside of 0 to 1, the first time."""
        self._tell_once(f"{said}; such rewards are sent as they are (reward_range declares them)", about="reward_range")

    def new_judging(self) -> Judging:
        """Return how an attempt is judged: by `self.server`, and by a heuristic where that does not."""
        return Judging(fallback=keyword_overlap, judge=self.server)

    @property
    def fatal(self) -> str | None:
        """Why no rollout can go on, if that is so."""
        engines = (task.result() for task in self._engines.values() if task.done() and not task.cancelled())
        return next((engine.fatal for engine in engines if engine.fatal), None)

    def abandon(self, why: str) -> None:
        """Leave a loop that is blocked for good to itself: evaluations leave records of what is in flight."""
        for task in self._engines.values():
            if task.done() and not task.cancelled() and task.exception() is None:
                task.result().abandon(why)

    async def close(self) -> None:
        """End what is in flight, with its sandboxes, and all connections."""
        for task in self._engines.values():
            await (await task).end()
        self._engines.clear()
        if self.watchdog is not None:
            self.watchdog.stop()
        await self.api.close()
        await self.source.close()
        for results in self.results_files.values():
            results.close()

    @property
    def groups_at_once(self) -> int:
        """How many items are worked on at once."""
        if self.config.max_num_workers > 0:
            return int(self.config.max_num_workers)
        return int(self.config.max_num_workers_per_node) * len(self.server.servers)

    def prepare_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make a loop fit for rollouts: sync calls in rewards, and threads for tools that are not async."""
        install_bridge(loop)
        if self.watchdog is None:
            self.watchdog = Watchdog(log.warning)
            self.watchdog.start()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.config.tool_pool_size, thread_name_prefix="hermes-tool")
            loop.set_default_executor(self._pool)

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
            # A server that does not tell what it sampled, or a template that cannot render what was said.
            self.traces_rejected += kind == "tokens"
            raise RolloutFailed(record.error.message if record.error else record.reason or "", kind=kind)
        self.rewards_by_heuristic += record.reward_source == "heuristic"
        trace = rollout.result.trace
        if trace is None:
            tokens = self.tokens_of(rollout.result.messages)
            row: dict[str, Any] = {"tokens": tokens.tokens, "masks": tokens.masks}
            source: str = tokens.source
        else:
            row, source = await self._certified(trace, record.reward), "sampled"
        return {
            **row,
            "scores": record.reward,
            "messages": rollout.result.messages,
            "generation_params": {
                "token_source": source,
                "model": record.model,
                "temperature": self.config.agent_temperature,
                "group": self._group().id,
            },
            "hermes_record": record.model_dump(mode="json", exclude={"messages"}),
        }, []

    async def _certified(self, trace: TokenTrace, reward: float) -> dict[str, Any]:
        """Return the sequences of a trace. Raises RolloutFailed for one that must not be trained on."""
        if not trace.segments and (longest := self._longest()) is not None:
            raise RolloutFailed(
                f"nothing was sampled: its first prompt has more than the {longest} tokens that a sequence may have "
                "(the trainer's max_token_len)",
                kind="trace",
            )
        # Of a long one it takes a while, in which others want to go on.
        if wrong := await asyncio.to_thread(problems, trace, reward):
            self.traces_rejected += 1
            raise RolloutFailed("; ".join(wrong[:3]), kind="trace")
        if len(trace.segments) > 1:
            self._tell_once(
                "an agent changed what had been said, so its tokens are several sequences, each with the rollout's "
                f"score ({trace.segments[1].why})"
            )
        segment = trace.longest
        return {
            "tokens": segment.tokens,
            "masks": segment.masks,
            "inference_logprobs": segment.inference_logprobs(),
            "hermes_segments": [one for one in trace.segments if one is not segment],
            "hermes_trace": trace.to_json(),
        }

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

    def _tell_once(self, text: str, about: str = "") -> None:
        if (about or text) not in self._told:
            self._told.add(about or text)
            log.warning("%s", text)
