"""The base of every environment: Atropos's workers run the project's one rollout."""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from atroposlib.envs.base import BaseEnv
from atroposlib.envs.server_handling.server_baseline import APIServerConfig, ServerBaseline

from ..core.redact import Redactor
from ..errors import UsageError
from ..models.tokens.model import TokenSettings
from ..models.tokens.trace import IGNORED
from ..rollout.transcript import transcript
from ..tools.toolsets import resolve_toolsets
from . import wandb_use
from .ending import Ending
from .env_benchmark import EnvBenchmark
from .env_config import HermesAgentEnvConfig, ServerConfig, as_list
from .evaluation import write_evaluation
from .ledger import GROUP, GroupLedger
from .ledger_file import Registration
from .rollouts import RolloutRunner
from .scored_group import join
from .scored_rollout import group_in
from .server import HermesServer
from .steps import do_what_is_due, end_if_idle
from .tokenizer import EnvTokenizer, no_tokenizer_yet
from .totals import in_metrics
from .trainer import TrainerLink
from .trajectory_file import TrajectoryFile

if TYPE_CHECKING:
    from pathlib import Path

    from ..benchmark import Benchmark
    from ..result import AgentResult
    from ..rollout.attempt import Rollout
    from ..tools.context import ToolContext
    from ..verdict import Verdict

log = logging.getLogger("pytest_hermes.atropos")

#: What a trainer is told of the longest sequence of an environment that sets no `max_token_length`.
_DEFAULT_LENGTH = 2048


