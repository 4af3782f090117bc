"""What every score is, in words and numbers: formula, unit, variant, source, pitfalls. Imports nothing heavy.

In formulas `y` is the truth, `x` a forecast, `x_m` one of `M` members, `X` their mean, `<.>` an average over space.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from autocast.errors import ConfigError

MEMBER, MEAN, ENSEMBLE = "member", "mean", "ensemble"
BANDS = ("low", "mid", "high", "tail")

VRMSE_EPS = 1e-7
"""Added to the variance of the truth, as The Well does."""
LOLA_EPS = 1e-6
"""Added to the variance of the truth, as LOLA does."""
ALPHA = 0.95
"""Share of the fair score in the almost fair one, as AIFS-CRPS has it."""
MAX_LEVELS = 19
"""Central intervals that are looked at, at most."""
WINKLER_LEVEL = 0.8
"""The score `winkler` is of the rank interval whose level is nearest to this; the wider one of two."""
FINE_FLOOR = 1e-4
"""Share of the truth's variance that is no fine structure yet: a hundredth of its amplitude."""
ENDLESS = 1e6
"""Steps: more than any rollout has."""
INTERPOLATED_LEVELS = tuple(i / 20 for i in range(1, 20))
VARIOGRAM_ORDER = 0.5
VARIOGRAM_PAIRS, VARIOGRAM_SEED = 1024, 0
"""Pairs of points of the variogram score, and what they are drawn with."""
VALID_CORRELATION = 0.8
VALID_SSR = (0.8, 1.25)
BLOW_UP_RANGES = 5
"""A member that errs somewhere by more than so many times the range of its trajectory's truth has blown up."""


@dataclass(frozen=True)
class Entry:
    """A score, described.

    A score of single forecasts has the kinds `member` (the average of the members' scores) and `mean` (the score of
    their mean). A pooled one is the formula of what is averaged over trajectories and lead times (a ratio of means);
    any other is the average of the formula over them (a mean of ratios).
    """

    name: str
    formula: str
    kinds: tuple[str, ...] = (MEMBER, MEAN)
    unit_power: int = 1
    """1: the field's unit, 2: its square, 0: a pure number."""
    counts_steps: bool = False
    """One number for each trajectory, in steps, rather than one for each lead time."""
    pooled: bool = False
    min_members: int = 1
    ideal: float | None = 0.0
    """What a perfect forecast scores: the nearer, the better. None where there is no better or worse."""
    variant: str = ""
    source: str = ""
    pitfalls: tuple[str, ...] = ()

    def kinds_of(self, n_members: int) -> tuple[str, ...]:
        """The kinds that an ensemble of this size has: one member is its own mean, and has no spread."""
        if n_members < self.min_members:
            return ()
        if n_members > 1:
            return self.kinds
        return tuple(dict.fromkeys(MEMBER if kind == MEAN else kind for kind in self.kinds))

    def unit(self, field_unit: str) -> str:
        """The score's unit for a field's; "" stays unknown."""
        if self.counts_steps:
            return "steps"
        if self.unit_power == 0:
            return "1"
        if self.unit_power == 1 or not field_unit:
            return field_unit
        return f"{field_unit}²" if field_unit.isalpha() else f"({field_unit})²"

    @property
    def unit_text(self) -> str:
        """The unit in words, of whatever field."""
        return "the field's²" if self.unit_power == 2 else self.unit("") or "the field's"

    @property
    def average(self) -> str:
        """How trajectories and lead times are averaged."""
        if self.counts_steps:
            return "the mean over trajectories"
        if self.pooled:
            return "pooled: the formula of means over trajectories and lead times"
        return "the mean of the formula over trajectories and lead times"


