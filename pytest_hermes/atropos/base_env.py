"""The base of every environment: Atropos's workers run the project's one rollout."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from atroposlib.envs.server_handling.server_baseline import APIServerConfig, ServerBaseline

from ..errors import HermesError, InfrastructureError, Refused, UsageError
from ..rollout.places import sandbox_choice
from ..tools.bridge import bridged
from ..tools.registry import PlaceDefaults, place_defaults
from .env_config import HermesAgentEnvConfig, ServerConfig
from .evaluation_view import EvaluationView
from .rollouts import GROUP, Group, RolloutEnv
from .scored_group import join, padding
from .sending import RunFailed
from .sent_groups import DRAW, SentGroups
from .trajectory_file import TrajectoryFile, trajectory_lines

if TYPE_CHECKING:
    from ..result import AgentResult
    from ..tools.context import ToolContext
    from ..verdict import Verdict

log = logging.getLogger("pytest_hermes.atropos")

#: Rollouts that may fail one after the other, for reasons that are not the model's, before a run ends.
FAILURES_IN_A_ROW = 8


class HermesAgentBaseEnv(RolloutEnv):
    """An environment whose rollouts are agents that call tools in a sandbox.

    A subclass says what is asked and what it is worth: `setup`, `get_next_item`, `format_prompt`, `compute_reward` and
    `evaluate`, with its defaults in `config_init`. `self.server` answers chats, for a judge say.
    """

    name: str | None = None
    #: The toolsets the environment is meant for. A hint for readers: `enabled_toolsets` is what decides.
    default_toolsets: ClassVar[Sequence[str] | None] = None
    #: The lowest and the highest reward there can be. None: not declared, which means 0 to 1.
    reward_range: ClassVar[tuple[float, float] | None] = None
    #: What it can be started for.
    modes: ClassVar[Sequence[str]] = ("serve", "process", "evaluate")

    def __init__(
        self,
        config: HermesAgentEnvConfig,
        server_configs: ServerBaseline | list[APIServerConfig],
        slurm: bool = False,
        testing: bool = False,
    ) -> None:
        of_subclass = frozenset(vars(self))
        super().__init__(config, server_configs, slurm, testing)
        self.trajectories: TrajectoryFile | None = None
        #: Items that wait to be tried once more. An environment may hand out one object for several groups.
        self._again: list[Any] = []
        self._failures: list[str] = []
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

    async def collect_trajectories(self, item: Any) -> tuple[Any, list[Any]]:
        """Run the group of an item and return it scored, with items to work on again.

        A rollout that fails costs the others nothing: while training, `short_groups` says what becomes of a group that
        is short; otherwise what there is of it is kept.
        """
        again = self._is_tried_again(item)
        schemas, names = self._resolve_tools_for_group()
        draw = DRAW.get()
        group = Group(draw.group if draw is not None else uuid.uuid4().hex[:12], schemas, frozenset(names))
        token = GROUP.set(group)
        try:
            outcomes = await asyncio.gather(
                *(self.collect_trajectory(item) for _ in range(self.config.group_size)), return_exceptions=True
            )
        except asyncio.CancelledError:
            if again:  # whoever cancels a group works on its item later
                self._again.append(item)
            raise
        finally:
            GROUP.reset(token)
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
        short = self.config.group_size - len(scored)
        padded = 0
        if short > 0 and causes and self.mode == "serve":
            if self.config.short_groups != "pad_none" or not scored:
                return None, backlog + self._short(item, again)
            padded = short
            scored += padding(scored, short)
            self.rows_padded += short
        if not scored:
            return None, backlog
        joined = join(scored)
        joined["hermes_group"] = group.id
        joined["hermes_records"] = [row.get("hermes_record") or {} for row in scored]
        joined["hermes_traces"] = [row.get("hermes_trace") for row in scored]
        joined["hermes_segments"] = [row.get("hermes_segments") or [] for row in scored]
        joined["hermes_padded"] = padded
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
        fatal = self.fatal
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

    def _task_id(self, item: Any) -> str:
        return self._as_benchmark.to_task(item).id

    def _tell_failures(self, item: Any, causes: list[str]) -> None:
        task = self._task_id(item)
        for cause, count in Counter(causes).items():
            log.warning("%s of the %s rollouts of %s failed: %s", count, self.config.group_size, task, cause)

    def _is_tried_again(self, item: Any) -> bool:
        """Return whether a group of `item` is one that was short before, and take it for begun."""
        for index, one in enumerate(self._again):
            if one is item:
                del self._again[index]
                return True
        return False

    def _short(self, item: Any, again: bool) -> list[Any]:
        """Return the item of a short group if that is to be tried once more."""
        requeue = self.config.short_groups == "requeue"
        if requeue and not again:
            self._again.append(item)
            if self.sent_groups is not None and (draw := DRAW.get()) is not None:
                self.sent_groups.wait(item, draw)
            return [item]
        self.groups_dropped["short"] += 1
        why = "failed twice" if requeue else "failed"
        log.warning("group dropped, short: rollouts of %s %s", self._task_id(item), why)
        self._note("dropped")
        return []

    # What is trained on.

    async def handle_env(self, item_uuid: str) -> Any:
        """Make the group of an item and send it: all that is done under one number, where it is noted what is sent."""
        running = self.running_items.get(item_uuid)
        if self.sent_groups is None or running is None:
            return await super().handle_env(item_uuid)
        with self.sent_groups.worked_on(running["item"], self._task_id(running["item"])):
            return await super().handle_env(item_uuid)

    async def add_train_workers(self) -> None:
        if self.sent_groups is not None:
            await self._draw_items(self.sent_groups)
        await super().add_train_workers()

    async def _draw_items(self, sent: SentGroups) -> None:
        """Put the items of the next groups into the backlog, without those whose groups were noted before."""
        drawn: list[Any] = []
        while len(drawn) < self.max_num_workers - len(self.workers) - len(self.backlog):
            item = await self.get_next_item()
            if item is None:
                break
            draw = sent.draw(self._task_id(item))
            if draw is None:
                await asyncio.sleep(0)
                continue
            sent.wait(item, draw)
            drawn.append(item)
        # Atropos takes them from its end.
        self.backlog[:0] = reversed(drawn)

    def open_sent_groups(self) -> None:
        """Open the file that `sent_groups` names, if it does. Raises UsageError when it cannot."""
        if self.config.sent_groups is None or self.sent_groups is not None:
            return
        self.sent_groups = SentGroups(Path(self.config.sent_groups))
        if len(self.sent_groups):
            log.info(
                "%s groups are noted in %s and are not sent again; of %s of them it is not known whether they arrived",
                len(self.sent_groups), self.sent_groups.path, self.sent_groups.in_doubt,
            )  # fmt: skip

    # What is written down.

    def save_group(self, group: Mapping[str, Any]) -> None:
        if self.trajectories is None:
            return
        lines = list(trajectory_lines(group, env=self._as_benchmark.name, tools=group.get("hermes_tools") or []))
        try:
            self.trajectories.append(lines)
        except OSError as error:
            # Atropos's worker would tell it and go on, with a group that is neither written nor sent.
            self.stop(RunFailed(f"cannot write trajectories to {self.trajectories.path}: {error.strerror}"))

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
        await super().close()
        if self.trajectories is not None:
            self.trajectories.close()
        if self.sent_groups is not None:
            self.sent_groups.close()