class HermesAgentBaseEnv(BaseEnv):  # type: ignore[misc,unused-ignore]
    """An environment whose rollouts are agents that call tools in a sandbox.

    A subclass says what is asked and what it is worth: `setup`, `get_next_item`, `format_prompt`, `compute_reward` and
    `evaluate`, with its defaults in `config_init`. `self.server` answers chats, for a judge say. The work is done by
    `runner` (rollouts), `ledger` (whose group is which) and `trainer` (what is sent); what is here besides are the
    methods that Atropos calls.
    """

    name: str | None = None
    env_config_cls: Any = HermesAgentEnvConfig
    server_cls: Any = HermesServer
    #: The toolsets the environment is meant for. A hint for readers: `enabled_toolsets` is what decides.
    default_toolsets: ClassVar[Sequence[str] | None] = None
    #: The lowest and the highest reward there can be. None: not declared, which means 0 to 1.
    reward_range: ClassVar[tuple[float, float] | None] = None
    #: What it can be started for.
    modes: ClassVar[Sequence[str]] = ("serve", "process", "evaluate")
    #: What the environment does: one of `modes`; empty while nobody said.
    mode = ""
    #: The benchmark whose limits and preparations hold for the rollouts; None: the defaults.
    benchmark: Benchmark | None = None

    def __init__(
        self,
        config: HermesAgentEnvConfig,
        server_configs: ServerBaseline | list[APIServerConfig],
        slurm: bool = False,
        testing: bool = False,
    ) -> None:
        of_subclass = frozenset(vars(self))
        if not isinstance(config, HermesAgentEnvConfig):
            raise UsageError(f"{type(self).__name__} needs a HermesAgentEnvConfig, not a {type(config).__name__}")
        servers = as_list(server_configs)
        self.tokenizers = EnvTokenizer(config, servers[0])
        # Trajectories are written by this class: Atropos would write a line a group, without what a rollout was.
        quiet = config.model_copy(update={"data_path_to_save_groups": None})
        with no_tokenizer_yet():
            super().__init__(quiet, servers, slurm, testing)
        self.config = config
        if self.benchmark is not None:
            self.benchmark.configure(config)
        self.redactor = Redactor.from_environment(os.environ, [server.api_key for server in servers if server.api_key])
        self.trajectories: TrajectoryFile | None = None
        self.failed_evaluations = 0
        self.ending = Ending()
        self.runner = RolloutRunner(config, self.server, self.tokenizers, self.redactor, self.ending.stop)
        self.ledger = GroupLedger(self._task_id, self.ending.stop)
        self.trainer = TrainerLink(config.rollout_server_url, note=self.ledger.note, stop=self.ending.stop)
        tokens = TokenSettings(
            self.tokenizers.needed, config.tool_call_parser, extra_body=config.extra_body, longest=self._longest
        )
        for server in self.server.servers:
            if isinstance(server, HermesServer):
                server.tokens = tokens
        #: Rounds of Atropos's loop, one after the other, in which there was nothing to do.
        self.idle_rounds = 0
        #: Names of the attributes that are not of the subclass.
        self.framework = (frozenset(vars(self)) | {"framework"}) - of_subclass

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, loaded at first use; None for a model that has none."""
        return self.tokenizers.find()

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        if tokenizer is not None:  # as Atropos's constructor says
            self.tokenizers.use(tokenizer)

    def _longest(self) -> int | None:
        """Return how many tokens a sequence may have: a trainer takes fewer than its `max_token_len`."""
        return self.max_token_len - 1 if self.mode == "serve" and self.max_token_len > 0 else None

    @property
    def as_benchmark(self) -> EnvBenchmark:
        """What the rollouts are attempts of, as it is now: its own benchmark may learn of more when it is set up."""
        return EnvBenchmark(self)

    def _task_id(self, item: Any) -> str:
        return self.as_benchmark.to_task(item).id

    @classmethod
    def config_init(cls) -> tuple[HermesAgentEnvConfig, ServerBaseline | list[APIServerConfig]]:
        """Return the environment's own defaults. A configuration file and the command line win over them."""
        return cls.env_config_cls(), [ServerConfig()]

    @classmethod
    def cli(cls) -> None:
        """Run `serve`, `process` or `evaluate` as the command line says, and exit."""
        from .command_line import main

        raise SystemExit(main(cls))

    # What a subclass defines.

    async def setup(self) -> None:
        """Load what the items are made of. Called once."""

    async def get_next_item(self) -> Any:
        """Return the next item, None when there is none left. One that is only evaluated needs none."""
        raise NotImplementedError(f"{type(self).__name__} must define get_next_item()")

    def format_prompt(self, item: Any) -> str:
        """Return the user message of an item."""
        raise NotImplementedError(f"{type(self).__name__} must define format_prompt(item)")

    async def compute_reward(self, item: Any, result: AgentResult, ctx: ToolContext) -> float | Verdict:
        """Return the reward of a rollout, usually from 0 to 1. `ctx` looks into its sandbox, without `await`."""
        raise NotImplementedError(f"{type(self).__name__} must define compute_reward(item, result, ctx)")

    async def evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Measure the model on items that are not trained on."""
        raise UsageError(f"{type(self).__name__} must define evaluate() to be evaluated")

    # Rollouts.

    def _resolve_tools_for_group(self) -> tuple[list[dict[str, Any]], set[str]]:
        """Return the schemas and the names of the tools that the rollouts of one item may call."""
        tools = resolve_toolsets(self.config.enabled_toolsets, self.config.disabled_toolsets)
        return [tool.schema for tool in tools], {tool.name for tool in tools}

    def _tools(self) -> tuple[list[dict[str, Any]], set[str]]:
        """Return the tools of the group that the running code belongs to, or new ones."""
        group = GROUP.get()
        return self._resolve_tools_for_group() if group is None or group.tools is None else group.tools

    async def rollout(self, item: Any, *, folder: Path | None = None) -> Rollout:
        """Let the agent work on an item once, score it, and return how it went.

        With a `folder` it is recorded in the results there. Raises FatalError or RunFailed when no rollout can go on.
        """
        _, names = self._tools()
        return await self.runner.run(self.as_benchmark, item, names, folder)

    async def collect_trajectory(self, item: Any) -> tuple[dict[str, Any] | None, list[Any]]:
        """Return one scored rollout in Atropos's form, and no further items to work on.

        Raises RolloutFailed when it came to no reward.
        """
        rollout = await self.rollout(item)
        schemas, _ = self._tools()
        scored = await self.runner.score(rollout, schemas, longest=self._longest(), strict=self.mode == "serve")
        group = GROUP.get()
        name = uuid.uuid4().hex[:12] if group is None else group.id
        return scored.as_item(group=name, temperature=self.config.agent_temperature), []

    async def collect_trajectories(self, item: Any) -> tuple[Any, list[Any]]:
        """Run the group of an item and return it scored, with items to work on again.

        A rollout that fails costs the others nothing: while training, `short_groups` says what becomes of a group that
        is short; otherwise what there is of it is kept.
        """
        with self.ledger.worked_on(item) as group:
            group.tools = self._resolve_tools_for_group()
            attempts = [self.collect_trajectory(item) for _ in range(self.config.group_size)]
            rows, backlog, causes = await self.runner.gathered(attempts)
            for cause, count in causes.items():
                log.warning("%s of the %s rollouts of %s failed: %s", count, len(attempts), self._task_id(item), cause)
            short = self.config.group_size - len(rows) if causes and self.mode == "serve" else 0
            if short and (self.config.short_groups != "pad_none" or not rows):
                if self.config.short_groups == "requeue" and not group.tried:
                    self.ledger.try_again(group)
                    return None, [*backlog, group.item]
                why = "failed twice" if group.tried else "failed"
                self.trainer.drop("short", f"rollouts of {self._task_id(item)} {why}")
                return None, backlog
            if not rows:
                return None, backlog
            self.ledger.rows_padded += short
            schemas, _ = group.tools
            return join(rows, id=group.id, tools=schemas, padded=short), backlog

    # What Atropos's loop asks of the run-api, and does at each round.

    async def _register_env(self) -> dict[str, Any]:
        answer = await self.trainer.register(
            {
                "max_token_length": self.config.max_token_length or _DEFAULT_LENGTH,
                "desired_name": self.config.wandb_name or self.name or type(self).__name__,
                "weight": self.config.inference_weight,
                "min_batch_allocation": self.config.min_batch_allocation,
                "group_size": self.config.group_size,
            }
        )
        if self.config.total_steps == answer["num_steps"] == -1:
            raise UsageError("neither the trainer nor env.total_steps sets the number of steps")
        return answer

    async def register_env(self) -> None:
        """Register with the run-api; wait for a trainer if there is none yet.

        The environment of a run that was killed is ended there, where the notes of what it sent tell it: it would have
        its share of the batches otherwise, which a trainer waits for (`min_batch_allocation`).
        """
        await super().register_env()
        now = Registration(self.trainer.api.url, self.env_id, self.wandb_prepend, self.curr_step)
        if (earlier := self.ledger.register(now)) is not None:
            await self.trainer.api.disconnect(earlier.env_id)
        log.info("registered as %s (env_id %s) at step %s", self.wandb_prepend, self.env_id, self.curr_step)

    async def get_server_info(self) -> None:
        self.config.batch_size, longest = await self.trainer.batch(self.config.batch_size, self.config.group_size)
        if longest is not None:
            self.max_token_len = longest

    async def get_status(self) -> None:
        self.status_dict = await self.trainer.status(self.curr_step)
        self.max_num_workers = self.runner.groups_at_once
        await self.server.update_weight(self.status_dict["env_weight"])

    async def setup_wandb(self) -> None:
        if not wandb_use.wanted(self.config):
            return
        answer = await self.trainer.wandb_info()
        self.wandb_project, self.wandb_group = answer["project"], answer["group"]
        wandb_use.start(self.config, name=self.config.wandb_name, project=answer["project"], group=answer["group"])

    async def env_step_checks(self) -> None:
        """Look whether the trainer went on, and do what is due: an evaluation, a checkpoint, metrics.

        Atropos's own misses what is due each step, and whatever lies between two steps that are taken at once.
        """
        before: int = self.curr_step
        self.curr_step: int = self.status_dict["current_step"]
        if self.curr_step != before:
            await do_what_is_due(self, before, self.curr_step)

    async def add_train_workers(self) -> None:
        if self.ledger.notes is not None:
            free = self.max_num_workers - len(self.workers) - len(self.backlog)
            # Atropos takes them from its end.
            self.backlog[:0] = reversed(await self.ledger.sample(self.get_next_item, free))
        await super().add_train_workers()
        end_if_idle(self)

    async def handle_env(self, item_uuid: str) -> Any:
        """Make the group of an item and send it: all that is done under one number, where it is noted what is sent."""
        running = self.running_items.get(item_uuid)
        if running is None:
            return await super().handle_env(item_uuid)
        with self.ledger.worked_on(running["item"], noted=True):
            return await super().handle_env(item_uuid)

    async def handle_send_to_api(
        self,
        scored_data: Any,
        item: Any = None,
        do_send_to_api: bool = True,
        abort_on_any_max_length_exceeded: bool = True,
    ) -> None:
        """Check, save and send the groups of an item; what is not sent is said and counted."""
        for group in scored_data if isinstance(scored_data, list) else [scored_data]:
            if group is None:
                continue
            size = (group.get("group_overrides") or {}).get("group_size", self.config.group_size)
            limited = abort_on_any_max_length_exceeded and self.max_token_len > 0
            parts = self.trainer.checked(
                group,
                size=size if do_send_to_api else None,
                below=self.max_token_len if limited else None,
                scores_differ=self.config.ensure_scores_are_not_same,
            )
            if not parts:
                continue
            rollouts = len(group["masks"]) - group_in(group).padded
            self.completion_lengths += [sum(mask != IGNORED for mask in row) for row in group["masks"][:rollouts]]
            await self.add_rollouts_for_wandb(group, item)
            if self.trajectories is not None:
                self.trajectories.save(group)
            if do_send_to_api:
                await self.trainer.send(parts)

    # What is written down.

    async def add_rollouts_for_wandb(self, scored_data: Any, item: Any = None) -> None:
        """Keep rollouts for the table, as conversations with their calls and results."""
        wandb_use.add_to_table(self.rollouts_for_wandb, scored_data, self.config, self.format, self.tokenizers)

    def format(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Return a rollout as it stands in wandb's tables."""
        return transcript(messages)

    async def wandb_log(self, wandb_metrics: dict[str, Any] | None = None) -> None:
        """Log metrics; call it at the end of your own."""
        await super().wandb_log({**(wandb_metrics or {}), **in_metrics(self)})

    async def evaluate_log(self, metrics: dict[str, Any], *arguments: Any, **named: Any) -> None:
        """Write an evaluation's metrics.json and samples.jsonl; parameters as Atropos's own."""
        await asyncio.to_thread(write_evaluation, self, metrics, *arguments, **named)

    async def close(self) -> None:
        """End what is in flight, with its sandboxes, and all connections and files."""
        await self.runner.close()
        await self.trainer.api.close()
        if self.trajectories is not None:
            self.trajectories.close()
        self.ledger.close()
