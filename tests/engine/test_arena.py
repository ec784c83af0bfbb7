"""Placement: buffers that are alive at the same time never share a byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastgru.engine.arena import place
from fastgru.engine.buffers import Buffer
from fastgru.packing.aligned import ALIGNMENT

LIVES = st.tuples(st.integers(0, 300), st.integers(0, 12), st.integers(0, 12))


@given(st.lists(LIVES, max_size=30))
def test_no_two_live_buffers_overlap(lives):
    buffers = [Buffer(n, "arena", first=min(a, b), last=max(a, b)) for n, a, b in lives]
    total = place(buffers)
    for i, one in enumerate(buffers):
        assert one.offset % ALIGNMENT == 0
        assert one.offset + one.nbytes <= total
        for other in buffers[:i]:
            together = one.first <= other.last and other.first <= one.last
            apart = one.offset + one.nbytes <= other.offset or other.offset + other.nbytes <= one.offset
            assert not together or apart or not one.nbytes or not other.nbytes


@given(st.lists(st.integers(1, 300), min_size=1, max_size=20))
def test_buffers_of_separate_lives_share_one_place(sizes):
    buffers = [Buffer(n, "arena", first=i, last=i) for i, n in enumerate(sizes)]
    assert place(buffers) == max(sizes)


def test_a_buffer_that_no_instruction_touches_takes_no_room():
    assert place([Buffer(100, "arena")]) == 0
