"""What a user reads before and after the work: the rows of opening and closing panels, and progress between them."""

from autocast.panels.comparing import compared, comparison_tables, typed
from autocast.panels.costs import benchmarked, measured_run
from autocast.panels.data import inspected, simulated
from autocast.panels.evaluating import evaluated, evaluation, forecasted, headline, provenance, reported
from autocast.panels.progress import Progress, display
from autocast.panels.sampling import sampled
from autocast.panels.training import cached, caching, checked, estimated, measured, trained, training

__all__ = [
    "Progress", "benchmarked", "cached", "caching", "checked", "compared", "comparison_tables", "display", "estimated",
    "evaluated", "evaluation", "forecasted", "headline", "inspected", "measured", "measured_run", "provenance",
    "reported", "sampled", "simulated", "trained", "training", "typed",
]  # fmt: skip
