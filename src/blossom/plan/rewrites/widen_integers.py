"""Integer arithmetic in the type that the plan declares: engines compute `int32 * int16` in 32 bits, where Ibis says 64.

Beyond its range an engine fails, and whether it does would be an answer about the largest value: `sum(salary * 20000)` fails
exactly where somebody's salary exceeds 107,374.
"""

from __future__ import annotations

from blossom.plan.everywhere import everywhere
from blossom.plan.expressions import Argument, Call, Column, Expression, TypeArgument, transform
from blossom.plan.relations import Relation

_ARITHMETIC = frozenset({"Add", "Subtract", "Multiply"})
_BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64, "uint8": 9, "uint16": 17, "uint32": 33}


def widen_integers(root: Relation) -> Relation:
    """The plan with the operands of such arithmetic cast to the type of its result.

    >>> narrow = Column("pay", "int32")
    >>> widened(Call("Add", (narrow, narrow), "int64")).args[0]
    Call(op='Cast', args=(Column(name='pay', dtype='int32', input=0), TypeArgument(dtype='int64')), dtype='int64')
    """
    return everywhere(root, lambda node: node.map_expressions(widened))


def widened(expression: Expression) -> Expression:
    """The expression, its integer arithmetic in the declared type."""
    return transform(expression, _one)


def _one(expression: Expression) -> Expression | None:
    match expression:
        case Call(op, (left, right), dtype) if op in _ARITHMETIC and dtype.lstrip("!") in _BITS:
            return Call(op, (_wide(left, dtype), _wide(right, dtype)), dtype)
        case _:
            return None


def _wide(one: Argument, dtype: str) -> Argument:
    """An operand; literals take the other one's type, and what is no expression stays."""
    if not isinstance(one, Column | Call):
        return one
    inner = widened(one)
    return Call("Cast", (inner, TypeArgument(dtype.lstrip("!"))), dtype) if _narrower(inner, dtype) else inner


def _narrower(one: Expression, dtype: str) -> bool:
    own = _BITS.get(one.dtype.lstrip("!"))
    return own is not None and own < _BITS[dtype.lstrip("!")]