_THE_WELL = "The Well (Ohana et al., 2024), https://arxiv.org/abs/2412.00568"
_LOLA = "Lost in Latent Space (Rozet et al., 2025), https://arxiv.org/abs/2507.02608, and its code"
_PDEBENCH = "PDEBench (Takamoto et al., 2022), https://arxiv.org/abs/2210.07182, and its code"
_GNEITING = "Strictly Proper Scoring Rules (Gneiting and Raftery, 2007), https://doi.org/10.1198/016214506000001437"
_FERRO = "Fair scores for ensemble forecasts (Ferro, 2014), https://doi.org/10.1002/qj.2270"
_LANG = "AIFS-CRPS (Lang et al., 2024), https://arxiv.org/abs/2412.15832"
_FORTIN = "Why Should Ensemble Spread Match the RMSE? (Fortin et al., 2014), https://doi.org/10.1175/JHM-D-14-0008.1"
_HAMILL = (
    "Interpretation of Rank Histograms (Hamill, 2001), https://doi.org/10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2"
)
_SCHEUERER = (
    "Variogram-Based Proper Scoring Rules (Scheuerer and Hamill, 2015), https://doi.org/10.1175/MWR-D-14-00269.1"
)
_HYNDMAN = "Sample Quantiles in Statistical Packages (Hyndman and Fan, 1996), https://doi.org/10.2307/2684934, type 7"

_BLUR = "The mean of an ensemble errs less than its members by construction: compare like kinds."
_ROOTS = "Of a window it is a mean of roots, not the root of a mean."
_FLAT = "Large where the truth itself is nearly constant in space."
_OFFSET = "Small for a field with a large mean, however wrong its structure: see vrmse."
_FEW = "Depends on the number of members: compare ensembles of the same size."
_CANCEL = "Over several lead times too little spread at some and too much at others cancel: look at it by lead time."
_CONSERVED = "Says something only where the quantity is conserved: compare with the truth's, the row `reconstruction`."


def _short(number: float) -> str:
    """1e-7 rather than 1e-07."""
    return f"{number:g}".replace("e-0", "e-")


def _single(
    name: str,
    formula: str,
    *pitfalls: str,
    power: int = 1,
    ideal: float = 0.0,
    variant: str = "",
    source: str = "",
) -> Entry:
    return Entry(name, formula, unit_power=power, ideal=ideal, variant=variant, source=source, pitfalls=pitfalls)


def _crps(name: str, formula: str, source: str, *pitfalls: str) -> Entry:
    return Entry(name, formula, (ENSEMBLE,), source=source, pitfalls=(*pitfalls, "Of one member: its absolute error."))


def _ensemble(
    name: str,
    formula: str,
    source: str,
    *pitfalls: str,
    power: int = 1,
    ideal: float | None = 0.0,
    pooled: bool = True,
    variant: str = "",
) -> Entry:
    return Entry(
        name,
        formula,
        (ENSEMBLE,),
        unit_power=power,
        pooled=pooled,
        min_members=2,
        ideal=ideal,
        variant=variant,
        source=source,
        pitfalls=pitfalls,
    )


def _psrmse(band: str) -> Entry:
    return _single(
        f"psrmse_{band}",
        f"sqrt of the mean over the shells of the {band} band of (1 - P_x / P_y)², P the isotropic power spectrum",
        "Shells where the truth has no power beyond rounding are left out; nan where a band has no other.",
        "No taper: across an edge that is not periodic a jump shows at all k.",
        "Blind to phases: see coherence.",
        power=0,
        variant="bands equally wide in log k, up to the smallest Nyquist wavenumber",
    )


def _coherence(band: str) -> Entry:
    return _single(
        f"coherence_{band}",
        f"mean over the shells of the {band} band of abs(sum F_x conj(F_y)) / sqrt(sum abs(F_x)² sum abs(F_y)²), "
        "F the Fourier modes, the sums over the modes of a shell",
        "Higher is better. Of n independent modes without any relation it is about sqrt(2 / (pi n)), not 0: small in "
        "the wide shells at high k, .3 in the first one in two dimensions, .64 in all of them in one dimension.",
        "The modulus does not tell a field from its negative: see correlation.",
        power=0,
        ideal=1.0,
        variant="the modulus is taken after the sum: taken before, independent fields would score pi / 4",
    )


