"""How a float weight becomes a ternary one while it is trained: the estimators.

Each maps a weight [out, in] and the training's progress (0 at the beginning, 1 at the end; a 0-d tensor) to the weight
that the forward pass computes with. At the end of training every one is exactly ternary: codes in {-1, 0, 1} times one
scale a tensor. Gradients pass to the float weight as if nothing had been rounded (straight through).

`dense` is BitNet b1.58's (arXiv:2402.17764). The others are 3:4 sparse: of every four weights side by side in a row
exactly one is zero, which packs into 5 bits (1.25 bits a weight).
"""
import math

import torch

GROUP = 4


def dense_codes(w):
    """Codes (int8) and scale of a dense ternary tensor: rounded after division by the mean magnitude."""
    scale = w.abs().mean().clamp(min=1e-5)
    return (w / scale).round().clamp(-1, 1).to(torch.int8), scale


def sparse_codes(w):
    """Codes and scale of a 3:4 sparse one: the smallest of four is zero (the first, where several are), the others keep
    their signs; the scale is their mean magnitude, which is nearest in the least squares' sense."""
    groups = w.view(w.shape[0], -1, GROUP)
    magnitude = groups.abs()
    kept = torch.arange(GROUP, device=w.device) != magnitude.argmin(-1, keepdim=True)
    scale = ((magnitude * kept).sum() / (w.numel() * (GROUP - 1) / GROUP)).clamp(min=1e-5)
    codes = torch.where(groups < 0, -1, 1) * kept
    return codes.view_as(w).to(torch.int8), scale


def straight_through(w, target):
    return w + (target - w).detach()


def dense(w, progress):
    codes, scale = dense_codes(w)
    return straight_through(w, codes * scale)


def hard(w, progress):
    """3:4 sparse from the first step to the last."""
    codes, scale = sparse_codes(w)
    return straight_through(w, codes * scale)


def residual(w, progress, until=0.6):
    """A share of the float weight stands beside the sparse one and fades out. Which weight of four is zero can so change
    while that costs little (the idea of Sherry's annealed residual path)."""
    codes, scale = sparse_codes(w)
    share = 0.5 * (1 + torch.cos(math.pi * (progress / until).clamp(max=1)))
    return straight_through(w, codes * scale) + share * w


def blend(w, progress, until=0.5):
    """Dense at first; the sparse weight takes over step by step."""
    dense_part, dense_scale = dense_codes(w)
    codes, scale = sparse_codes(w)
    share = (progress / until).clamp(max=1)
    return straight_through(w, (1 - share) * (dense_part * dense_scale) + share * (codes * scale))


def refined(w, progress, pull=2e-4):
    """`hard`, and weights that are zero now are pulled towards zero, so that fewer change places (SR-STE,
    arXiv:2102.04010)."""
    codes, scale = sparse_codes(w)
    # Its value is the sparse weight; its gradient is the straight one plus `pull` times the float weight where it is zero.
    return straight_through(w, codes * scale) + pulled(w, codes, pull)


class Pull(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w, codes, pull):
        ctx.save_for_backward(w, codes)
        ctx.pull = pull
        return torch.zeros_like(w)

    @staticmethod
    def backward(ctx, gradient):
        w, codes = ctx.saved_tensors
        return ctx.pull * w * (codes == 0), None, None


def pulled(w, codes, pull):
    return Pull.apply(w, codes, pull)


ESTIMATORS = {"dense": dense, "hard": hard, "residual": residual, "blend": blend, "refined": refined}


def codes_of(estimator, w):
    """What is exported at the end of training."""
    return dense_codes(w) if estimator == "dense" else sparse_codes(w)
