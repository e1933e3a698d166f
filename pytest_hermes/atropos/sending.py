"""What becomes of an environment's scored groups: checked, noted, sent, and told, and what is done when that fails."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from atroposlib.envs.base import BaseEnv

from ..errors import HermesError, InfrastructureError
from ..models.tokens.trace import IGNORED
from ..rollout.transcript import transcript
from .run_api import RunApi
from .scored_group import as_sent, further_segments, problems
from .sent_groups import DRAW, SentGroups, State

log = logging.getLogger("pytest_hermes.atropos")

#: Groups that may be dropped one after the other, for other reasons than equal scores, before a run ends.
DROPS_IN_A_ROW = 8

#: Seconds that a group on its way to the trainer has when it is cancelled.
_ON_ITS_WAY = 5

#: Seconds between two lines that say how a run stands.
_REMINDER = 60


class RunFailed(HermesError):
    """The run cannot go on, or came to nothing."""


class SendingEnv(BaseEnv):  # type: ignore[misc,unused-ignore]
    """Atropos's environment whose groups are checked before they are sent, and heard of when they are not."""

    #: What the environment does: `serve`, `process` or `evaluate`; empty while nobody said.
    mode = ""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.api = RunApi(self.config.rollout_server_url)
        self.items_sent_this_step = 0
        #: Groups that went to the trainer.
        self.groups_sent = 0
        #: Why groups did not, with their number.
        self.groups_dropped: Counter[str] = Counter()
        #: Rollouts whose tokens did not pass their certificate.
        self.traces_rejected = 0
        #: Rollouts whose reward a judge should have given and a heuristic gave.
        self.rewards_by_heuristic = 0
        #: Rows that took the place of rollouts that failed.
        self.rows_padded = 0
        self.failed_evaluations = 0
        #: The notes of what was sent, where a file for them was named.
        self.sent_groups: SentGroups | None = None
        self._drops_in_a_row = 0
        self._scores: list[float] = []
        self._told_at: float | None = None
        self._stopped: asyncio.Future[None] | None = None

    # What ends a run.

    def stop(self, reason: HermesError) -> None:
        """End the mode that is running; it raises `reason`. The first one counts."""
        if self._stopped is None:
            raise reason
        if not self._stopped.done():
            self._stopped.set_exception(reason)

    async def until_stopped(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run `work` to its end, or until `stop` is called, whose reason is raised."""
        self._stopped = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task, self._stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
            stopped = self._stopped
            self._stopped = None
            if not stopped.done():
                stopped.cancel()
        if not stopped.cancelled():
            if not task.cancelled():
                task.exception()
            stopped.result()
        task.result()

    # What becomes of a scored group.

    async def handle_send_to_api(
        self,
        scored_data: Any,
        item: Any = None,
        do_send_to_api: bool = True,
        abort_on_any_max_length_exceeded: bool = True,
    ) -> None:
        """Check, save and send the groups of an item; what is not sent is said and counted."""
        groups = scored_data if isinstance(scored_data, list) else [scored_data]
        for group in groups:
            if group is None:
                continue
            limits = (do_send_to_api, abort_on_any_max_length_exceeded)
            dropped, parts = self._why_not(group, *limits), [group]
            if dropped is None and do_send_to_api:
                parts += further_segments(group)
                dropped = next(filter(None, (self._why_not(part, *limits) for part in parts[1:])), None)
            if dropped is not None:
                self._drop(*dropped)
                self._note("dropped")
                continue
            rollouts = len(group["masks"]) - (group.get("hermes_padded") or 0)
            self.completion_lengths += [sum(mask != IGNORED for mask in row) for row in group["masks"][:rollouts]]
            await self.add_rollouts_for_wandb(group, item)
            self.save_group(group)
            if do_send_to_api:
                await self._send_to_the_end(parts)

    def save_group(self, group: Mapping[str, Any]) -> None:
        """Write a group down, where a file was asked for."""

    def _why_not(self, group: Mapping[str, Any], to_trainer: bool, cut_off: bool) -> tuple[str, str] | None:
        """Return why a group is not sent, as a kind that is counted and the details, or None."""
        size = (group.get("group_overrides") or {}).get("group_size", self.config.group_size)
        if wrong := problems(group, size if to_trainer else None, trained=to_trainer):
            return "invalid", "; ".join(wrong[:5])
        if self.config.ensure_scores_are_not_same and len(set(group["scores"])) == 1:
            return "with equal scores", f"all {len(group['scores'])} rollouts have {group['scores'][0]:g}"
        longest = max(len(row) for row in group["tokens"])
        if cut_off and 0 < self.max_token_len <= longest:
            details = (
                f"a sequence of {longest} tokens, and the trainer takes fewer than {self.max_token_len} (its "
                "max_token_len); lower env.max_token_length or env.max_agent_turns, or raise the trainer's"
            )
            return "too long", details
        return None

    def _drop(self, kind: str, details: str) -> None:
        self.groups_dropped[kind] += 1
        log.warning("group dropped, %s: %s", kind, details)
        if kind == "with equal scores":  # what a model does that always or never succeeds
            return
        self._drops_in_a_row += 1
        if self._drops_in_a_row >= DROPS_IN_A_ROW:
            self.stop(
                RunFailed(f"the last {self._drops_in_a_row} groups were all dropped; the last one {kind}: {details}")
            )

    async def _send_to_the_end(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Send a group; who cancels it, as Atropos does when the trainer has enough, waits for what is on its way."""
        sending = asyncio.ensure_future(self._send(parts))
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            await asyncio.wait({sending}, timeout=_ON_ITS_WAY)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            raise

    async def _send(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Send a group, with the groups of its further segments, in one request."""
        bodies = [{**as_sent(part), "env_id": getattr(self, "env_id", None)} for part in parts]
        self._note("sending")
        try:
            if len(bodies) == 1:
                await self.api.post("/scored_data", bodies[0], once=True)
            else:
                await self.api.post("/scored_data_list", bodies, once=True)
        except InfrastructureError as error:
            self._drop("not taken", str(error))
            return
        self._note("taken")
        self.groups_sent += len(bodies)
        self._tell_progress(parts[0]["scores"])
        self.items_sent_this_step += len(bodies)
        self._drops_in_a_row = 0

    def _note(self, state: State) -> None:
        """Write down what becomes of the group that the running code makes or sends, where that is asked for."""
        draw = DRAW.get()
        if self.sent_groups is None or draw is None:
            return
        try:
            self.sent_groups.note(draw, state)
        except OSError as error:
            # What cannot be noted must not be sent.
            failed = self._cannot_note(self.sent_groups, error)
            self.stop(failed)
            raise failed from error

    def _cannot_note(self, sent: SentGroups, error: OSError) -> RunFailed:
        return RunFailed(f"cannot note in {sent.path} what is sent: {error.strerror or error}")

    def _tell_progress(self, scores: Sequence[float]) -> None:
        """Say how the run stands, once a minute at most: a trainer's steps may take long."""
        self._scores += scores
        now = time.monotonic()
        if self._told_at is None or now - self._told_at >= _REMINDER:
            mean = math.fsum(self._scores) / len(self._scores)
            log.info("%s groups sent, mean reward %.3f", self.groups_sent, mean)
            self._told_at = now
            self._scores.clear()

    # Metrics.

    async def add_rollouts_for_wandb(self, scored_data: Any, item: Any = None) -> None:
        """Keep rollouts for the table, as conversations with their calls and results."""
        number = self.config.num_rollouts_per_group_for_logging
        shown = len(scored_data["scores"]) if number == -1 else number
        try:
            rows = list(zip(self._texts(scored_data), scored_data["scores"], strict=False))[:shown]
        except Exception as error:  # of an environment's own `format`; a table must not cost the group
            log.error("a group is in no table: %s: %s", type(error).__name__, error, exc_info=error)
            return
        self.rollouts_for_wandb.append(rows)
        del self.rollouts_for_wandb[: -self.config.num_rollouts_to_keep]

    def _texts(self, group: Mapping[str, Any]) -> Sequence[str]:
        if group.get("messages"):
            return [self.format(messages) for messages in group["messages"]]
        decode = getattr(self.tokenizer, "decode", None)
        return [decode(row) if decode else f"{len(row)} tokens" for row in group["tokens"]]

    def format(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Return a rollout as it stands in wandb's tables."""
        return transcript(messages)

    async def wandb_log(self, wandb_metrics: dict[str, Any] | None = None) -> None:
        """Log metrics; call it at the end of your own."""
        metrics = dict(wandb_metrics or {})
        metrics.update({f"train/groups_dropped/{kind.replace(' ', '_')}": n for kind, n in self.groups_dropped.items()})
        if self.rows_padded:
            metrics["train/rows_padded"] = self.rows_padded
        if self.traces_rejected:
            metrics["train/traces_rejected"] = self.traces_rejected
        if self.rewards_by_heuristic:
            metrics["train/rewards_by_heuristic"] = self.rewards_by_heuristic
        if self.failed_evaluations:
            metrics["eval/failed_evaluations"] = self.failed_evaluations
        await super().wandb_log(metrics)

    def standing(self) -> str:
        """Return how many groups were sent, and what was not, in words."""
        counts = [f"{self.groups_sent} groups sent"]
        counts += [f"{count} dropped {reason}" for reason, count in self.groups_dropped.items()]
        if self.traces_rejected:
            counts.append(f"traces rejected: {self.traces_rejected}")
        if self.rewards_by_heuristic:
            counts.append(f"rewards by the heuristic: {self.rewards_by_heuristic}")
        return ", ".join(counts)
