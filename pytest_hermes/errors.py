"""What can go wrong, by whose doing: the user's, the infrastructure's, or a backend that cannot."""

from __future__ import annotations


class HermesError(Exception):
    """Base of every error this package raises on purpose. Its text is one line, fit for a user."""


class UsageError(HermesError):
    """The user asked for something that does not exist or does not fit; the text says what to do."""


class InfrastructureError(HermesError):
    """Something other than the agent failed: an engine, an image, the network, an endpoint, a verifier.

    An attempt that ends with it is an `error`: it never counts as a failure of the model.
    `kind` is a short machine-readable word, e.g. `sandbox`, `endpoint`, `verifier`.
    """

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class Refused(InfrastructureError):
    """What every attempt needs is refused: a key, credit, a model, an image. The whole run cannot go on."""

    def __init__(self, message: str, *, kind: str = "endpoint") -> None:
        super().__init__(message, kind=kind)


class Unsupported(HermesError):
    """A task needs what this sandbox backend or model cannot give; its attempts are skipped, with this reason."""
