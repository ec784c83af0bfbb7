"""The models with custom code of make_keras_golden.py; tests/importers/test_keras_custom.py has their definitions."""

from typing import Any

from keras_networks import F, case


@case("custom", x=(None, F))
def own_code(k: Any, L: Any, x: Any) -> Any:
    own = k.saving.register_keras_serializable("mine")

    @own
    class Gain(L.Layer):  # type: ignore[misc]
        def build(self, shape: Any) -> None:
            self.scale = self.add_weight(name="scale", shape=(shape[-1],), initializer="ones")
            self.shift = self.add_weight(name="shift", shape=(shape[-1],), initializer="zeros")

        def call(self, x: Any) -> Any:
            return x * self.scale + self.shift

    @own
    class Blend(L.Layer):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            a, b = inputs
            return a * b - a

    @own
    class MyGRU(L.GRU):  # type: ignore[misc]
        pass

    @own
    def cube(x: Any) -> Any:
        return x * x * x

    y = MyGRU(4, return_sequences=True, name="rnn")(Gain(name="gain")(x))
    # Compiled here, so that the saved file does not contain the path of this file.
    scale, same = (eval(compile(f"lambda {text}", "own_code", "eval")) for text in ("t, by: t * by + 1", "s: s"))
    z = L.Lambda(scale, arguments={"by": 2.0}, name="scaled", output_shape=same)(y)
    return L.GRU(2, name="last")(L.Dense(3, activation=cube, name="head")(Blend(name="blend")([y, z])))
