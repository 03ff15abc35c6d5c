"""The networks and the objective of a model, as `ddnmf_np.engine.literal` takes them."""

import numpy as np

from ddnmf_np.engine import literal


class TensorLayer(literal.Layer):
    """A layer whose dW comes from the tensor of order three instead of an outer product."""

    def backward(self, below, g):
        (_, *db), g_below = super().backward(below, g)
        return [literal.tensor_gradient(self, below, g), *db], g_below


def literal_layer(layer, kind=literal.Layer):
    """Return a layer of the engine as a literal one, in memory of its own."""
    b = None if layer.b is None else layer.b.astype(np.float64)
    return kind(layer.W.astype(np.float64), b, layer.activation)


def literal_chain(network):
    """Return a network of the engine as literal layers in a row."""
    return literal.Chain([literal_layer(layer) for layer in network.layers])


def literal_nets(model, kind=literal.Layer):
    """Return the supervisor and the student of a model."""
    supervisor, layers = (
        [literal_layer(layer, kind) for layer in network.layers] for network in model.nets.values()
    )
    half = model.depth // 2
    base, recovery = layers[half : half + 2]
    nmf = literal.NMFModule(base.W, recovery.W, base.b)
    nmf.base, nmf.recovery = base, recovery  # their activations may be other than the paper's
    return (
        literal.Supervisor(supervisor),
        literal.Student(layers[:half], nmf, layers[half + 2 :]),
    )


def literal_objective(model):
    """Return a model's objective."""
    objective = model.objective
    return literal.Objective(
        alpha=objective.alpha_sym,
        beta=objective.beta_ap,
        gamma=objective.gamma_nc,
        reconstruction=objective.student_reconstruction,
        apposition_to_supervisor=objective.apposition_to_supervisor,
        mean=objective.reduction == "mean",
    )


def literal_losses(model, x, x_noisy):
    """Return the losses of a batch by name."""
    return literal.losses(*literal_nets(model), x, x_noisy, literal_objective(model))
