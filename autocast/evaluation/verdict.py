"""Is it any good? An evaluation in a few marked sentences: the report's first screen and the closing panel."""

from __future__ import annotations

from autocast.evaluation.findings import Finding
from autocast.evaluation.result import EvaluationResult as Result
from autocast.evaluation.verdict_accuracy import accuracy, baselines, cost, floor, rollout, simulators
from autocast.evaluation.verdict_autoencoder import latents, loss, reach, sharpness
from autocast.evaluation.verdict_calibration import calibration, reliability, spread
from autocast.evaluation.verdict_trust import blow_up, stability, stress, valid_time


def verdict(result: Result) -> list[Finding]:
    """What an evaluation found, the most important first."""
    if result.reconstructs:
        findings = [stability(result), loss(result), reach(result), sharpness(result), latents(result), cost(result)]
        return [finding for finding in findings if finding]
    findings = [
        stability(result), baselines(result), accuracy(result), valid_time(result), blow_up(result),
        spread(result), reliability(result), calibration(result), floor(result), rollout(result),
        stress(result), cost(result), simulators(result),
    ]  # fmt: skip
    return [finding for finding in findings if finding]
