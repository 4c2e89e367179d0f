"""The training network: BitNet b1.58 as microsoft/bitnet-b1.58-2B-4T has it (squared ReLU, norms inside attention and
feed-forward, tied embedding), small enough to train in minutes."""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ternary import ESTIMATORS


@dataclass(frozen=True)
class Config:
    vocab_size: int = 8192
    hidden_size: int = 512
    layers: int = 12
    heads: int = 4
    kv_heads: int = 2
    intermediate_size: int = 1536
    norm_eps: float = 1e-5
    rope_theta: float = 500000.0
    positions: int = 4096

    @property
    def head_dim(self):
        return self.hidden_size // self.heads


class Norm(nn.Module):
    """RMSNorm, computed in float32."""

    def __init__(self, width, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        return (y * self.weight).to(x.dtype)


class BitLinear(nn.Module):
    """Ternary weights by an estimator, int8 activations by the largest magnitude of a token's row."""

    def __init__(self, width_in, width_out, estimator):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width_out, width_in).normal_(std=0.02))
        self.estimator = ESTIMATORS[estimator]

    def forward(self, x, progress):
        w = self.estimator(self.weight, progress)
        y = x.float()
        steps = 127.0 / y.abs().amax(-1, keepdim=True).clamp(min=1e-5)
        y = y + ((y * steps).round().clamp(-128, 127) / steps - y).detach()
        return F.linear(y.bfloat16(), w.bfloat16())


def rotated(x, cos, sin):
    low, high = x.float().chunk(2, -1)
    return (x.float() * cos + torch.cat((-high, low), -1) * sin).bfloat16()


class Attention(nn.Module):
    def __init__(self, c, estimator):
        super().__init__()
        self.c = c
        kv_width = c.kv_heads * c.head_dim
        self.q_proj = BitLinear(c.hidden_size, c.hidden_size, estimator)
        self.k_proj = BitLinear(c.hidden_size, kv_width, estimator)
        self.v_proj = BitLinear(c.hidden_size, kv_width, estimator)
        self.o_proj = BitLinear(c.hidden_size, c.hidden_size, estimator)
        self.attn_sub_norm = Norm(c.hidden_size, c.norm_eps)

    def forward(self, x, cos, sin, progress):
        batch, length, width = x.shape

        def heads(projection):
            return projection(x, progress).view(batch, length, -1, self.c.head_dim).transpose(1, 2)

        q, k, v = rotated(heads(self.q_proj), cos, sin), rotated(heads(self.k_proj), cos, sin), heads(self.v_proj)
        shared = self.c.heads // self.c.kv_heads
        y = F.scaled_dot_product_attention(
            q, k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1), is_causal=True)
        return self.o_proj(self.attn_sub_norm(y.transpose(1, 2).reshape(batch, length, width)), progress)


class FeedForward(nn.Module):
    def __init__(self, c, estimator):
        super().__init__()
        self.gate_proj = BitLinear(c.hidden_size, c.intermediate_size, estimator)
        self.up_proj = BitLinear(c.hidden_size, c.intermediate_size, estimator)
        self.down_proj = BitLinear(c.intermediate_size, c.hidden_size, estimator)
        self.ffn_sub_norm = Norm(c.intermediate_size, c.norm_eps)

    def forward(self, x, progress):
        inner = F.relu(self.gate_proj(x, progress)).square() * self.up_proj(x, progress)
        return self.down_proj(self.ffn_sub_norm(inner), progress)


class Layer(nn.Module):
    def __init__(self, c, estimator):
        super().__init__()
        self.input_layernorm = Norm(c.hidden_size, c.norm_eps)
        self.post_attention_layernorm = Norm(c.hidden_size, c.norm_eps)
        self.self_attn, self.mlp = Attention(c, estimator), FeedForward(c, estimator)

    def forward(self, x, cos, sin, progress):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, progress)
        return x + self.mlp(self.post_attention_layernorm(x), progress)


class BitNet(nn.Module):
    """Its parameters are named as in a checkpoint of the Hugging Face layout, without the leading `model.`."""

    def __init__(self, c, estimator):
        super().__init__()
        self.c = c
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(c, estimator) for _ in range(c.layers))
        self.norm = Norm(c.hidden_size, c.norm_eps)
        frequency = c.rope_theta ** -(torch.arange(0, c.head_dim, 2).float() / c.head_dim)
        angles = torch.outer(torch.arange(c.positions).float(), frequency).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, tokens, targets, progress):
        """The mean cross-entropy, in nats a token, of targets [batch, length] after tokens [batch, length]."""
        x = self.embed_tokens(tokens).bfloat16()
        cos, sin = self.cos[: tokens.shape[1]], self.sin[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, cos, sin, progress)
        return self.loss_of(x, targets)

    def loss_of(self, x, targets):
        logits = F.linear(self.norm(x), self.embed_tokens.weight.bfloat16())
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    def compile_parts(self):
        """A layer once for all layers, which takes a fraction of the time that the whole model would."""
        for layer in self.layers:
            layer.compile(dynamic=False)
        self.loss_of = torch.compile(self.loss_of, dynamic=False)