_ENTRIES = (
    _single("mse", "<(x - y)²>", _BLUR, power=2),
    _single("mae", "<abs(x - y)>", _BLUR),
    _single("rmse", "sqrt <(x - y)²>", _BLUR, _ROOTS),
    _single("nmse", "<(x - y)²> / <y²>", _OFFSET, power=0),
    _single("nmae", "<abs(x - y)> / <abs(y)>", _OFFSET, power=0),
    _single("nrmse", "sqrt(<(x - y)²> / <y²>)", _OFFSET, _ROOTS, power=0),
    _single(
        "vmse",
        f"<(x - y)²> / (Var(y) + {_short(VRMSE_EPS)})",
        _FLAT,
        power=0,
        variant="unbiased variance over space",
        source=_THE_WELL,
    ),
    _single(
        "vrmse",
        f"sqrt(<(x - y)²> / (Var(y) + {_short(VRMSE_EPS)}))",
        "Near 1 is a forecast of the spatial mean.",
        _FLAT,
        _ROOTS,
        power=0,
        variant="unbiased variance over space",
        source=_THE_WELL,
    ),
    _single(
        "vrmse@well",
        "sqrt(<(x - y)²> / (Std(y)² + 1e-7))",
        "The same as vrmse, which follows it: here so that a table can name it.",
        "The published tables are of single forecasts: compare the kind member.",
        power=0,
        variant="The Well's: unbiased standard deviation over space",
        source=_THE_WELL,
    ),
    _single(
        "vrmse@lola",
        f"sqrt(<(x - y)²> / (Var(y) + {_short(LOLA_EPS)}))",
        "The published tables are of the mean of 16 members: compare the kind mean with as many.",
        power=0,
        variant="LOLA's: unbiased variance over space and another eps",
        source=_LOLA,
    ),
    _single(
        "nrmse@pdebench",
        "sqrt <(x - y)²> / sqrt <y²>, averaged as a ratio",
        "The same as nrmse at every lead time. PDEBench's averages over time contain the initial frames, whose error "
        "is 0: multiply a mean over T forecast steps by T / (T + initial steps) to compare with its tables.",
        power=0,
        variant="PDEBench's: a mean of ratios",
        source=_PDEBENCH,
    ),
    _single("linf", "largest abs(x - y) in space", "One point decides; it grows with the number of points."),
    _single(
        "correlation",
        "Pearson's correlation of x and y over space",
        "Higher is better. Blind to a shift and a positive factor; nan where one is constant.",
        power=0,
        ideal=1.0,
    ),
    _single(
        "high_frequency_ratio",
        f"(<x_h²> + f) / (<y_h²> + f), f = {_short(FINE_FLOOR)} Var(y), h what there is at waves shorter than 4 points",
        "Below 1 is blurred, above 1 rough: both are losses.",
        "Blind to phases: see coherence.",
        "The mean of an ensemble is blurred by construction: compare like kinds.",
        power=0,
        ideal=1.0,
        variant="isotropic, 4 points of the axis with the widest ones: the upper half of wavenumbers, corners included",
    ),
    *map(_psrmse, BANDS),
    *map(_coherence, BANDS),
    _crps("crps", "mean_m <abs(x_m - y)> - S / (2 M²), S the sum of <abs(x_m - x_n)> over all pairs", _GNEITING, _FEW),
    _crps("crps_fair", "mean_m <abs(x_m - y)> - S / (2 M (M - 1)), S as in crps", _FERRO),
    _crps(
        "crps_almost_fair",
        f"mean_m <abs(x_m - y)> - (1 - eps) S / (2 M (M - 1)), eps = (1 - {ALPHA}) / M, S as in crps",
        _LANG,
        "Depends on the number of members a little: by 1 / M of a twentieth of the pair term.",
    ),
    _ensemble(
        "spread", "sqrt of the mean of <Var_m(x_m)>", _FORTIN, ideal=None, variant="unbiased variance of the members"
    ),
    _ensemble("skill", "sqrt of the mean of <(X - y)²>", _FORTIN, _FEW),
    _ensemble(
        "ssr",
        "sqrt((M + 1) / M) spread / skill",
        _FORTIN,
        "1 where the spread fits the error, less where members are too sure. " + _CANCEL,
        power=0,
        ideal=1.0,
        variant="a ratio of roots of means, not a mean of ratios",
    ),
    _ensemble(
        "spread@lola",
        "sqrt((M + 1) / M <Var_m(x_m)>)",
        _LOLA,
        "Contains the factor that ssr puts beside the spread: divide it by the skill without another one.",
        ideal=None,
        pooled=False,
        variant="LOLA's: a mean of roots",
    ),
    _ensemble(
        "coverage_error",
        "mean over central rank intervals of abs(share of points with x_(a) <= y < x_(b) - (b - a) / (M + 1))",
        _HAMILL,
        _CANCEL,
        power=0,
        variant=f"order statistics a < b, whose level is exact; at most {MAX_LEVELS} levels; ties by their expectation",
    ),
    _ensemble(
        "coverage@interpolated",
        "mean over levels p = .05, .1 ... .95 of abs(share of points between the quantiles (1 - p) / 2 and (1 + p) / 2 "
        "of the members - p)",
        _HYNDMAN,
        "Interpolated quantiles of a perfect ensemble cover p (M - 1) / (M + 1), not p: it prefers ensembles that are "
        "too wide. See coverage_error.",
        power=0,
        variant="linear interpolation between members, as numpy.quantile and torch.quantile have it",
    ),
    _ensemble(
        "rank_error",
        "sum over ranks of abs(share of points where the truth has the rank - 1 / (M + 1))",
        _HAMILL,
        "A flat histogram is necessary, not sufficient: opposite biases in different places add up to one.",
        "Never quite 0: a share of n independent points errs by about sqrt(1 / (M n)).",
        _CANCEL,
        power=0,
        variant=f"neighbouring ranks are one where there are more than {2 * MAX_LEVELS + 1}; ties by their expectation",
    ),
    _ensemble(
        "winkler",
        "<(x_(b) - x_(a)) + 2 / alpha (x_(a) - y)+ + 2 / alpha (y - x_(b))+>, alpha = 1 - (b - a) / (M + 1)",
        _GNEITING,
        "The levels depend on the number of members, so compare ensembles of the same size.",
        pooled=False,
        variant=f"the central rank interval whose level is nearest to {WINKLER_LEVEL}; winkler.csv has all, by level",
    ),
    _ensemble(
        "energy_score",
        "mean_m |x_m - y| - S / (2 M²), |.| the Euclidean norm over points, S the sum of |x_m - x_n| over all pairs",
        _GNEITING,
        "Grows as the root of the number of points, and hardly sees wrong correlations between them.",
        _FEW,
        pooled=False,
    ),
    _ensemble(
        "energy_score_fair",
        "mean_m |x_m - y| - S / (2 M (M - 1)), as energy_score",
        _FERRO,
        "Grows as the root of the number of points, and hardly sees wrong correlations between them.",
        pooled=False,
    ),
    _ensemble(
        "variogram_score",
        f"mean over pairs of points i, j of (abs(y_i - y_j)^p - mean_m abs(x_mi - x_mj)^p)², p = {VARIOGRAM_ORDER}",
        _SCHEUERER,
        "Blind to a shift of all values by a constant.",
        _FEW,
        pooled=False,
        variant=f"{VARIOGRAM_PAIRS} pairs of different points, uniform, of seed {VARIOGRAM_SEED}, equal weights",
    ),
    Entry(
        "valid_time_correlation",
        f"first lead time with a correlation of x and y over space below {VALID_CORRELATION}",
        kinds=(MEAN,),
        counts_steps=True,
        ideal=ENDLESS,
        pitfalls=(
            "Length + 1 of a trajectory without such a lead time: a lower bound, as is a mean that contains one.",
            "A mean over members keeps its correlation longer than a member does.",
            "Lead times at which the truth is constant in space are left out.",
        ),
    ),
    Entry(
        "valid_time_ssr",
        f"first lead time with ssr of the trajectory outside {VALID_SSR[0]} to {VALID_SSR[1]}",
        kinds=(ENSEMBLE,),
        counts_steps=True,
        min_members=2,
        ideal=ENDLESS,
        pitfalls=(
            "Length + 1 of a trajectory without such a lead time: a lower bound, as is a mean that contains one.",
            "Of a single trajectory ssr scatters: fields with few independent regions leave the range by chance.",
        ),
    ),
    Entry(
        "blow_up",
        f"share of members that are not finite, or somewhere err by more than {BLOW_UP_RANGES} times the truth's range",
        kinds=(MEMBER,),
        unit_power=0,
        pitfalls=(
            "The range is that of the channel over all steps of the trajectory's truth; where it is 0, only what is "
            "not finite counts.",
        ),
    ),
    Entry(
        "mean_drift",
        "abs(<x> - <y_1>) / sqrt <y_1²>, y_1 the truth at lead time 1",
        kinds=(MEMBER,),
        unit_power=0,
        pitfalls=(_CONSERVED,),
    ),
    Entry(
        "energy_drift",
        "abs(<x²> - <y_1²>) / <y_1²>, y_1 the truth at lead time 1",
        kinds=(MEMBER,),
        unit_power=0,
        pitfalls=(_CONSERVED, "The energy of a channel is its mean square, whatever the physics calls energy."),
    ),
)
ENTRIES: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
FAMILIES: dict[str, tuple[str, ...]] = {
    "psrmse": tuple(f"psrmse_{band}" for band in BANDS),
    "coherence": tuple(f"coherence_{band}" for band in BANDS),
    "coverage": ("coverage_error",),
    "rank_histogram": ("rank_error",),
    "valid_time": ("valid_time_correlation", "valid_time_ssr"),
    "conservation": ("mean_drift", "energy_drift"),
}
"""Names that stand for several scores, or for a table with a score of its own."""
DEFAULT_METRICS: tuple[str, ...] = (
    *("mse", "mae", "rmse", "vrmse", "nrmse", "linf", "crps_fair", "crps_almost_fair"),
    *(
        "spread",
        "skill",
        "ssr",
        "high_frequency_ratio",
        "psrmse",
        "coverage",
        "rank_histogram",
        "valid_time",
        "blow_up",
    ),
)
"""What costs next to nothing beside the others."""


def resolve_names(names: Iterable[str], *, of: str = "eval.metrics") -> list[str]:
    """Names of scores from names of scores and families, each once, in this order.

    Raises:
        ConfigError: With the nearest name, if there is no such score; `of` is where the name was given.
    """
    found: dict[str, None] = {}
    for name in names:
        if name not in ENTRIES and name not in FAMILIES:
            raise ConfigError(_unknown(name, of))
        found.update(dict.fromkeys(FAMILIES.get(name, (name,))))
    return list(found)


def described(names: Iterable[str]) -> list[Entry]:
    """The entries of these scores and families; `all` is all of them.

    Raises:
        ConfigError: With the nearest name, if there is no such score.
    """
    wanted = [each for name in names for each in (ENTRIES if name == "all" else (name,))]
    return [ENTRIES[name] for name in resolve_names(wanted, of="--explain")]


def _unknown(name: str, of: str) -> str:
    known = [*ENTRIES, *FAMILIES]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"{of}: no such metric {name!r}. There are: {', '.join(known)}.{hint}"
