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
    n_members = members.shape[1]
    deviations = members - truth.unsqueeze(1)
    error = deviations.abs().mean(dim=1)
    if n_members == 1:
        if alpha != 0:
            raise ValueError(f"crps(alpha={alpha}) needs two members or more; of one member only alpha=0 is defined")
        return error
    ranks = torch.arange(1, n_members + 1, device=members.device, dtype=members.dtype)
    weights = (2 * ranks - n_members - 1).reshape(-1, *[1] * (members.ndim - 2))
    half_pair_sum = (deviations.sort(dim=1).values * weights).sum(dim=1)
    return error - (1 - (1 - alpha) / n_members) / (n_members * (n_members - 1)) * half_pair_sum
