"""Networks with convolutions before GRUs: text in images and sound events, keywords, and a mask that cleans speech."""

from fastgru.bench.networks.writer import Writer

__all__ = ["crnn", "mask_net", "spotter"]


def crnn(T: int = 100, bands: int = 64, channels: int = 32, H: int = 128, classes: int = 60) -> bytes:
    """x (1, 1, T, bands) -> log probabilities (1, T/4, classes): convolutions, pools, two bidirectional GRUs."""
    w = Writer("crnn", 1)
    y, C = w.input("x", 1, 1, T, bands), 1
    for O in (channels, 2 * channels):
        y = w.node("Relu", w.conv(y, C, O, (3, 3), strides=(1, 1), pads=(1, 1, 1, 1)))
        y = w.node(
            "MaxPool", y, kernel_shape=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0), ceil_mode=0, dilations=(1, 1),
            storage_order=0, auto_pad="NOTSET",
        )  # fmt: skip
        C = O
    size = C * (bands // 4)
    y = w.node("Reshape", w.node("Transpose", y, perm=(0, 2, 1, 3)), w.ints(1, T // 4, size), allowzero=1)
    y, _ = w.gru(y, [w.gru_layer(size, H, 2), w.gru_layer(2 * H, H, 2)], 1)
    w.node("LogSoftmax", w.frames(y, w.linear(2 * H, classes)), to="y", axis=-1)
    return w.model(y=(1, T // 4, classes))


def spotter(T: int = 100, bands: int = 40, channels: int = 32, H: int = 64, classes: int = 12) -> bytes:
    """x (1, 1, T, bands) -> probabilities (1, classes): a convolution, two bidirectional GRUs, the last frame."""
    w = Writer("spotter", 2)
    y = w.conv(w.input("x", 1, 1, T, bands), 1, channels, (8, 5), strides=(4, 2), pads=(2, 2, 2, 2))
    y = w.node("Transpose", w.node("Relu", y), perm=(0, 2, 1, 3))
    frames, size = (T - 4) // 4 + 1, channels * ((bands - 1) // 2 + 1)
    y = w.node("Reshape", y, w.ints(1, frames, size), allowzero=1)
    y, _ = w.gru(y, [w.gru_layer(size, H, 2), w.gru_layer(2 * H, H, 2)], 1)
    last = w.node("Gather", y, w.constant(-1, "int64"), axis=1)
    y = w.rows(w.node("Relu", w.rows(last, w.linear(2 * H, 32))), w.linear(32, classes, gain=6))
    w.node("Softmax", y, to="y", axis=-1)
    return w.model(y=(1, classes))


def mask_net(bands: int = 257, channels: int = 16, H: int = 64) -> bytes:
    """A frame x (1, 1, 1, bands) -> the frame masked: convolutions, GRU, transposed convolutions, all with states."""
    w = Writer("mask_net", 3)
    C, half, low = channels, (bands - 1) // 2 + 1, (bands - 1) // 4 + 1
    x, conv_cache = w.input("x", 1, 1, 1, bands), w.input("conv_cache", 1, 1, 2, bands)
    h0, up_cache = w.input("h0", 1, 1, H), w.input("up_cache", 1, C, 1, half)
    before = w.node("Concat", conv_cache, x, axis=2)
    down = w.conv(before, 1, C, (3, 5), strides=(1, 2), pads=(0, 2, 0, 2))
    down = w.node("PRelu", down, w.weight(1, C, 1, 1, fan=4))
    y = w.conv(down, C, C, (1, 3), group=2, strides=(1, 2), pads=(0, 1, 0, 1))
    y = w.node("PRelu", y, w.weight(1, 1, 1, 1, fan=4))
    y = w.node("Reshape", w.node("Transpose", y, perm=(0, 2, 1, 3)), w.ints(1, 1, C * low), allowzero=1)
    y, _ = w.gru(y, [w.gru_layer(C * low, H)], 1, h0=h0, hn="hn")
    y = w.node("Reshape", w.frames(y, w.linear(H, C * low)), w.ints(1, 1, C, low), allowzero=1)
    y = w.node("Transpose", y, perm=(0, 2, 1, 3))
    y = w.node("Relu", w.conv_transpose(y, C, C, (1, 3), strides=(1, 2), pads=(0, 1, 0, 1)))
    above = w.node("Concat", up_cache, w.node("Add", y, down), axis=2)
    mask = w.node("Sigmoid", w.conv_transpose(above, C, 1, (2, 5), strides=(1, 2), pads=(1, 2, 1, 2)))
    w.node("Mul", x, mask, to="y")
    for name, source, first, last in (("conv_cache_out", before, 1, 3), ("up_cache_out", above, 1, 2)):
        w.node("Slice", source, w.ints(first), w.ints(last), w.ints(2), w.ints(1), to=name)
    return w.model(y=(1, 1, 1, bands), conv_cache_out=(1, 1, 2, bands), hn=(1, 1, H), up_cache_out=(1, C, 1, half))
