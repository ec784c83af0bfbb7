"""Learning: losses, their gradients through time, and the effect of a state on the state of the next step.

E = sum over t of E_t,  E_t = -y_t log(yhat_t)
dE/dW = the sum of the steps' gradients, each a chain of dh_t/dh_{t-1}

result = fastgru.learn.gradients(net, x, targets, loss="cross_entropy")
result.loss, result.steps, result.weights["1.weight_hh_l0"]
adapted = fastgru.learn.fit(net, (x, targets), train=["2."], lr=1e-3, epochs=5).net
"""

from fastgru.learn.fit import Fit, fit
from fastgru.learn.gradients import Gradients, gradients
from fastgru.learn.jacobian import jacobians, product
from fastgru.learn.losses import (
    LOSSES,
    Loss,
    absolute_error,
    cross_entropy,
    cross_entropy_of_logs,
    cross_entropy_of_probabilities,
    squared_error,
)
from fastgru.learn.memory import Memory, MemoryOptions, memory
from fastgru.learn.optimizers import SGD, Adam, AdamW
from fastgru.learn.options import FitOptions, FitStep

__all__ = [
    "LOSSES",
    "SGD",
    "Adam",
    "AdamW",
    "Fit",
    "FitOptions",
    "FitStep",
    "Gradients",
    "Loss",
    "Memory",
    "MemoryOptions",
    "absolute_error",
    "cross_entropy",
    "cross_entropy_of_logs",
    "cross_entropy_of_probabilities",
    "fit",
    "gradients",
    "jacobians",
    "memory",
    "product",
    "squared_error",
]
