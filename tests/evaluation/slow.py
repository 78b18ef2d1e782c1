"""Slow, plain references: one Python loop for each word of the definitions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def slow_ranks(scores: Array, owners: list[int], v2t: str) -> tuple[list[int], list[int]]:
    """Ranks of both directions, by sorting (-score, index) for every query."""
    texts, videos = scores.shape
    table = [[float(score) for score in row] for row in scores]
    first = []
    for t in range(texts):
        order = sorted(range(videos), key=lambda v, t=t: (-table[t][v], v))  # type: ignore[misc]
        first.append(1 + order.index(owners[t]))
    second = []
    for v in sorted(set(owners)):
        if v2t == "best":
            order = sorted(range(texts), key=lambda t, v=v: (-table[t][v], t))  # type: ignore[misc]
            second.append(1 + min(order.index(t) for t in range(texts) if owners[t] == v))
        else:
            groups = {
                g: max(table[t][v] for t in range(texts) if owners[t] == g) for g in set(owners)
            }
            order = sorted(groups, key=lambda g, groups=groups: (-groups[g], g))  # type: ignore[misc]
            second.append(1 + order.index(v))
    return first, second


def softmax(values: list[float]) -> list[float]:
    """exp(value) over their sum."""
    top = max(values)
    weights = [math.exp(value - top) for value in values]
    return [weight / sum(weights) for weight in weights]


def slow_dsl(scores: Array) -> Array:
    """S * softmax over the rows of S / 0.01: the rows are queries."""
    table = scores.astype(np.float64)
    shares: Array = np.array([softmax(list(column / 0.01)) for column in table.T]).T
    return table * shares


def slow_inverted_softmax(scores: Array) -> Array:
    """exp(20 S) over its sum over the rows: the rows are queries."""
    table = scores.astype(np.float64)
    return np.array([softmax(list(20 * column)) for column in table.T]).T


def slow_qb_norm(scores: Array, bank: Array) -> Array:
    """Rows are queries, those of the bank as well; both score the same columns."""
    hubs = {int(row.argmax()) for row in bank}
    sums = [sum(math.exp(20 * float(score)) for score in column) for column in bank.T]
    result = scores.astype(np.float64)
    for q, row in enumerate(scores):
        if int(row.argmax()) in hubs:
            result[q] = [
                math.exp(20 * float(s)) / total for s, total in zip(row, sums, strict=True)
            ]
    return result


def slow_interval(
    baseline: list[int], ranks: list[int], owners: list[int], resamples: int, seed: int
) -> tuple[float, float]:
    """Percentiles of the difference in R@1, drawing videos one by one with all their captions."""
    generator = np.random.default_rng(seed)
    videos = sorted(set(owners))
    captions = {v: [q for q, owner in enumerate(owners) if owner == v] for v in videos}
    found = []
    for _ in range(resamples):
        drawn = [q for v in generator.choice(videos, len(videos)) for q in captions[int(v)]]
        hits = sum((ranks[q] == 1) - (baseline[q] == 1) for q in drawn)
        found.append(100 * hits / len(drawn))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)
