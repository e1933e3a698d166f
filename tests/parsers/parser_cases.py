"""Model outputs of each format, written out as the models' chat templates write them, and what is in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer"},
                    "now": {"type": "boolean"},
                },
            },
        },
    },
    {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}},
    {
        "type": "function",
        "function": {
            "name": "write_file",
            "parameters": {
                "type": "object",
                "properties": {
                    "path": {"type": "string"},
                    "text": {"type": "string"},
                    "options": {"type": "object"},
                    "lines": {"type": "array"},
                },
            },
        },
    },
]

WEATHER = ("weather", {"city": "東京", "days": 3, "now": True})
TIME: tuple[str, dict[str, Any]] = ("time", {})
CODE = ("write_file", {"path": "a.py", "text": 'def f(x):\n    if x < 1:\n\treturn "a\\n"\n\n'})
NESTED = ("write_file", {"options": {"mode": {"bits": [6, 4, None]}, "é": 1.5}, "lines": [["a"], {}]})

Calls = list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Format:
    """Texts of one format; each of them makes the calls its field is named after."""

    name: str
    normal: str
    parallel: str
    no_arguments: str
    code: str
    nested: str
    opener: str
    """How far a call gets when sampling breaks off inside of its first argument."""
    malformed: tuple[str, ...]
    """Texts that hold no call, though they look like one."""


def tagged(name: str, opener: str, closer: str) -> Format:
    def call(text: str) -> str:
        return f"{opener}\n{text}\n{closer}"

    weather = '{"name": "weather", "arguments": {"city": "東京", "days": 3, "now": true}}'
    return Format(
        name=name,
        normal=call(weather),
        parallel="\n".join([call(weather), call('{"name": "time", "arguments": {}}'), call(weather)]),
        no_arguments=call('{"name": "time", "arguments": {}}'),
        code=call(
            '{"name": "write_file", "arguments": {"path": "a.py", "text": '
            r'"def f(x):\n    if x < 1:\n\treturn \"a\\n\"\n\n"}}'
        ),
        nested=call(
            '{"name": "write_file", "arguments": {"options": {"mode": {"bits": [6, 4, null]}, "é": 1.5}, '
            '"lines": [["a"], {}]}}'
        ),
        opener=f'{opener}\n{{"name": "weather", "arguments": {{"city": "',
        malformed=(
            call("weather"),
            call("{}"),
            call('{"name": "weather"}'),
            call('{"name": "weather", "parameters": {}}'),
            call('{"name": "", "arguments": {}}'),
            call('{"name": 3, "arguments": {}}'),
            call('{"name": "weather", "arguments": []}'),
            call('{"name": "weather", "arguments": null}'),
            call('{"name": "weather", "arguments": "{}"}'),
            call('{"name": "weather", "arguments": {}'),
            call('{"name": "weather", "arguments": {}}}'),
            call('{"name": "weather", "arguments": {"a": NaN}}'),
            call('{"name": "weather", "arguments": {"a": 1e999}}'),
            call('{"name": "weather", "arguments": {"a": ' + "9" * 5000 + "}}"),
            call('{"name": "weather", "arguments": {"a": 1,}}'),
            call("{'name': 'weather', 'arguments': {}}"),
            call('{"name": "weather", "arguments": {"a": "line\nline"}}'),
            call('{"name": "weather", "arguments": ' + '{"a": ' * 2000 + "1" + "}" * 2001),
            call('[{"name": "weather", "arguments": {}}]'),
            f'{opener}{{"name": "weather", "arguments": {{}}}} and so on{closer}',
            f'{opener}{{"name": "weather", "arguments": {{}}}}',
            f'{{"name": "weather", "arguments": {{}}}}{closer}',
        ),
    )


def deepseek(name: str, before: str, fence: str, after: str) -> Format:
    begin, end = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"
    glue = "\n" if before else ""

    def call(tool: str, arguments: str) -> str:
        return f"<｜tool▁call▁begin｜>{before}{tool}{fence}{arguments}{after}<｜tool▁call▁end｜>"

    weather = call("weather", '{"city": "東京", "days": 3, "now": true}')
    return Format(
        name=name,
        normal=begin + weather + end,
        parallel=begin + glue.join([weather, call("time", "{}"), weather]) + end,
        no_arguments=begin + call("time", "{}") + end,
        code=begin
        + call("write_file", r'{"path": "a.py", "text": "def f(x):\n    if x < 1:\n\treturn \"a\\n\"\n\n"}')
        + end,
        nested=begin
        + call(
            "write_file",
            '{\n  "options": {"mode": {"bits": [6, 4, null]}, "é": 1.5},\n  "lines": [["a"], {}]\n}',
        )
        + end,
        opener=f'{begin}<｜tool▁call▁begin｜>{before}weather{fence}{{"city": "',
        malformed=(
            weather,
            begin + end,
            begin + call("weather", "") + end,
            begin + call("weather", "[]") + end,
            begin + call("weather", '"{}"') + end,
            begin + call("weather", "{'city': 'x'}") + end,
            begin + call("weather", '{"city": "x",}') + end,
            begin + call("weather", '{"city": "x\ny"}') + end,
            begin + call("weather", '{"city": NaN}') + end,
            begin + call("", "{}") + end,
            begin + call("weather", "{}").removesuffix("<｜tool▁call▁end｜>") + end,
            begin + call("weather", "{} {}") + end,
            end + weather + begin,
        ),
    )


def kimi() -> Format:
    begin, end = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"

    def call(call_id: str, arguments: str) -> str:
        return f"<|tool_call_begin|>{call_id}<|tool_call_argument_begin|>{arguments}<|tool_call_end|>"

    weather = call("functions.weather:0", '{"city": "東京", "days": 3, "now": true}')
    return Format(
        name="kimi_k2",
        normal=begin + weather + end,
        parallel=begin
        + weather
        + call("functions.time:1", "{}")
        + call("functions.weather:2", '{"city": "東京", "days": 3, "now": true}')
        + end,
        no_arguments=begin + call("functions.time:7", "{}") + end,
        code=begin
        + call(
            "functions.write_file:0",
            r'{"path": "a.py", "text": "def f(x):\n    if x < 1:\n\treturn \"a\\n\"\n\n"}',
        )
        + end,
        nested=begin
        + call(
            "functions.write_file:0",
            '{"options": {"mode": {"bits": [6, 4, null]}, "é": 1.5}, "lines": [["a"], {}]}',
        )
        + end,
        opener=begin + '<|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{"city": "',
        malformed=(
            weather,
            begin + end,
            begin + call("weather", "{}") + end,
            begin + call("functions.weather", "{}") + end,
            begin + call(":0", "{}") + end,
            begin + call("functions.weather:0", "") + end,
            begin + call("functions.weather:0", "[1]") + end,
            begin + call("functions.weather:0", '{"city": "x",}') + end,
            begin + call("functions.weather:0", "{'city': 'x'}") + end,
            begin + call("functions.weather:0", '{"city": -Infinity}') + end,
            begin + call("functions.weather:0", "{}").removesuffix("<|tool_call_end|>") + end,
        ),
    )


def parameters(name: str, head: str, key: str, value: str, tail: str, glue: str) -> Format:
    """`head` has `{name}` in it, `key` has `{key}`; `value` and `tail` close an argument and the call."""

    def call(tool: str, **arguments: str) -> str:
        pairs = "".join(key.format(key=one) + text + value for one, text in arguments.items())
        return head.format(name=tool) + pairs + tail

    weather = call("weather", city="東京", days="3", now="true")
    return Format(
        name=name,
        normal=weather,
        parallel=glue.join([weather, call("time"), weather]),
        no_arguments=call("time"),
        code=call("write_file", path="a.py", text='def f(x):\n    if x < 1:\n\treturn "a\\n"\n\n'),
        nested=call("write_file", options='{"mode": {"bits": [6, 4, null]}, "é": 1.5}', lines='[["a"], {}]'),
        opener=head.format(name="weather") + key.format(key="city"),
        malformed=(
            head.format(name="") + tail,
            head.format(name="weather") + " city" + tail,
            head.format(name="weather") + key.format(key="city") + "x" + tail,
            head.format(name="weather") + key.format(key="") + "x" + value + tail,
            head.format(name="weather") + "x" + value + tail,
            weather[: weather.rindex("</")],
            weather[weather.index(">") + 1 :],
            '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>',
        ),
    )


def llama() -> Format:
    weather = '{"name": "weather", "parameters": {"city": "東京", "days": 3, "now": true}}'
    return Format(
        name="llama3_json",
        normal="<|python_tag|>" + weather,
        parallel=weather + "; " + '{"type": "function", "name": "time", "parameters": {}}' + "\n" + weather,
        no_arguments='{"name": "time", "parameters": {}}',
        code='{"name": "write_file", "parameters": {"path": "a.py", "text": '
        r'"def f(x):\n    if x < 1:\n\treturn \"a\\n\"\n\n"}}',
        nested='{"name": "write_file", "arguments": {"options": {"mode": {"bits": [6, 4, null]}, "é": 1.5}, '
        '"lines": [["a"], {}]}}',
        opener='{"name": "weather", "parameters": {"city": "',
        malformed=(
            "{}",
            '{"name": "weather"}',
            '{"name": "weather", "parameters": []}',
            '{"name": "weather", "parameters": "{}"}',
            '{"name": "weather", "parameters": {"city": "x",}}',
            '{"name": "weather", "parameters": {"city": NaN}}',
            "{'name': 'weather', 'parameters': {}}",
            '{"name": "weather", "parameters": {"city": "x\ny"}}',
            '{"name": "weather", "parameters": {}',
            'It takes `{"name": "weather", "parameters": {}}`.',
            '{"tools": [{"name": "weather", "parameters": {}}]}',
            '{"call": {"name": "weather", "parameters": {}}',
        ),
    )


def mistral() -> Format:
    weather = '{"city": "東京", "days": 3, "now": true}'
    return Format(
        name="mistral",
        normal=f'[TOOL_CALLS] [{{"name": "weather", "arguments": {weather}}}]',
        parallel=f"[TOOL_CALLS]weather[ARGS]{weather}[TOOL_CALLS]time[CALL_ID]a1B2c3D4e[ARGS]{{}}"
        f"[TOOL_CALLS]weather[ARGS]{weather}",
        no_arguments='[TOOL_CALLS][{"name": "time", "arguments": {}, "id": "a1B2c3D4e"}]',
        code="[TOOL_CALLS]write_file[ARGS]"
        r'{"path": "a.py", "text": "def f(x):\n    if x < 1:\n\treturn \"a\\n\"\n\n"}',
        nested='[TOOL_CALLS] [{"name": "write_file", "arguments": '
        '{"options": {"mode": {"bits": [6, 4, null]}, "é": 1.5}, "lines": [["a"], {}]}}]',
        opener='[TOOL_CALLS]weather[ARGS]{"city": "',
        malformed=(
            "[TOOL_CALLS]",
            "[TOOL_CALLS] []",
            '[TOOL_CALLS] [{"name": "weather"}]',
            '[TOOL_CALLS] [{"name": "weather", "arguments": "{}"}]',
            '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "x",}}]',
            "[TOOL_CALLS] [{'name': 'weather', 'arguments': {}}]",
            '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "x"}',
            '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "x"}}',
            '[TOOL_CALLS]weather[ARGS]["x"]',
            "[TOOL_CALLS]weather{}",
            "[TOOL_CALLS][ARGS]{}",
            "[TOOL_CALLS]weather[CALL_ID]short[ARGS]{}",
            'weather[ARGS]{"city": "x"}',
            '[{"name": "weather", "arguments": {}}]',
        ),
    )


def array(name: str, opener: str, closer: str) -> Format:
    def calls(*objects: str) -> str:
        return f"{opener}[{', '.join(objects)}]{closer}"

    weather = '{"name": "weather", "arguments": {"city": "東京", "days": 3, "now": true}}'
    time = '{"name": "time", "arguments": {}}'
    return Format(
        name=name,
        normal=calls(weather),
        parallel=calls(weather, time, weather),
        no_arguments=calls(time),
        code=calls(
            '{"name": "write_file", "arguments": {"path": "a.py", "text": '
            r'"def f(x):\n    if x < 1:\n\treturn \"a\\n\"\n\n"}}'
        ),
        nested=calls(
            '{"name": "write_file", "arguments": {"options": {"mode": {"bits": [6, 4, null]}, "é": 1.5}, '
            '"lines": [["a"], {}]}}'
        ),
        opener=opener + '[{"name": "weather", "arguments": {"city": "',
        malformed=(
            opener,
            calls(),
            calls("1"),
            calls('{"name": "weather"}'),
            calls('{"name": "weather", "arguments": "{}"}'),
            calls('{"name": "weather", "arguments": {"a": NaN}}'),
            calls("{'name': 'weather', 'arguments': {}}"),
            weather,
            f"[{weather}]",
            f'{opener}[{{"name": "weather", "arguments": {{"a": 1}}',
        ),
    )


def sectioned_parameters(
    name: str, section: tuple[str, str], head: str, key: str, value: str, tail: str, text_key: str = ""
) -> Format:
    """As `parameters`, between the tags of a section; strings may have another opening than other values."""

    def call(tool: str, **arguments: str) -> str:
        texts = ("city", "path", "text")
        pairs = "".join(
            (text_key if text_key and one in texts else key).format(key=one) + text + value
            for one, text in arguments.items()
        )
        return head.format(name=tool) + pairs + tail

    def calls(*one: str) -> str:
        return section[0] + "\n" + "\n".join(one) + "\n" + section[1]

    weather = call("weather", city="東京", days="3", now="true")
    return Format(
        name=name,
        normal=calls(weather),
        parallel=calls(weather, call("time"), weather),
        no_arguments=calls(call("time")),
        code=calls(call("write_file", path="a.py", text='def f(x):\n    if x < 1:\n\treturn "a\\n"\n\n')),
        nested=calls(call("write_file", options='{"mode": {"bits": [6, 4, null]}, "é": 1.5}', lines='[["a"], {}]')),
        opener=section[0] + head.format(name="weather") + key.format(key="city"),
        malformed=(
            weather,
            calls(),
            section[1] + weather + section[0],
            calls(head.format(name="") + tail),
            calls(head.format(name="weather") + " city" + tail),
            calls(head.format(name="weather") + key.format(key="city") + "x" + tail),
            calls(head.format(name="weather") + "x" + value + tail),
        ),
    )


def pythonic(name: str, opener: str, separator: str, closer: str) -> Format:
    def calls(*one: str) -> str:
        return opener + separator.join(one) + closer

    weather = 'weather(city="東京", days=3, now=True)'
    return Format(
        name=name,
        normal=calls(weather),
        parallel=calls(weather, "time( )", "weather(city='\\u6771京' , days = 3, now=True,)"),
        no_arguments=calls("time()"),
        code=calls(
            'write_file(path="a.py", text='
            r"'def f(x):\n    if x < 1:\n\treturn \"a\\n\"\n\n')"
        ),
        nested=calls('write_file(options={"mode": {"bits": [6, 4, None]}, "é": 1.5}, lines=[["a"], {}])'),
        opener=opener + 'weather(city="',
        malformed=(
            opener + closer,
            weather,
            calls("weather(3)"),
            calls("weather(city=place)"),
            calls("weather(city=f'x')"),
            calls("weather(city=1 + 1)"),
            calls("weather(city=nan)"),
            calls("weather(city=1e999)"),
            calls("weather(city=b'x')"),
            calls("weather(city={1: 2})"),
            calls("weather(city='x', city='y')"),
            calls('weather(city="x\ny")'),
            calls("weather(city=" + "[" * 200 + "]" * 200 + ")"),
            calls("weather(city='x'"),
            calls("weather(city='x') + 1"),
            opener + weather[:-1],
        ),
    )


def gpt_oss() -> Format:
    def call(name: str, arguments: str) -> str:
        return f"<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{arguments}<|call|>"

    weather = call("weather", '{"city": "東京", "days": 3, "now": true}')
    return Format(
        name="gpt_oss",
        normal=weather,
        parallel=weather
        + "<|start|>assistant to=functions.time<|channel|>commentary json<|message|>{}<|call|>"
        + "<|start|>assistant"
        + weather,
        no_arguments=call("time", "{}"),
        code=call("write_file", r'{"path": "a.py", "text": "def f(x):\n    if x < 1:\n\treturn \"a\\n\"\n\n"}'),
        nested=call("write_file", '{"options": {"mode": {"bits": [6, 4, null]}, "é": 1.5}, "lines": [["a"], {}]}'),
        opener='<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city": "',
        malformed=(
            call("weather", ""),
            call("weather", "[]"),
            call("weather", "{'city': 1}"),
            call("", "{}"),
            '<|channel|>commentary<|message|>{"city": 1}<|call|>',
            '<|channel|>commentary to=python <|message|>{"city": 1}<|call|>',
            '<|channel|>final<|message|>{"city": 1}<|return|>',
        ),
    )


def gemma4() -> Format:
    def call(name: str, arguments: str) -> str:
        return f"<|tool_call>call:{name}{{{arguments}}}<tool_call|>".replace("`", '<|"|>')

    weather = call("weather", "city:`東京`,days:3,now:true")
    return Format(
        name="gemma4",
        normal=weather,
        parallel=weather + call("time", "") + call("weather", "city: 東京 , `days`:3, now:true"),
        no_arguments=call("time", ""),
        code=call("write_file", 'path:`a.py`,text:`def f(x):\n    if x < 1:\n\treturn "a\\n"\n\n`'),
        nested=call("write_file", "options:{mode:{bits:[6,4,null]},é:1.5},lines:[[`a`],{}]"),
        opener='<|tool_call>call:weather{city:<|"|>',
        malformed=(
            call("", ""),
            call("weather", "city"),
            call("weather", "city:"),
            call("weather", "city:`x"),
            call("weather", "city:[1,2"),
            call("weather", "city:1 days:{}"),
            call("weather", "city:" + "[" * 200 + "]" * 200),
            "<|tool_call>weather{}<tool_call|>",
            "<|tool_call>call:weather{}",
        ),
    )


FORMATS = {
    one.name: one
    for one in (
        tagged("hermes", "<tool_call>", "</tool_call>"),
        tagged("qwen", "<tool_call>", "</tool_call>"),
        tagged("longcat", "<longcat_tool_call>", "</longcat_tool_call>"),
        deepseek("deepseek_v3", "function<｜tool▁sep｜>", "\n```json\n", "\n```"),
        deepseek("deepseek_v3_1", "", "<｜tool▁sep｜>", ""),
        kimi(),
        parameters(
            "qwen3_coder",
            "<tool_call>\n<function={name}>\n",
            "<parameter={key}>\n",
            "\n</parameter>\n",
            "</function>\n</tool_call>",
            "\n",
        ),
        parameters(
            "glm45",
            "<tool_call>{name}\n",
            "<arg_key>{key}</arg_key>\n<arg_value>",
            "</arg_value>\n",
            "</tool_call>",
            "\n",
        ),
        parameters(
            "glm47",
            "<tool_call>{name}",
            "<arg_key>{key}</arg_key><arg_value>",
            "</arg_value>",
            "</tool_call>",
            "",
        ),
        llama(),
        mistral(),
        array("granite", "<|tool_call|>", ""),
        array("hunyuan", "<tool_calls>", "</tool_calls>"),
        array("phi4", "functools", ""),
        parameters(
            "seed_oss",
            "<seed:tool_call>\n<function={name}>\n",
            "<parameter={key}>\n",
            "\n</parameter>\n",
            "</function>\n</seed:tool_call>",
            "\n",
        ),
        sectioned_parameters(
            "minimax_m2",
            ("<minimax:tool_call>", "</minimax:tool_call>"),
            '<invoke name="{name}">\n',
            '<parameter name="{key}">',
            "</parameter>\n",
            "</invoke>",
        ),
        sectioned_parameters(
            "deepseek_v3_2",
            ("<｜DSML｜function_calls>", "</｜DSML｜function_calls>"),
            '<｜DSML｜invoke name="{name}">\n',
            '<｜DSML｜parameter name="{key}" string="false">',
            "</｜DSML｜parameter>\n",
            "</｜DSML｜invoke>",
            '<｜DSML｜parameter name="{key}" string="true">',
        ),
        sectioned_parameters(
            "step3",
            ("<｜tool_calls_begin｜>", "<｜tool_calls_end｜>"),
            '<｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="{name}">',
            '<steptml:parameter name="{key}">',
            "</steptml:parameter>",
            "</steptml:invoke><｜tool_call_end｜>",
        ),
        pythonic("llama4_pythonic", "<|python_start|>[", ", ", "]<|python_end|>"),
        pythonic("olmo3", "<function_calls>", "\n", "</function_calls>"),
        gpt_oss(),
        gemma4(),
    )
}

BARE_TEXT = ("qwen3_coder", "glm45", "glm47", "seed_oss", "minimax_m2", "step3")
"""The formats whose values have no type of their own."""

NO_ESCAPES = (*BARE_TEXT, "deepseek_v3_2", "gemma4", "llama4_pythonic", "olmo3")
"""The formats that cannot write every value, or every key."""


def plain(tool_calls: Iterable[Mapping[str, Any]]) -> Calls:
    """The names and arguments of parsed calls; fails if arguments are not strict JSON of an object."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not strict JSON")

    calls = []
    for call in tool_calls:
        arguments = json.loads(call["function"]["arguments"], parse_constant=refuse)
        assert isinstance(arguments, dict)
        calls.append((call["function"]["name"], arguments))
    return calls


def openai(calls: Calls) -> list[dict[str, Any]]:
    return [{"name": name, "arguments": arguments} for name, arguments in calls]
