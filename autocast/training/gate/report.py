"""What the gate finds: a result for each check, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autocast.errors import AutocastError

PASSED, WARNING, FAILED, SKIPPED = "passed", "warning", "failed", "skipped"

FINITE, GRADIENTS, BLOCKS = "finite at the start", "gradients", "every block matters"
OVERFITTING, PRECISION, TRANSLATION = "overfits one batch", "bf16 agrees with fp32", "translation"
"""What the checks are called."""

N_NAMES = 4
"""Names in a message; a result holds all of them."""


class GateError(AutocastError):
    """A model that would waste its training."""


@dataclass(frozen=True)
class CheckResult:
    """What one check found."""

    check: str
    result: str
    """One of "passed", "warning", "failed", "skipped"."""
    figure: str
    """What was measured, in words."""
    advice: str = ""
    """What to do; nothing where there is nothing to do."""
    names: tuple[str, ...] = ()
    """The parameters or modules that it is about."""
    seconds: float = 0.0


@dataclass(frozen=True)
class GateReport:
    """The results of all checks."""

    results: tuple[CheckResult, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether nothing failed; warnings do not count."""
        return not self.of(FAILED)

    def of(self, result: str) -> list[CheckResult]:
        return [found for found in self.results if found.result == result]

    @property
    def summary(self) -> str:
        """`6 checks passed in 4.1 s`, and what else there is to say."""
        told = [f"{n} {result}" for result in (FAILED, WARNING, SKIPPED) if (n := len(self.of(result)))]
        more = f", {', '.join(told)}" if told else ""
        return f"{len(self.of(PASSED))} checks passed{more}, in {self.seconds:.1f} s"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "passed": self.passed,
            "seconds": round(self.seconds, 2),
            "checks": [{**asdict(found), "seconds": round(found.seconds, 2)} for found in self.results],
        }

    def raise_if_failed(self, remedy: str) -> None:
        """
        Args:
            remedy: What to do, whatever has failed.

        Raises:
            GateError: Naming every check that failed, what it found and what to do about it.
        """
        failed = self.of(FAILED)
        if failed:
            told = " ".join(f"{found.check}: {found.figure}. {found.advice}".rstrip() for found in failed)
            checks = "1 check" if len(failed) == 1 else f"{len(failed)} checks"
            raise GateError(
                f"the sanity gate stopped the training before its first step ({checks} failed). {told} {remedy}"
            )


def listed(names: Sequence[str]) -> str:
    """`a, b, c, d and 3 more`."""
    more = f" and {len(names) - N_NAMES} more" if len(names) > N_NAMES else ""
    return ", ".join(names[:N_NAMES]) + more
