"""Small models of several parts, as a user's factory file would give them."""

import math

import numpy as np
import torch

from edgepack.exporters.sources import SourceFacts, TorchModel
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.program import Call, StateLink

VOCABULARY, WIDTH, HEADS, LAYERS, STEPS = 61, 32, 4, 2, 33


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = torch.nn.Linear(WIDTH, 3 * WIDTH)
        self.out = torch.nn.Linear(WIDTH, WIDTH)
        self.norm = torch.nn.LayerNorm(WIDTH)

    def forward(self, x, keys=None, values=None):
        batch, step, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, step, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        if keys is not None:
            k, v = torch.cat([keys, k], 2), torch.cat([values, v], 2)
        scores = q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)
        total = k.shape[2]
        seen = torch.arange(total)[None, :] <= (torch.arange(step) + (total - step))[:, None]
        mixed = scores.masked_fill(~seen, -30.0).softmax(-1) @ v
        return x + self.out(mixed.transpose(1, 2).reshape(batch, step, WIDTH)), k, v


class Decoder(torch.nn.Module):
    """A decoder-only language model; `positions` is False in a copy that is wrong on purpose."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = torch.nn.Embedding(VOCABULARY, WIDTH)
        self.layers = torch.nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, ids, *past):
        x, present = self.embed(ids), []
        for i, layer in enumerate(self.layers):
            x, k, v = layer(x, *past[2 * i : 2 * i + 2])
            present += [k, v]
        return x @ self.embed.weight.T, *present


class Prefill(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, ids):
        return self.net(ids)


def decoder(*, mistake=""):
    """Prefill and decode with a cache per layer; `mistake` breaks one thing."""
    net = Decoder()
    caches = [f"{kind}_{i}" for i in range(LAYERS) for kind in ("key", "value")]
    past = [f"past_{name}:float32[batch,{HEADS},past=5,{WIDTH // HEADS}]" for name in caches]
    present = [f"present_{name}" for name in caches]
    links = [
        StateLink(part, f"present_{name}", "decode", f"past_{name}")
        for part in ("prefill", "decode")
        for name in caches
    ]
    if mistake == "crossed":
        links[0] = StateLink("prefill", "present_value_0", "decode", "past_key_0")
    if mistake == "shape":
        links[0] = StateLink("prefill", "logits", "decode", "past_key_0")

    def rollout():
        ids = np.random.default_rng(3).integers(0, VOCABULARY, (2, 4 + STEPS))
        with torch.no_grad():
            whole = net(torch.from_numpy(ids))[0].numpy()
        calls = [Call("prefill", {"ids": ids[:, :4]}, {"logits": whole[:, :4]})]
        return calls + [
            Call("decode", {"ids": ids[:, t : t + 1]}, {"logits": whole[:, t : t + 1]})
            for t in range(4, 4 + STEPS)
        ]

    sets = [{"batch": 1, "step": 1, "past": 0}, {"batch": 3, "step": 1, "past": 9}]
    upper = {"ids": VOCABULARY}
    parts = {
        "prefill": torch_part(
            Prefill(net), "ids:int64[batch=2,sequence=7]", outputs=["logits", *present], upper=upper
        ),
        "decode": torch_part(
            net, "ids:int64[batch=2,step=2]", *past, outputs=["logits", *present], upper=upper, size_sets=sets
        ),
    }  # fmt: skip
    facts = SourceFacts(kind="factory", location="decoder", fingerprint="")
    return TorchModel(parts, facts, links=tuple(links), rollout=rollout)


class Counter(torch.nn.Module):
    """A leaky sum over frames: state' = 0.9 state + frame."""

    def forward(self, frame, state):
        state = 0.9 * state + frame
        return state.tanh(), state


def streaming():
    """One step with a state of fixed size that does not start at zero."""
    net = Counter()
    start = np.full((1, 3), 0.5, np.float32)

    def rollout():
        frames = np.random.default_rng(5).standard_normal((40, 1, 3)).astype(np.float32)
        state, calls = torch.from_numpy(start), []
        for frame in frames:
            out, state = net(torch.from_numpy(frame), state)
            calls.append(Call("step", {"frame": frame}, {"out": out.numpy()}))
        return calls

    part = torch_part(
        net,
        "frame:float32[1,3]",
        "state:float32[1,3]",
        outputs=["out", "next_state"],
        initial={"state": start},
    )
    facts = SourceFacts(kind="factory", location="streaming", fingerprint="")
    return TorchModel(
        {"step": part}, facts, links=(StateLink("step", "next_state", "step", "state"),), rollout=rollout
    )


class Exits(torch.nn.Module):
    """Four blocks with an exit after the second: one set of weights, several ways through it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.blocks = torch.nn.ModuleList(torch.nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.early = torch.nn.Linear(WIDTH, 5)
        self.late = torch.nn.Linear(WIDTH, 5)

    def run(self, x, first, last):
        for block in self.blocks[first:last]:
            x = x + block(x).relu()
        return x


class Begin(torch.nn.Module):
    """To the exit: its answer, and what the rest goes on from."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        hidden = self.net.run(x, 0, 2)
        return self.net.early(hidden), hidden


class Rest(torch.nn.Module):
    """From the exit on; called when the early answer is not sure enough."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, hidden):
        return self.net.late(self.net.run(hidden, 2, 4))


class Whole(torch.nn.Module):
    """All in one call, for those who never leave early: another mode of the same weights."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net.late(self.net.run(x, 0, 4))


def exits():
    """Two parts joined at an exit, and a third that is both of them in one graph."""
    net = Exits()
    shape = f"[batch=2,{WIDTH}]"
    parts = {
        "begin": torch_part(Begin(net), f"x:float32{shape}", outputs=["early", "hidden"]),
        "rest": torch_part(Rest(net), f"hidden:float32{shape}", outputs=["late"]),
        "whole": torch_part(Whole(net), f"x:float32{shape}", outputs=["late"]),
    }

    def rollout():
        x = np.random.default_rng(1).standard_normal((3, WIDTH)).astype(np.float32)
        with torch.no_grad():
            late = Whole(net)(torch.from_numpy(x)).numpy()
            early = net.early(net.run(torch.from_numpy(x), 0, 2)).numpy()
        both = [Call("begin", {"x": x}, {"early": early}), Call("rest", {}, {"late": late})]
        return [*both, Call("whole", {"x": x}, {"late": late})]

    facts = SourceFacts(kind="factory", location="exits", fingerprint="")
    return TorchModel(parts, facts, links=(StateLink("begin", "hidden", "rest", "hidden"),), rollout=rollout)
