"""Images: there already, pulled, or built from a folder; each once, however many wait for it."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hashlib
import logging
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ...config.cache import cache_folder
from ...core.one_line import first_line
from ...errors import InfrastructureError
from ...task import SandboxSpec
from ..status import status
from .engine import Engine, root_cause
from .single_flight import SingleFlight

#: Where images that were built here are named.
_REPOSITORY = "pytest-hermes"

#: Lines of a failed build's log that an error shows.
_LOG_LINES = 5

#: How the engine says how far a build has come.
_STEP = re.compile(r"Step \d+/\d+")

#: What a builder says between the lines of a Dockerfile's own commands.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_OF_NO_INTEREST = re.compile(r" ---> |Removing intermediate container")

#: Seconds that the engine may be silent in a build; a pull has time limits of its own there.
_SILENCE = 3600

#: The time at which this process began, with the run that it is of.
_STARTED = time.time()

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Image:
    """An image that the engine has."""

    id: str
    #: Its WORKDIR, empty when it names none.
    workdir: str


class ImageGone(InfrastructureError):
    """The engine does not have an image any more that it had."""


#: In threads of their own: those of the engine are for what is short.
_images: SingleFlight[Image] = SingleFlight("hermes-image")


async def ready_image(engine: Engine, spec: SandboxSpec, platform: str | None = None) -> Image:
    """Return the image of a sandbox, pulled or built if need be; `platform` is such as `linux/amd64`.

    An image that is named is used if it is there or can be pulled; else, or when `force_build` is set, the build
    context is built. Raises InfrastructureError of kind `image` for one that cannot be had.
    """
    if spec.image is None or (spec.force_build and spec.build_context):
        return await _ready_build(engine, spec, platform)
    try:
        key = (engine.address.url, "pull", spec.image, str(platform))
        return await _images.result(key, lambda: _pulled(engine, spec.image or "", platform))
    except InfrastructureError as missing:
        if spec.build_context is None:
            raise
        _logger.warning("%s; it is built from its Dockerfile instead", missing)
        try:
            return await _ready_build(engine, spec, platform)
        except InfrastructureError as error:
            raise InfrastructureError(f"{missing}; and {error}", kind="image") from error


async def _ready_build(engine: Engine, spec: SandboxSpec, platform: str | None) -> Image:
    assert spec.build_context is not None
    context = Path(spec.build_context)
    digest = await asyncio.to_thread(_digest, context)
    key = (engine.address.url, "forced build" if spec.force_build else "build", digest, str(platform))
    return await _images.result(key, lambda: _built(engine, context, digest, platform, force=spec.force_build))


def forget_image(image: Image) -> None:
    """Let whoever needs this image next look for it anew."""
    _images.forget(image)


def _found(engine: Engine, name: str, platform: str | None = None) -> Image | None:
    """Return an image that is there, for `platform` if that is given."""
    import docker.errors

    try:
        said = cast(Any, engine.client).inspect_image(name)  # has no types
    except docker.errors.ImageNotFound:
        return None
    if platform is not None and platform.split("/")[:2] != [said.get("Os"), said.get("Architecture")]:
        return None
    return Image(said["Id"], (said.get("Config") or {}).get("WorkingDir") or "")


def _pulled(engine: Engine, name: str, platform: str | None) -> Image:
    what = f"the image {name!r} is not on this Docker engine and cannot be pulled"
    with _problems(engine, what):
        if (image := _found(engine, name, platform)) is not None:
            return image
        repository, tag = _split(name)
        failed: str | None = None
        layers: dict[str, tuple[int, int]] = {}
        with status(f"pulling {name}") as tell:
            # To their end, all of them: the SDK leaves a connection open whose answer was not read.
            for event in engine.client.pull(repository, tag=tag, stream=True, decode=True, platform=platform):
                failed = failed or event.get("error")
                if event.get("status") == "Downloading" and (detail := event.get("progressDetail") or {}).get("total"):
                    layers[str(event.get("id"))] = int(detail.get("current") or 0), int(detail["total"])
                    done, size = (sum(column) for column in zip(*layers.values(), strict=True))
                    tell(f"{done >> 20} of {size >> 20} MB")
        if failed:
            raise InfrastructureError(f"{what}: {first_line(failed)}", kind="image")
        if (image := _found(engine, name)) is None:
            raise InfrastructureError(f"the image {name!r} was pulled but is not there", kind="image")
        return image


def _split(name: str) -> tuple[str, str | None]:
    """Return repository and tag; without one, the engine would pull every tag that there is."""
    if "@" in name:
        return name, None
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, "latest")


def _built(engine: Engine, context: Path, digest: str, platform: str | None, *, force: bool) -> Image:
    name = f"{_REPOSITORY}/{_slug(context)}:{digest[:16]}"
    if platform is not None:
        name += "-" + platform.replace("/", "-")
    what = f"the image of {str(context)!r} cannot be built"
    with _problems(engine, what), _one_process_at_a_time(digest) as forced:
        # Another process of this run may have built it by force already.
        fresh = not force or _time_in(forced) > _STARTED
        if fresh and (image := _found(engine, name)) is not None:
            return image
        log: collections.deque[str] = collections.deque(maxlen=_LOG_LINES)
        failed = False
        with status(f"building {_slug(context)}") as tell:
            for event in engine.client.build(
                path=str(context),
                tag=name,
                rm=True,
                forcerm=True,
                decode=True,
                timeout=_SILENCE,
                nocache=force,
                platform=platform,
            ):
                failed = failed or "error" in event
                said = _COLOUR.sub("", str(event.get("error") or event.get("stream", "")))
                log.extend(line for line in said.splitlines() if line.strip() and not _OF_NO_INTEREST.match(line))
                if step := _STEP.match(said):
                    tell(step[0].lower())
        if failed:
            raise InfrastructureError(f"{what}: {' | '.join(log)}", kind="image")
        if (image := _found(engine, name)) is None:
            raise InfrastructureError(f"{what}: the engine has no image at the end of it", kind="image")
        if force:
            forced.write_text(str(time.time()))
        return image


@contextlib.contextmanager
def _problems(engine: Engine, what: str) -> Iterator[None]:
    import docker.errors
    import requests

    try:
        yield
    except docker.errors.APIError as error:
        if error.response is not None:
            error.response.close()
        raise InfrastructureError(f"{what}: {first_line(str(error.explanation or error))}", kind="image") from error
    except ConnectionError as error:
        raise engine.lost(error) from error
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        if isinstance(error, requests.ConnectionError):
            raise engine.lost(error) from error
        raise InfrastructureError(f"{what}: {root_cause(error)}", kind="image") from error


@contextlib.contextmanager
def _one_process_at_a_time(digest: str) -> Iterator[Path]:
    """Hold what other processes wait for that would build the same; give a file that says when that was last forced."""
    import fcntl

    path = cache_folder("locks") / f"build-{digest[:16]}"
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path.with_suffix(".forced")


def _time_in(path: Path) -> float:
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return 0.0


def _slug(context: Path) -> str:
    """Name an image after its task: `environment` is what the folder with the Dockerfile is often called."""
    name = context.parent.name if context.name == "environment" else context.name
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "image"


def _digest(context: Path) -> str:
    """Return what changes when anything in the folder does: names, modes, contents, where symlinks lead.

    Raises InfrastructureError when it cannot be read, or has no Dockerfile.
    """
    if not (context / "Dockerfile").is_file():
        raise InfrastructureError(f"there is no Dockerfile in the build context {str(context)!r}", kind="image")
    total = hashlib.sha256()
    try:
        for path in sorted(context.rglob("*")):
            mode = path.lstat().st_mode
            total.update(f"{os.fsencode(path.relative_to(context))!r} {mode:o}\n".encode())
            if path.is_symlink():
                total.update(os.fsencode(os.readlink(path)) + b"\n")
            elif path.is_file():
                with open(path, "rb") as file:
                    total.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as error:
        why = f"the build context {str(context)!r} cannot be read: {error}"
        raise InfrastructureError(why, kind="image") from error
    return total.hexdigest()
