"""Whole networks with GRUs, at the sizes and shapes at which they are served: one row, one frame or one request.

Each is an ONNX file that is made on demand, as PyTorch's exporter writes such a network. Its weights are random.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from fastgru.bench.networks.cells import forecaster, forecaster_step, sampler
from fastgru.bench.networks.speech import crnn, mask_net, spotter
from fastgru.bench.networks.text import decoder_step, recommender, translator
from fastgru.records import dataclass

__all__ = ["NETWORKS", "Network"]


@dataclass(frozen=True)
class Network:
    """slug: for filters. title: for people. build: makes the ONNX file."""

    slug: str
    title: str
    build: Callable[[], bytes]


NETWORKS: Final[Mapping[str, Network]] = MappingProxyType(
    {
        network.slug: network
        for network in (
            Network("crnn", "CRNN, a clip of 100 frames", crnn),
            Network("spotter", "keyword spotter, a clip of 100 frames", spotter),
            Network("mask-net", "speech mask net, a frame", mask_net),
            Network("recommender", "recommender of 50,000 items, a session of 20", recommender),
            Network("decoder-step", "attention decoder of 10,000 words, a step", decoder_step),
            Network("translator", "translator, 12 words to 10 of 5,000", translator),
            Network("forecaster-step", "GRU-D forecaster, a step", forecaster_step),
            Network("forecaster", "GRU-D forecaster, 24 steps", forecaster),
            Network("sampler", "WaveRNN sample loop, a sample", sampler),
        )
    }
)
