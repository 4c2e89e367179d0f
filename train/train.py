#!/usr/bin/env python3
"""Trains one model: train.py WORK RUN --estimator NAME [options].

WORK holds the tokens that corpus.py wrote. WORK/RUN gets state.pt (from which a run that was cut off goes on), log.csv
and, at the end, final.pt. Everything that chance decides comes from --seed, and batches depend on it and the step alone:
runs of one seed begin with the same weights and read the same tokens in the same order, whatever their estimators.
"""
import argparse
import csv
import os
import time

import numpy as np
import torch

from model import BitLinear, BitNet, Config

HELD_OUT = 200_000  # tokens at a file's beginning that are never trained on


class Tokens:
    """Windows of some files, shuffled anew each time all have been read."""

    def __init__(self, paths, length, seed, device):
        files = [np.load(path).astype(np.int32) for path in paths]
        self.held_out = torch.from_numpy(files[0][:HELD_OUT]).to(device)
        files[0] = files[0][HELD_OUT:]
        self.tokens = torch.from_numpy(np.concatenate(files)).to(device)
        self.length, self.seed, self.epoch = length, seed, -1

    def windows(self, first, count):
        """Those of the places first … first + count - 1: [count, length + 1], the last token of each being a target only."""
        # Each epoch begins somewhere else in the text, so that windows are cut in other places.
        per_epoch = len(self.tokens) // self.length - 2
        parts = []
        while count > 0:
            epoch, place = divmod(first, per_epoch)
            if epoch != self.epoch:
                chance = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
                self.shift = int(torch.randint(self.length, (1,), generator=chance))
                self.order = torch.randperm(per_epoch, generator=chance).to(self.tokens.device)
                self.epoch = epoch
            taken = min(count, per_epoch - place)
            parts.append(self.order[place:place + taken] * self.length + self.shift)
            first, count = first + taken, count - taken
        begin = torch.cat(parts)
        return self.tokens[begin[:, None] + torch.arange(self.length + 1, device=begin.device)].long()


