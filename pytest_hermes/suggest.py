"""Where messages for a name that does not exist are taken from; they are made in `core`."""

from __future__ import annotations

from .core.suggest import unknown as unknown
