"""Puts faults into the code of attempts: at each `await` and `async with` of a module, which it finds by itself."""

from __future__ import annotations

import ast
import contextlib
import inspect
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any, Literal

When = Literal["before", "after"]

#: Whether the running code works on the attempt that faults are for.
CONCERNED: ContextVar[bool] = ContextVar("concerned", default=False)


@dataclass(frozen=True)
class Point:
    """One session in the source: before or after what is awaited there."""

    module: str
    function: str
    line: int
    column: int
    when: When

    def __str__(self) -> str:
        return f"{self.module.rpartition('.')[2]}-{self.function}-{self.line}.{self.column}-{self.when}"


class Injection:
    """Raises one exception, once, when the concerned attempt comes to `point`; None only takes down what is reached."""

    def __init__(self, point: Point | None, error: BaseException | None) -> None:
        self._point = point
        self._error = error
        self.reached: set[Point] = set()
        self.raised = False

    def pass_by(self, point: Point) -> None:
        if not CONCERNED.get():
            return
        self.reached.add(point)
        if point == self._point and not self.raised and self._error is not None:
            self.raised = True
            raise self._error


def points_of(module: ModuleType) -> list[Point]:
    """Return every point of a module, in the order of the source."""
    return _instrumented(module)[1]


@contextlib.contextmanager
def injected(modules: list[ModuleType], injection: Injection) -> Iterator[None]:
    """While this is open, the modules' functions pass by `injection` at each of their points."""
    undo = []
    for module in modules:
        codes, _ = _instrumented(module)
        vars(module)["__fault__"] = _Awaits(injection)
        for name, function in _functions(module):
            if (code := codes.get(name)) is not None:
                undo.append((function, function.__code__))
                function.__code__ = code
    try:
        yield
    finally:
        for function, code in undo:
            function.__code__ = code
        for module in modules:
            del vars(module)["__fault__"]


class _Awaits:
    def __init__(self, injection: Injection) -> None:
        self._injection = injection

    async def awaited(self, before: Point, after: Point, work: Any) -> Any:
        try:
            self._injection.pass_by(before)
        except BaseException:
            _close(work)
            raise
        result = await work
        self._injection.pass_by(after)
        return result

    @contextlib.asynccontextmanager
    async def entered(self, before: Point, after: Point, manager: Any) -> Any:
        self._injection.pass_by(before)
        async with manager as value:
            yield value
        self._injection.pass_by(after)


def _close(work: Any) -> None:
    """Close a coroutine that nobody awaits now, and those that were handed to it: Python would tell of them."""
    if inspect.iscoroutine(work):
        assert work.cr_frame is not None
        handed_over = list(work.cr_frame.f_locals.values())
        work.close()
        for value in handed_over:
            _close(value)


_DONE: dict[str, tuple[dict[str, CodeType], list[Point]]] = {}


def _instrumented(module: ModuleType) -> tuple[dict[str, CodeType], list[Point]]:
    """Return the code of a module's functions by qualified name, with a call of `__fault__` at each point."""
    if module.__name__ not in _DONE:
        source = inspect.getsource(module)
        transformer = _Transformer(module.__name__)
        tree = ast.fix_missing_locations(transformer.visit(ast.parse(source)))
        transformer.points.sort(key=lambda point: (point.line, point.column, point.when))
        namespace = {"Point": Point}
        code = compile(tree, inspect.getsourcefile(module) or "", "exec", dont_inherit=True)
        vars(module).update(namespace)
        _DONE[module.__name__] = dict(_codes(code)), transformer.points
    return _DONE[module.__name__]


class _Transformer(ast.NodeTransformer):
    def __init__(self, module: str) -> None:
        self._module = module
        self._path: list[str] = []
        self.points: list[Point] = []

    def _within(self, node: Any) -> Any:
        self._path.append(node.name)
        self.generic_visit(node)
        self._path.pop()
        return node

    visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = _within

    def visit_Await(self, node: ast.Await) -> ast.Await:
        self.generic_visit(node)
        node.value = self._call("awaited", node, node.value)
        return node

    def visit_AsyncWith(self, node: ast.AsyncWith) -> ast.AsyncWith:
        self.generic_visit(node)
        for item in node.items:
            item.context_expr = self._call("entered", item.context_expr, item.context_expr)
        return node

    def _call(self, kind: str, node: ast.expr, inner: ast.expr) -> ast.expr:
        arguments = []
        for when in ("before", "after"):
            point = Point(self._module, ".".join(self._path), node.lineno, node.col_offset, when)
            self.points.append(point)
            arguments.append(ast.parse(repr(point), mode="eval").body)
        function = ast.Attribute(ast.Name("__fault__", ast.Load()), kind, ast.Load())
        return ast.copy_location(ast.Call(function, [*arguments, inner], []), node)


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant.co_qualname, constant
            yield from _codes(constant)


def _functions(module: ModuleType) -> Iterator[tuple[str, FunctionType]]:
    owners = [module, *(value for value in vars(module).values() if inspect.isclass(value))]
    for owner in owners:
        for value in vars(owner).values():
            function = inspect.unwrap(value) if callable(value) else value
            if isinstance(function, FunctionType) and function.__module__ == module.__name__:
                yield function.__qualname__, function