class Batches:
    """A step's windows, so many of each kind of text."""

    def __init__(self, a, device):
        path = lambda name: f"{a.work}/{name}.npy"
        kinds = {"modern": ["part_m"], "books": ["part_a"], "chat": ["chat"]}
        self.sources = {kind: Tokens([path(n) for n in names], a.length, a.seed * 10 + i, device)
                        for i, (kind, names) in enumerate(kinds.items())}
        self.a = a
        self.read = dict.fromkeys(kinds, 0)  # windows so far; part of a run's state

    def next(self, step):
        a, rows = self.a, self.a.micro_batch // self.a.length
        chat = round(rows * (a.chat if step < a.steps - a.decay_steps else a.chat_at_the_end))
        modern = round((rows - chat) * a.modern)
        counts = {"chat": chat, "modern": modern, "books": rows - chat - modern}
        for _ in range(a.batch // a.micro_batch):
            parts = []
            for kind, count in counts.items():
                parts.append(self.sources[kind].windows(self.read[kind], count))
                self.read[kind] += count
            windows = torch.cat(parts)
            yield windows[:, :-1], windows[:, 1:]


def learning_rate(a, step):
    """Up in 200 steps, down slowly, then to nothing in the last ones."""
    begin_of_end = a.steps - a.decay_steps
    rate = a.rate + (a.rate_later - a.rate) * min(1, step / begin_of_end)
    if step >= begin_of_end:
        rate *= max(0.01, (a.steps - step) / a.decay_steps)
    return rate * min(1, (step + 1) / 200)


@torch.no_grad()
def evaluate(model, batches, rows, progress):
    """Nats a token on what was held out of each kind of text."""
    result = {}
    for kind, source in batches.sources.items():
        count = min((HELD_OUT - 1) // source.length, 128) // rows * rows
        text = source.held_out[:count * source.length + 1].long()
        inputs, targets = (t.view(-1, source.length) for t in (text[:-1], text[1:]))
        losses = [model(inputs[i:i + rows], targets[i:i + rows], progress) for i in range(0, count, rows)]
        result[kind] = round(float(torch.stack(losses).mean()), 4)
    return result


def optimizer_for(model, a):
    ternary = [m.weight for m in model.modules() if isinstance(m, BitLinear)]
    others = [p for p in model.parameters() if not any(p is t for t in ternary)]
    groups = [{"params": ternary, "weight_decay": a.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=a.rate, betas=(0.9, 0.95), eps=1e-8, fused=True)


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("work")
    p.add_argument("run")
    p.add_argument("--estimator", required=True)
    p.add_argument("--steps", type=int, default=3430, help="in all: 449.6 million tokens")
    p.add_argument("--decay-steps", type=int, default=700, help="of them the last, in which the rate falls to nothing")
    p.add_argument("--seconds", type=float, default=1e9, help="stop after so long, to be called again")
    p.add_argument("--eager", action="store_true", help="compile nothing: for a few steps")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--rate", type=float, default=2e-3)
    p.add_argument("--rate-later", type=float, default=1.2e-3, help="where the fall to nothing begins")
    p.add_argument("--weight-decay", type=float, default=0.1, help="of ternary weights, in the first half")
    p.add_argument("--chat", type=float, default=0.15, help="share of windows")
    p.add_argument("--chat-at-the-end", type=float, default=0.35)
    p.add_argument("--modern", type=float, default=0.35, help="share of the others")
    p.add_argument("--length", type=int, default=1024, help="tokens of a window")
    p.add_argument("--micro-batch", type=int, default=65536, help="tokens at once")
    p.add_argument("--batch", type=int, default=131072, help="tokens a step")
    return p.parse_args()


def main():
    a = arguments()
    begin = time.time()
    torch.manual_seed(a.seed)
    torch.set_float32_matmul_precision("high")
    folder, device = f"{a.work}/{a.run}", "cuda"
    os.makedirs(folder, exist_ok=True)
    batches = Batches(a, device)
    model = BitNet(Config(), a.estimator).to(device)
    optimizer = optimizer_for(model, a)
    step, losses = 0, []
    if os.path.exists(f"{folder}/state.pt"):
        state = torch.load(f"{folder}/state.pt", map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, batches.read = state["step"], state["read"]
    if not a.eager:
        model.compile_parts()
    log = csv.writer(open(f"{folder}/log.csv", "a", newline="", buffering=1))
    if step == 0:
        log.writerow(["step", "rate", "loss", *batches.sources])
    marked = time.time()
    while step < a.steps and time.time() - begin < a.seconds:
        progress = torch.tensor(step / (a.steps - 1), device=device)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(a, step)
        optimizer.param_groups[0]["weight_decay"] = a.weight_decay if step < a.steps // 2 else 0.0
        for inputs, targets in batches.next(step):
            loss = model(inputs, targets, progress)
            (loss * (a.micro_batch / a.batch)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        step += 1
        if step % 50 == 0 or step == a.steps:
            mean = float(torch.stack(losses).mean())
            seen = evaluate(model, batches, a.micro_batch // a.length, progress) if step % 500 == 0 or step == a.steps else {}
            log.writerow([step, f"{learning_rate(a, step - 1):.2e}", round(mean, 4), *seen.values()])
            if step % 250 == 0 or step == a.steps or step == 50:
                rate = len(losses) * a.batch / (time.time() - marked)
                print(f"{a.run} {step} {mean:.4f} {rate / 1e3:.0f}k tokens/s {time.time() - begin:.0f} s {seen}", flush=True)
            if not np.isfinite(mean):
                raise SystemExit(f"{a.run}: diverged at step {step}")
            losses, marked = [], time.time()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "read": batches.read}
    torch.save(state, f"{folder}/state.pt.new")
    os.replace(f"{folder}/state.pt.new", f"{folder}/state.pt")
    if step >= a.steps:
        torch.save({"model": model.state_dict(), "estimator": a.estimator, "step": step}, f"{folder}/final.pt")


if __name__ == "__main__":
    main()
