"""The rows of a batch for one member of a team: where each row lies, and which rows a step reaches.

The rows of a ragged batch are ordered by descending length, so the rows that a step reaches are adjacent. No work is
done on the other rows; their state stays in the copy that their last step wrote. A row that a mask hides is computed
like the others, and then gets its old state back. In a batch without lengths, every step reaches all rows.
"""

from typing import Any, NamedTuple

from fastgru.kernels.operands.gru import GRU, ROWS, gru_rows
from fastgru.kernels.operands.team import TEAM
from fastgru.kernels.registry import inlined, kernel, tensor
from fastgru.kernels.rows import clear_row, copy_row
from fastgru.kernels.team import share
from fastgru.simd.memory import address, offset, pointer

__all__ = ["BatchRows", "batch_rows", "copy_units", "first_state", "last_state", "reach", "rows_of_member", "show"]

AT = GRU.at

_words = kernel(gru_rows)


class BatchRows(NamedTuple):
    """`count` rows from `row` of the scratch: the p-th of them is row order[p] of x, y, the mask and the states.

    starts: the rows that step s of a chunk reaches are rows starts[s] to starts[s + 1] of the chunk. seen: whether the
    mask has shown a row yet. lengths, mask: null if there are none.
    """

    row: Any
    count: Any
    order: Any
    starts: Any
    seen: Any
    lengths: Any
    mask: Any
    ragged: Any


@inlined
def rows_of_member(operands, team):
    """Return (first row, number of rows) of this member, for a batch without lengths."""
    row, end = 0, operands[AT.N]
    if operands[AT.split] == ROWS:
        row, end = share(end, team)
    return row, end - row


@kernel
def _by_length(lengths, N, T, me, members, order, counts):
    """Deal rows, longest first, to members one by one; return (rows of earlier members, rows) of one member.

    Its rows are written to `order`.
    """
    for i in range(T + 2):
        counts[i] = 0
    for n in range(N):
        counts[T - lengths[n] + 1] += 1
    for i in range(T + 1):
        counts[i + 1] += counts[i]
    mine = 0
    for n in range(N):
        place = counts[T - lengths[n]]
        counts[T - lengths[n]] += 1
        if place % members == me:
            order[place // members] = n
            mine += 1
    before = 0
    for m in range(me):
        before += (N - m + members - 1) // members
    return before, mine


@inlined
def batch_rows(operands, bases, team):
    """Return the rows of this member."""
    T, N = operands[AT.T], operands[AT.N]
    words = _words(T, N, operands[AT.chunk])
    own = offset(pointer(tensor(bases, operands, AT.order), "int64"), team[TEAM.number] * words.total)
    order, seen, at = offset(own, words.order), offset(own, words.seen), tensor(bases, operands, AT.lengths)
    row, count = rows_of_member(operands, team)
    lengths = pointer(at, "int64")
    if at != 0:
        me, members = 0, 1
        if operands[AT.split] == ROWS:
            me, members = team[TEAM.number], team[TEAM.members]
        row, count = _by_length(lengths, N, T, me, members, order, offset(own, words.counts))
    else:
        for p in range(count):
            order[p] = row + p
    for p in range(count):
        seen[p] = 0
    mask = pointer(tensor(bases, operands, AT.mask), "bool")
    return BatchRows(row, count, order, offset(own, words.starts), seen, lengths, mask, at != 0)


@kernel
def reach(batch, start, steps):
    """Set `starts` for the steps from `start` on: steps reach a row until its length."""
    starts, active = batch.starts, batch.count
    starts[0] = 0
    for s in range(steps):
        while batch.ragged and active > 0 and batch.lengths[batch.order[active - 1]] <= start + s:
            active -= 1
        starts[s + 1] = starts[s] + active


@inlined
def first_state(gru, zero, h0, n, p, state):
    """Fill this member's units of row p of a state with row n of h0, or zeros if h0 is null, and pad with zeros."""
    target = offset(state, p * gru.padded + gru.first)
    clear_row(zero, target, gru.last - gru.first)
    if address(h0) != 0:
        copy_row(offset(h0, n * gru.H + gru.first), target, min(gru.last, gru.H) - gru.first)


@inlined
def copy_units(gru, source, p, target):
    """Copy this member's units of row p of a state, without padding, to a row."""
    copy_row(offset(source, p * gru.padded + gru.first), offset(target, gru.first), min(gru.last, gru.H) - gru.first)


@inlined
def show(gru, batch, zero, y, h, h_next, rows, t):
    """Write the outputs of step t, which has reached `rows` rows, and restore the states of hidden rows."""
    operands, own = gru.operands, gru.last - gru.first
    for q in range(batch.count):
        n, p, shown = batch.order[q], batch.row + q, q < rows
        if shown and address(batch.mask) != 0:
            if batch.mask[t * operands[AT.mask_t] + n * operands[AT.mask_n]] != 0:
                batch.seen[q] = 1
            else:
                at = p * gru.padded + gru.first
                copy_row(offset(h, at), offset(h_next, at), own)
                shown = operands[AT.carry] != 0 and batch.seen[q] != 0
        if address(y) != 0:
            target = offset(y, t * operands[AT.y_t] + n * operands[AT.y_n])
            if shown:
                copy_units(gru, h_next, p, target)
            else:
                clear_row(zero, offset(target, gru.first), min(gru.last, gru.H) - gru.first)


@inlined
def last_state(gru, batch, h, even, odd, hn):
    """Copy the last state of every row to hn; for a row that ends early, from the copy that its last step wrote."""
    left = batch.ragged and gru.operands[AT.reverse] == 0
    for q in range(batch.count):
        n, source = batch.order[q], h
        if left:
            source = odd if batch.lengths[n] % 2 == 1 else even
        copy_units(gru, source, batch.row + q, offset(hn, n * gru.H))
