"""Transport between Gaussian mixtures under the names and argument order of ``ot.gmm``."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _validate
from . import _maps, engines
from .covariances import real_array, same_dimension
from .engines import host
from .mixture import between, parse_fields


def gmm_ot_loss(
    m_s: Any, m_t: Any, C_s: Any, C_t: Any, w_s: Any, w_t: Any, log: bool = False
) -> Any:
    """Squared MW2 distance, in place of ``ot.gmm.gmm_ot_loss``.

    Parameters
    ----------
    m_s, m_t, C_s, C_t
        As for `dist_bures_squared`.
    w_s, w_t : array (k_s,), array (k_t,)
        Weights, summing to 1 within 1e-3; they are brought to 1 exactly.
    log : bool, default False
        Also return a dictionary with "cost", dual potentials "u" and "v", "warning" and
        "result_code".

    Returns
    -------
    loss : float, or a scalar of the arrays' library
        **Squared** distance. For torch differentiable in means, covariances and weights.
    log : dict
        Only if asked for.

    Examples
    --------
    >>> from fastgen.metrics import gmm_ot_loss
    >>> round(gmm_ot_loss([[0.0]], [[3.0]], [[[1.0]]], [[[4.0]]], [1.0], [1.0]), 12)
    10.0
    """
    loss, _, told = _solved(m_s, m_t, C_s, C_t, w_s, w_t)
    return (loss, told) if log else loss


def gmm_ot_plan(
    m_s: Any, m_t: Any, C_s: Any, C_t: Any, w_s: Any, w_t: Any, log: bool = False
) -> Any:
    """Optimal plan between mixtures, in place of ``ot.gmm.gmm_ot_plan``.

    Parameters
    ----------
    m_s, m_t, C_s, C_t, w_s, w_t, log
        As for `gmm_ot_loss`.

    Returns
    -------
    plan : array (k_s, k_t)
        Nonnegative; its rows sum to ``w_s``, its columns to ``w_t``.
    log : dict
        Only if asked for.

    Raises
    ------
    TypeError, ValueError
        As for `dist_bures_squared`, or if weights are negative or do not sum to 1.

    Examples
    --------
    >>> from fastgen.metrics import gmm_ot_plan
    >>> C, w = [[[1.0]], [[1.0]]], [0.5, 0.5]
    >>> gmm_ot_plan([[0.0], [5.0]], [[5.0], [0.0]], C, C, w, w)
    array([[0. , 0.5],
           [0.5, 0. ]])
    """
    _, plan, told = _solved(m_s, m_t, C_s, C_t, w_s, w_t)
    return (plan, told) if log else plan


def gmm_ot_apply_map(
    x: Any,
    m_s: Any,
    m_t: Any,
    C_s: Any,
    C_t: Any,
    w_s: Any,
    w_t: Any,
    plan: Any = None,
    method: str = "bary",
    seed: int | None = None,
) -> np.ndarray:
    """Image of samples of the source mixture, in place of ``ot.gmm.gmm_ot_apply_map``.

    Parameters
    ----------
    x : array (n, d)
    m_s, m_t, C_s, C_t, w_s, w_t
        As for `gmm_ot_loss`; brought to the host.
    plan : array (k_s, k_t), optional
        Computed if not given.
    method : "bary" or "rand", default "bary"
        "mean" and "random" of `MW2Result.transport`.
    seed : int, optional
        Seed of a ``numpy.random.RandomState``, as in POT: the same seed draws the same pairs.

    Returns
    -------
    array (n, d)

    Raises
    ------
    TypeError, ValueError
        As for `gmm_ot_loss`; or if ``x`` is of another dimension, ``method`` unknown, or ``plan``
        negative, without mass or of another shape.

    Examples
    --------
    >>> from fastgen.metrics import gmm_ot_apply_map
    >>> C, w = [[[1.0]]], [1.0]
    >>> gmm_ot_apply_map([[1.0], [2.0]], [[0.0]], [[5.0]], C, C, w, w)
    array([[6.],
           [7.]])
    """
    _validate.one_of(method, "method", ("bary", "rand"))
    x = _validate.data_matrix(x, "x", minimum_rows=1)
    names = ("w_s", "m_s", "C_s"), ("w_t", "m_t", "C_t")
    first = parse_fields((w_s, m_s, C_s, None), names[0], host)
    second = parse_fields((w_t, m_t, C_t, None), names[1], host)
    same_dimension(first.means_, second.means_, "m_s", "m_t")
    if plan is None:
        plan = between(first, second, method="dense").plan
    plan = real_array(plan, "plan")
    shape = len(first.means_), len(second.means_)
    if plan.shape != shape or plan.min() < 0 or not plan.sum():
        raise ValueError(f"plan must be nonnegative of shape {shape}, got shape {plan.shape}")
    same_dimension(x, first.means_, "x", "m_s")
    uniform = np.random.RandomState(seed).random_sample(len(x)) if method == "rand" else None
    return _maps.apply(x, plan, first, second, uniform=uniform)


def _solved(
    m_s: Any, m_t: Any, C_s: Any, C_t: Any, w_s: Any, w_t: Any
) -> tuple[Any, Any, dict[str, Any]]:
    """Loss, plan, and what POT calls the log, from one transport problem."""
    given = m_s, m_t, C_s, C_t, w_s, w_t
    engine = engines.of(*given)
    first = parse_fields((w_s, m_s, C_s, None), ("w_s", "m_s", "C_s"), engine)
    second = parse_fields((w_t, m_t, C_t, None), ("w_t", "m_t", "C_t"), engine)
    same_dimension(first.means_, second.means_, "m_s", "m_t")
    means = engine.mean_costs(first.means_, second.means_)
    rows, columns = np.indices(tuple(means.shape)).reshape(2, -1)
    parts = engine.PairParts(first.components, second.components).evaluate(rows, columns)
    costs = means + parts.reshape(means.shape)
    value, plan, (u, v) = engine.transport(first.weights_, second.weights_, costs)
    loss, plan = (engine.result(array, *given) for array in (value, plan))
    return loss, plan, {"cost": loss, "u": u, "v": v, "warning": None, "result_code": 1}
