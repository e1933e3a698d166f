"""A benchmark whose rewards are a judge's: an environment's `self.server`, or the judge of the run."""

from pytest_hermes import Benchmark, Task
from pytest_hermes.rewards import final_response, llm_judge


class Judged(Benchmark):
    name = "judged"
    default_toolsets = ()

    def tasks(self):
        return [Task(id=f"t{n}", prompt=f"Task {n}.", threshold=0.5) for n in range(3)]

    async def compute_reward(self, item, result, ctx):
        judged = await llm_judge(
            ctx.judge, question=item.prompt, answer=final_response(result), reference=f"The answer is {item.id}."
        )
        return judged.score
