"""An environment's rollouts: who answers, where they run, and what one of them is as training data."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..background import BorrowedLoop
from ..benchmark import Benchmark
from ..config.options import Options
from ..core.redact import Redactor
from ..errors import FatalError, HermesError, InfrastructureError, UsageError
from ..judging import Judging
from ..models.tokens.errors import TemplateError
from ..models.tokens.trace import TokenTrace
from ..models.tokens.trace_validation import problems
from ..rewards import keyword_overlap
from ..rollout.attempt import Rollout
from ..rollout.plan import AttemptPlan, PlannedTask
from ..rollout.rendered_tokens import PLACEHOLDER, ConversationTokens, tokenise
from ..rollout.watchdog import Watchdog
from ..runs.folder import RunFolder
from ..runs.in_flight import within_open_files
from ..runs.plan import RunPlan
from ..runs.run import Run
from ..tools.bridge import install_bridge
from ..tools.toolsets import resolve_toolsets
from .ending import RunFailed
from .env_config import HermesAgentEnvConfig
from .scored_rollout import ScoredRollout
from .server import ServedSource
from .tokenizer import EnvTokenizer

if TYPE_CHECKING:
    from atroposlib.envs.server_handling.server_manager import ServerManager

log = logging.getLogger("pytest_hermes.atropos")

#: Rollouts that may fail one after the other, for reasons that are not the model's, before a run ends.
FAILURES_IN_A_ROW = 8


class RolloutFailed(InfrastructureError):
    """A rollout came to no reward, by no fault of the model."""


class RolloutRunner:
    """Runs attempts of items on the running loop, and makes training data of them.

    `stop` ends the run when no rollout can go on.
    """

    def __init__(
        self,
        config: HermesAgentEnvConfig,
        server: ServerManager,
        tokenizers: EnvTokenizer,
        redactor: Redactor,
        stop: Callable[[HermesError], None],
    ) -> None:
        self.source = ServedSource(server)
        #: Rollouts whose tokens are not valid.
        self.traces_rejected = 0
        #: Rollouts whose reward a judge should have given and a heuristic gave.
        self.rewards_by_heuristic = 0
        #: Of the loop that the rollouts run on, once there is one.
        self.watchdog: Watchdog | None = None
        self._config = config
        self._server = server
        self._tokenizers = tokenizers
        self._redactor = redactor
        self._stop = stop
        self._run_id = uuid.uuid4().hex[:8]
        #: By the folder of their records; None: of what is recorded nowhere.
        self._runs: dict[Path | None, asyncio.Task[Run]] = {}
        self._failures: list[str] = []
        self._told: set[str] = set()

    @property
    def groups_at_once(self) -> int:
        """How many items are worked on at once."""
        if self._config.max_num_workers > 0:
            return int(self._config.max_num_workers)
        return int(self._config.max_num_workers_per_node) * len(self._server.servers)

    def judging(self) -> Judging:
        """Return how an attempt is judged: by the environment's server, and by a heuristic where that does not."""
        return Judging(fallback=keyword_overlap, judge=self._server)

    # Runs.

    async def run(
        self, benchmark: Benchmark, item: Any, tool_names: Collection[str], folder: Path | None = None
    ) -> Rollout:
        """Let the agent work on an item once, score it, and return how it went.

        With a `folder` it is part of an evaluation, and recorded there. Raises what `Run.run` does.
        """
        planned = PlannedTask(benchmark, item, benchmark.to_task(item))
        tools = tuple(tool for tool in resolve_toolsets() if tool.name in tool_names)
        key = f"{benchmark.name}-{planned.task.id}-{uuid.uuid4().hex[:8]}"
        run = await self._run(folder)
        return await run.run(AttemptPlan(planned, 1, self.source, self._config, tools), key)

    async def _run(self, folder: Path | None) -> Run:
        """Return the run of an evaluation that is recorded in `folder`, or else that of all other rollouts."""
        if folder not in self._runs:
            self._runs[folder] = asyncio.create_task(self._new_run(folder))
        # Many rollouts begin at once, and one of them may be cancelled.
        return await asyncio.shield(self._runs[folder])

    async def _new_run(self, folder: Path | None) -> Run:
        self.prepare_loop()
        wanted = self._config.max_eval_workers if folder else self.groups_at_once * self._config.group_size
        in_flight, fewer = within_open_files(wanted, [self._config])
        for line in fewer:
            self._tell_once(line, about="in_flight")
        plan = RunPlan(
            # What an endpoint or a sandbox did to one rollout should not cost the others of its group.
            options=Options(infra_retries=1),
            run_id=self._run_id,
            folder=None if folder is None else RunFolder(self._run_id, folder),
            in_flight=in_flight,
            redactor=self._redactor,
        )
        run = Run(
            plan,
            BorrowedLoop(asyncio.get_running_loop()),
            watchdog=self.watchdog,
            make_judging=self.judging,
            on_record=lambda record: None,
            on_undeclared_reward=lambda message: self._tell_once(
                f"{message}; such rewards are sent unchanged (declare them with reward_range)", about="reward_range"
            ),
        )
        await asyncio.to_thread(run.start)
        return run

    def prepare_loop(self) -> None:
        """Make the running loop fit for rollouts: sync calls in rewards, and threads for tools that are not async."""
        if self.watchdog is None:
            loop = asyncio.get_running_loop()
            install_bridge(loop)
            self.watchdog = Watchdog(log.warning)
            self.watchdog.start()
            loop.set_default_executor(ThreadPoolExecutor(self._config.tool_pool_size, thread_name_prefix="hermes-tool"))

    @property
    def _ready(self) -> list[Run]:
        tasks = [task for task in self._runs.values() if task.done() and not task.cancelled()]
        return [task.result() for task in tasks if task.exception() is None]

    def abandon(self, why: str) -> None:
        """Leave a loop that is blocked for good to itself: evaluations leave records of what is in flight."""
        for run in self._ready:
            run.engine.abandon(why)

    async def close(self) -> None:
        """End what is in flight, with its sandboxes, and all connections."""
        for task in self._runs.values():
            await (await task).aclose()
        self._runs.clear()
        if self.watchdog is not None:
            self.watchdog.stop()
        await self.source.close()

    # Rollouts that fail.

    async def gathered(self, attempts: Sequence[Coroutine[Any, Any, Any]]) -> tuple[list[Any], list[Any], Counter[str]]:
        """Run what `collect_trajectory` returned for each rollout of a group, at once.

        Returns the rows that came of it, further items to work on, and why others failed, which costs these nothing.
        """
        rows: list[Any] = []
        backlog: list[Any] = []
        causes: Counter[str] = Counter()
        for outcome in await asyncio.gather(*attempts, return_exceptions=True):
            if isinstance(outcome, BaseException):
                causes[self._failed(outcome)] += 1
                continue
            row, more = outcome
            backlog += more
            if row is not None:
                rows.append(row)
                self._failures.clear()
        return rows, backlog, causes

    def _failed(self, error: BaseException) -> str:
        """Return what a rollout raised in words. It ends the run when no rollout can go on, or too many fail."""
        if not isinstance(error, Exception):  # cancelled, most likely by an engine that was halted
            cause = type(error).__name__
        elif isinstance(error, HermesError):
            cause = f"{error.kind}: {error}" if isinstance(error, InfrastructureError) else str(error)
        else:
            cause = f"{type(error).__name__}: {error}"
            log.error("collect_trajectory raised", exc_info=error)
        fatal = next((run.engine.fatal for run in self._ready if run.engine.fatal), None)
        if isinstance(error, FatalError | RunFailed) or fatal:
            self._stop(RunFailed(fatal or str(error)))
        elif isinstance(error, UsageError):
            self._stop(error)
        self._failures.append(cause)
        if len(self._failures) >= max(FAILURES_IN_A_ROW, 2 * self._config.group_size):
            common, _ = Counter(self._failures).most_common(1)[0]
            self._stop(
                RunFailed(
                    f"the last {len(self._failures)} rollouts all failed, for reasons other than the model: {common}"
                )
            )
        return cause

    # Training data.

    async def score(
        self, rollout: Rollout, schemas: Sequence[dict[str, Any]], *, longest: int | None, strict: bool
    ) -> ScoredRollout:
        """Return a rollout as training data, with its tokens.

        `schemas` are those of its tools, `longest` the tokens that a sequence may have. Raises RolloutFailed when it
        came to no reward or must not be trained on, with `strict` also when the chat template cannot render it.
        """
        record, result = rollout.record, rollout.result
        if record.reward is None:
            kind = record.error.kind if record.error else "skipped"
            # A server that does not tell what it sampled, or a template that cannot render what was said.
            self.traces_rejected += kind == "tokens"
            raise RolloutFailed(record.error.message if record.error else record.reason or "", kind=kind)
        self.rewards_by_heuristic += record.reward_source == "heuristic"
        if result.trace is None:
            tokens = self._tokens_of(result.messages, schemas, strict)
            return ScoredRollout(record, result.messages, tokens.tokens, tokens.masks, tokens.source)
        await self._certify(result.trace, record.reward, longest)
        segment = result.trace.longest
        return ScoredRollout(
            record,
            result.messages,
            segment.tokens,
            segment.masks,
            "sampled",
            segment.inference_logprobs(),
            result.trace,
            [one for one in result.trace.segments if one is not segment],
        )

    async def _certify(self, trace: TokenTrace, reward: float, longest: int | None) -> None:
        """Raise RolloutFailed for a trace that must not be trained on."""
        if not trace.segments and longest is not None:
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
                "an agent changed earlier messages, so its tokens form several sequences, each with the rollout's "
                f"score ({trace.segments[1].why})"
            )

    def _tokens_of(
        self, messages: Sequence[dict[str, Any]], schemas: Sequence[dict[str, Any]], strict: bool
    ) -> ConversationTokens:
        """Return the tokens of a conversation; placeholders, which is said once, where they cannot be had."""
        try:
            tokenizer = self._tokenizers.find()
            if tokenizer is None:
                self._tell_once(f"no tokens; placeholders are sent instead: {self._tokenizers.problem}")
                return PLACEHOLDER
            tokens = tokenise(tokenizer, messages, schemas)
        except TemplateError as error:
            if strict:
                raise RolloutFailed(str(error), kind="tokens") from None
            self._tell_once(f"placeholders are sent instead of tokens: {error}")
            return PLACEHOLDER
        if tokens.lost_answers:
            self._tell_once(
                f"answers of an agent that the chat template changes, and that are masked out: {tokens.lost_answers}"
            )
        return tokens

    def _tell_once(self, text: str, about: str = "") -> None:
        if (about or text) not in self._told:
            self._told.add(about or text)
            log.warning("%s", text)
