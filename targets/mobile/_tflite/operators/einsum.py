"""Einsum of one or two tensors, as transposes around a product of matrices.

Each letter belongs to both tensors and the result (a batch, b), to both and not to the result (summed, k), or to one
of them and the result (m, n), so that

    y[b, m, n] = sum over k of  x[b, m, k] w[b, k, n].

A letter of one tensor alone is summed before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgepack.targets.mobile._tflite.base import operator

if TYPE_CHECKING:
    from edgepack.targets.mobile._tflite.graph import Tensor
    from edgepack.targets.mobile._tflite.node import Node

_PAIR = 2


@operator("Einsum", to="TRANSPOSE, RESHAPE, BATCH_MATMUL, SUM",
          limits="one or two tensors, no letter twice in one, known sizes")  # fmt: skip
def einsum(node: Node) -> None:
    """The sum of products that an equation says."""
    left, arrow, result = str(node.attribute("equation")).replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow:  # letters that stand once, in alphabetical order
        result = "".join(sorted(letter for letter in set(left) - {","} if left.count(letter) == 1))
    letters = "".join(terms) + result
    repeated = any(len(set(term)) != len(term) for term in (*terms, result))
    if len(terms) > _PAIR or "." in letters or repeated:
        node.refuse(f"its equation is {node.attribute('equation')}", "Write it as products of two tensors")
    operands = [_summed(node, node.x(i), term, set("".join(terms[:i] + terms[i + 1 :]) + result))
                for i, term in enumerate(terms)]  # fmt: skip
    if len(operands) == 1:
        x, own = operands[0]
        node.bind(node.transposed(x, [own.index(letter) for letter in result]))
        return
    _product(node, operands[0], operands[1], result)


def _summed(node: Node, x: Tensor, term: str, others: set[str]) -> tuple[Tensor, str]:
    alone = [at for at, letter in enumerate(term) if letter not in others]
    if not alone:
        return x, term
    kept = [n for at, n in enumerate(x.shape) if at not in alone]
    made = node.emit("SUM", [x, node.integers(alone, "axes")], kept, keepDims=False)
    return made, "".join(letter for letter in term if letter in others)


def _product(node: Node, first: tuple[Tensor, str], second: tuple[Tensor, str], result: str) -> None:
    (x, left), (w, right) = first, second
    sizes = dict(zip(left + right, x.shape + w.shape, strict=True))
    if any(n < 0 for n in sizes.values()):
        node.refuse("one of its dimensions is open", "Give sizes for all named dimensions")
    batch = [letter for letter in left if letter in right and letter in result]
    shared = [letter for letter in left if letter in right and letter not in result]
    rows = [letter for letter in left if letter not in right]
    columns = [letter for letter in right if letter not in left]

    def arranged(tensor: Tensor, own: str, *groups: list[str]) -> Tensor:
        order = [own.index(letter) for group in groups for letter in group]
        shape = [node.size([sizes[letter] for letter in group]) for group in groups]
        return node.reshaped(node.transposed(tensor, order), shape)

    a, b = arranged(x, left, batch, rows, shared), arranged(w, right, batch, shared, columns)
    made = node.emit("BATCH_MATMUL", [a, b], (*a.shape[:2], b.shape[2]), adjX=False, adjY=False)
    whole = [*batch, *rows, *columns]
    made = node.reshaped(made, [sizes[letter] for letter in whole])
    node.bind(node.transposed(made, [whole.index(letter) for letter in result]))
