"""What a benchmark itself says about its configuration: class attributes, and a YAML file beside its module."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from ..benchmark import Benchmark
from ..errors import UsageError
from .settings import Layer, Origin, Setting
from .yaml_text import read_settings

#: Class attribute -> key.
_ATTRIBUTES = {
    "default_toolsets": "env.enabled_toolsets",
    "system_prompt": "env.system_prompt",
    "max_agent_turns": "env.max_agent_turns",
    "agent_temperature": "env.agent_temperature",
    "terminal_timeout": "env.terminal_timeout",
    "default_model": "openai.model_name",
}


def benchmark_settings(benchmark: Benchmark) -> list[Setting]:
    """Return a benchmark's own settings, the weakest first. Raises UsageError for a file that does not fit."""
    return [*_of_attributes(benchmark), *_of_file(benchmark)]


def _of_attributes(benchmark: Benchmark) -> Iterator[Setting]:
    origin = Origin(Layer.BENCHMARK, f"benchmark {benchmark.name}")
    own = set(vars(benchmark))
    for cls in type(benchmark).__mro__:
        if cls is Benchmark:
            break
        own |= set(vars(cls))
    for attribute, key in _ATTRIBUTES.items():
        # All toolsets there are is the reference's default; for a benchmark it is those that every sandbox can serve.
        if attribute in own or attribute == "default_toolsets":
            value = getattr(benchmark, attribute)
            yield Setting(key, list(value) if isinstance(value, tuple) else value, origin)


def _of_file(benchmark: Benchmark) -> list[Setting]:
    if benchmark.default_config is None:
        return []
    path = Path(inspect.getfile(type(benchmark))).parent / benchmark.default_config
    settings = read_settings(path, f"{benchmark.name}/{path.name}", Layer.BENCHMARK)
    for setting in settings:
        # Whoever runs it says where his keys and prompts go.
        if setting.key in ("openai.base_url", "openai.api_key"):
            raise UsageError(f"{setting.origin}: a benchmark's own defaults cannot hold {setting.key}")
    return settings
