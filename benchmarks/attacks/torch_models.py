"""A Keras classifier rebuilt in torch, for the original AutoAttack."""

from collections.abc import Callable
from typing import Any

import click
import numpy as np

from robust_distillation.arrays import Array

from .models import first_images


def converted(model: Any) -> Any:
    """Rebuild a Keras classifier in torch with the same weights; it takes images (N, C, H, W)."""
    import torch

    steps = [(layer.input, layer.output, torch_layer(layer)) for layer in model.layers[1:]]

    def forward(images: Any) -> Any:
        values = {id(model.inputs[0]): images.contiguous(memory_format=torch.channels_last)}
        for inputs, output, function in steps:
            values[id(output)] = function(
                *(values[id(one)] for one in (inputs if isinstance(inputs, list) else [inputs]))
            )
        return values[id(model.outputs[0])]

    images, _ = first_images(32)
    difference = np.abs(forward(channels_first(images)).numpy() - model(images, training=False).numpy()).max()
    if not difference < 1e-4:
        raise click.ClickException(f"{model.name}: its logits in torch differ by {difference:g} from those in Keras")
    return forward


def torch_layer(layer: Any) -> Callable[..., Any]:
    """Return what a Keras layer does at inference, as a function of torch tensors (N, C, H, W)."""
    import torch
    from torch.nn import functional

    weights = [torch.tensor(weight) for weight in layer.get_weights()]
    match type(layer).__name__:
        case "Conv2D":
            kernel = weights[0].permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
            bias = weights[1] if layer.use_bias else None
            before, after = same_padding(layer)
            if before == after:
                return activated(
                    layer, lambda x: functional.conv2d(x, kernel, bias, stride=layer.strides, padding=before)
                )
            sides = (before, after, before, after)
            return activated(
                layer, lambda x: functional.conv2d(functional.pad(x, sides), kernel, bias, stride=layer.strides)
            )
        case "Dense":
            kernel, bias = weights[0].T.contiguous(), weights[1]
            return activated(layer, lambda x: functional.linear(x, kernel, bias))
        case "BatchNormalization":
            scale, shift, mean, variance = weights
            return lambda x: functional.batch_norm(x, mean, variance, scale, shift, eps=layer.epsilon)
        case "ReLU":
            return lambda x: x.relu()
        case "MaxPooling2D":
            return lambda x: functional.max_pool2d(x, layer.pool_size)
        case "GlobalAveragePooling2D":
            return lambda x: x.mean((2, 3))
        case "Flatten":
            return lambda x: x.permute(0, 2, 3, 1).flatten(1)
        case "Dropout":
            return lambda x: x
        case "Add":
            return lambda x, y: x + y
    raise click.ClickException(f"{layer.name}: a {type(layer).__name__} has no counterpart in torch here")


def same_padding(layer: Any) -> tuple[int, int]:
    """Return the rows of zeros that Keras adds before and after square images for this square convolution."""
    if layer.padding == "valid":
        return 0, 0
    side, stride, kernel = layer.input.shape[1], layer.strides[0], layer.kernel_size[0]
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def activated(layer: Any, linear: Callable[..., Any]) -> Callable[..., Any]:
    """Follow a linear map by the layer's activation, linear or ReLU."""
    return linear if layer.activation.__name__ == "linear" else lambda x: linear(x).relu()


def channels_first(images: Array) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
