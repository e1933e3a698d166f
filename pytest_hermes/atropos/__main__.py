"""`python -m pytest_hermes.atropos` is `hermes-env`."""

from __future__ import annotations

from .main import main

raise SystemExit(main())
