"""The continuous ranked probability score of finite ensembles.

| alpha | score |
|---|---|
| 0 | plain: of the ensemble as it is, in favour of too little spread |
| 1 | fair: unbiased for the distribution that the members are drawn from, but blind to one member when two coincide |
| .95 | almost fair: close to fair without that degeneracy |
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def crps(members: Float[Tensor, "b m ..."], truth: Float[Tensor, "b ..."], alpha: float) -> Float[Tensor, "b ..."]:
    """`mean |x_i - y| - (1 - eps) sum |x_i - x_j| / (2 M (M - 1))`, `eps = (1 - alpha) / M`, for every entry.

    The double sum over the pairs is `sum 2 (2k - M - 1) x_(k)` over the sorted members: O(M log M) time, O(M) memory.

    Raises:
        ValueError: for one member, unless `alpha` is 0.

    References:
        | AIFS-CRPS: Ensemble forecasting using a model trained with a CRPS-based loss function (Lang et al., 2024)
        | https://arxiv.org/abs/2412.15832
    """
    return crps_of_deviations(members - truth.unsqueeze(1), alpha)


def crps_of_deviations(deviations: Float[Tensor, "b m ..."], alpha: float) -> Float[Tensor, "b ..."]:
    """`crps` of members less the truth."""
    n_members = deviations.shape[1]
    error = deviations.abs().mean(dim=1)
    if n_members == 1:
        if alpha != 0:
            raise ValueError(f"crps(alpha={alpha}) needs two members or more; of one member only alpha=0 is defined")
        return error
    ranks = torch.arange(1, n_members + 1, device=deviations.device, dtype=deviations.dtype)
    ordered = deviations.movedim(1, -1).contiguous().sort(dim=-1).values  # two to three times as fast as along axis 1
    half_pair_sum = (ordered * (2 * ranks - n_members - 1)).sum(dim=-1)
    return error - (1 - (1 - alpha) / n_members) / (n_members * (n_members - 1)) * half_pair_sum
