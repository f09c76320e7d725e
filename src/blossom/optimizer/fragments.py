"""Cuts a placed plan into fragments: the largest parts that one platform runs as one query, and the moves between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blossom.optimizer.nodes import Node, rebuilt
from blossom.plan.relations import Copies, Received, Relation


@dataclass(frozen=True, eq=False)
class Piece:
    """A fragment before its estimates and reasons.

    Attributes:
        key: Its name.
        place: The number of its location.
        root: Its plan.
        top: The node whose output it gives.
        members: Numbers of its nodes, inputs first.
        inputs: Keys of the pieces that it reads.
    """

    key: str
    place: int
    root: Relation
    top: int
    members: tuple[int, ...]
    inputs: tuple[str, ...]


def cut(
    table: Sequence[Node], choice: Sequence[int], finished: Mapping[int, str] | None = None, first: int = 0
) -> tuple[Piece, ...]:
    """The pieces of a placed plan, inputs first.

    Args:
        table: The plan's nodes, inputs first.
        choice: The number of each node's location; -1 for nodes that are not used.
        finished: Nodes whose rows are there already, with the keys of their pieces; each is a piece of its own, with no plan.
        first: The number of the first new piece, in its key.

    A node joins the piece of its users when all of them are in one piece at its own place; else it begins a piece. So no
    piece can wait for itself, and what several pieces read is computed once.
    """
    done = finished or {}
    top_of: dict[int, int] = {}
    users: list[list[int]] = [[] for _ in table]
    for node in table:
        if choice[node.number] >= 0 and node.number not in done:
            for number in node.below:
                users[number].append(node.number)
    for node in reversed(table):
        number = node.number
        if choice[number] < 0:
            continue
        pieces = {top_of[user] for user in users[number] if choice[user] >= 0}
        (only,) = pieces if len(pieces) == 1 else (number,)
        joins = choice[only] == choice[number] and number not in done
        top_of[number] = only if joins else number
    tops = sorted(set(top_of.values()))
    keys = {**done, **{top: f"f{i}" for i, top in enumerate((t for t in tops if t not in done), first)}}
    return tuple(
        Piece(keys[top], choice[top], Received(keys[top], table[top].relation.schema), top, (top,), ())
        if top in done
        else _piece(table, choice, top_of, keys, top)
        for top in tops
    )


def _piece(
    table: Sequence[Node], choice: Sequence[int], top_of: Mapping[int, int], keys: Mapping[int, str], top: int
) -> Piece:
    members = tuple(number for number in range(top + 1) if top_of.get(number) == top)
    here: dict[int, Relation] = {}
    received: dict[int, Received] = {}

    def read(number: int) -> Relation:
        if number in here:
            return here[number]
        if number not in received:
            received[number] = Received(keys[number], table[number].relation.schema)
        return received[number]

    for number in members:
        node = table[number]
        if isinstance(node.relation, Copies):
            here[number] = read(next(i for i in node.inputs if choice[i] == choice[number]))
        elif node.narrowing and number != top:
            here[number] = read(node.inputs[0])  # nothing is cut above it, so there is nothing to narrow
        else:
            inside = [read(i) for i in node.attached]
            here[number] = rebuilt(node, [read(i) for i in node.inputs], inside)
    inputs = tuple(keys[number] for number in sorted(received))
    return Piece(keys[top], choice[top], here[top], top, members, inputs)
