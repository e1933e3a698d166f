"""What a benchmark itself says about its configuration: class attributes, and a YAML file beside its module."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..benchmark import Benchmark
from ..config.fields import TESTING, Schema
from ..config.settings import Layer, Origin, Setting
from ..errors import UsageError

#: Class attribute -> key.
_ATTRIBUTES = {
    "default_toolsets": "env.enabled_toolsets",
    "system_prompt": "env.system_prompt",
    "max_agent_turns": "env.max_agent_turns",
    "agent_temperature": "env.agent_temperature",
    "terminal_timeout": "env.terminal_timeout",
    "default_model": "openai.model_name",
    "dataset": "env.dataset_name",
}
_MISSING = object()


def benchmark_settings(benchmark: Benchmark, schema: Schema = TESTING) -> list[Setting]:
    """Return a benchmark's own settings, the weakest first. Raises UsageError for a file that does not fit.

    The file of the class that names one wins over that class's attributes, and a subclass's attributes over both.
    """
    classes = list(type(benchmark).__mro__)
    classes = classes[: classes.index(Benchmark)]
    named = next((number for number, cls in enumerate(classes) if "default_config" in vars(cls)), len(classes))
    return [
        *_of_attributes(benchmark, classes[named:]),
        *(_of_file(benchmark, classes[named], schema) if named < len(classes) else ()),
        *_of_attributes(benchmark, classes[:named], vars(benchmark)),
        *(Setting(key, value, _origin(benchmark)) for key, value in benchmark.own_settings.items()),
    ]


def _origin(benchmark: Benchmark) -> Origin:
    return Origin(Layer.BENCHMARK, f"benchmark {benchmark.name}")


def _of_attributes(
    benchmark: Benchmark, classes: Sequence[type], more: Mapping[str, object] | None = None
) -> Iterator[Setting]:
    origin = _origin(benchmark)
    for attribute, key in _ATTRIBUTES.items():
        value = (more or {}).get(attribute, _MISSING)
        cls = next((cls for cls in classes if attribute in vars(cls)), None)
        if value is _MISSING and cls is not None:
            value = vars(cls)[attribute]
        elif value is _MISSING and attribute == "default_toolsets" and more is None:
            # All toolsets there are is the reference's default; for a benchmark it is those every sandbox can serve.
            value = benchmark.default_toolsets
        # A benchmark may well keep the rows it has loaded under that name.
        if value is _MISSING or (attribute == "dataset" and not isinstance(value, str)):
            continue
        if attribute == "dataset" and cls is not None and isinstance(value, str):
            beside = Path(inspect.getfile(cls)).parent / value
            value = str(beside) if beside.exists() else value
        yield Setting(key, list(value) if isinstance(value, tuple) else value, origin)


def _of_file(benchmark: Benchmark, cls: type, schema: Schema) -> list[Setting]:
    name = vars(cls)["default_config"]
    if name is None:
        return []
    from ..config.yaml_text import read_settings  # YAML is a tenth of a start, and often there is none

    path = Path(inspect.getfile(cls)).parent / name
    settings = read_settings(path, f"{benchmark.name}/{path.name}", Layer.BENCHMARK, schema)
    for setting in settings:
        # Whoever runs it says where his keys and prompts go.
        if setting.key in ("openai.base_url", "openai.api_key"):
            raise UsageError(f"{setting.origin}: a benchmark's defaults cannot set {setting.key}")
    return settings
