"""The network of `stateful_conformer`, its streaming step, and its decoders."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from edgepack.exporters.architectures._building import facts
from edgepack.exporters.architectures.blocks._conformer import ConformerLayer
from edgepack.exporters.architectures.blocks._each import each
from edgepack.exporters.architectures.blocks._relative import distances
from edgepack.exporters.architectures.blocks._subsampling import FACTOR, CausalSubsampling
from edgepack.exporters.architectures.blocks._transducer import Joint, Prediction
from edgepack.exporters.architectures.blocks._weights import initialize
from edgepack.exporters.sources.base import TorchModel
from edgepack.exporters.sources.parts import torch_part
from edgepack.toolchain.program import Call, StateLink

if TYPE_CHECKING:
    import numpy as np

    from edgepack.exporters.architectures.speech.stateful_conformer import StatefulConformer

_UNSEEN = -24.0
"""Added to the scores of slots that hold nothing yet: exp(-24) is 4e-11, and 24 still leaves an 8-bit scale room."""


class Network(torch.nn.Module):
    """Encoder, and both decoders on top of it."""

    def __init__(self, config: StatefulConformer) -> None:
        super().__init__()
        self.config = config
        self.subsampling = CausalSubsampling(config.mels, config.channels, config.width)
        self.layers = torch.nn.ModuleList(
            ConformerLayer(config.width, config.heads, 4 * config.width, config.kernel, causal=True)
            for _ in range(config.layers)
        )
        self.ctc = torch.nn.Linear(config.width, config.vocabulary)
        self.prediction = Prediction(config.vocabulary, config.prediction, config.prediction_layers)
        self.joint = Joint(config.width, config.prediction, config.vocabulary)
        initialize(self, config.seed)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """The whole sequence at once, [batch, 8 n - 7, mels] to [batch, n, width]: every chunk sees its own."""
        config = self.config
        x: torch.Tensor = self.subsampling(mels) * math.sqrt(config.width)
        count = x.shape[1]
        chunk = torch.arange(count) // config.chunk
        behind = chunk[:, None] - chunk[None, :]
        seen = (behind >= 0) & (behind <= config.left // config.chunk)
        mask = torch.where(seen, 0.0, -math.inf)
        table = distances(count, count, config.width)
        for layer in each(self.layers, ConformerLayer):
            x = layer(x, layer.attention.far(table), mask)[0]
        return x


class Encoder(torch.nn.Module):
    """The streaming step: a chunk of frames and the states, to encoded frames and the next states."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net
        config = net.config
        table = distances(config.chunk, config.left + config.chunk, config.width)
        for index, layer in enumerate(each(net.layers, ConformerLayer)):
            # The distances within a chunk and to its past never change, nor does what the layer makes of them.
            self.register_buffer(f"far_{index}", layer.attention.far(table).detach())

    def forward(
        self, mels: torch.Tensor, seen: torch.Tensor, *states: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """One chunk.

        Args:
            mels: [batch, 8 chunk, mels].
            seen: [batch, left], 1 for every slot of the attention's past that holds a frame.
            states: Past of the three stages of subsampling; then keys, values and tail of every layer.

        Returns:
            [batch, chunk, width], and `seen` and the states for the next chunk.
        """
        config = self.net.config
        started = seen[:, -1:, None, None]
        x, after = self.net.subsampling.step(mels, started, states[:3])
        x = x * math.sqrt(config.width)
        known = torch.cat([seen, torch.ones_like(seen[:, :1]).expand(-1, config.chunk)], 1)
        mask = ((1 - known) * _UNSEEN)[:, None, None]
        for index, layer in enumerate(each(self.net.layers, ConformerLayer)):
            keys, values, tail = states[3 + 3 * index : 6 + 3 * index]
            far = self.get_buffer(f"far_{index}")
            x, (keys, values), tail = layer(x, far, mask, (keys, values), tail)
            after += [keys[:, :, config.chunk :], values[:, :, config.chunk :], tail]
        return x, known[:, config.chunk :], *after


class CTC(torch.nn.Module):
    """Scores of every frame's token."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, encoded: torch.Tensor) -> torch.Tensor:
        """[batch, chunk, width] to [batch, chunk, vocabulary]."""
        return self.net.ctc(encoded)  # type: ignore[no-any-return]


class Predict(torch.nn.Module):
    """The prediction network with its states one by one."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, token: torch.Tensor, *states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """As `Prediction`."""
        return self.net.prediction(token, states)  # type: ignore[no-any-return]


def state_shapes(config: StatefulConformer) -> dict[str, str]:
    """The shape of every state of the encoder, by name, as specifications have it."""
    bands = CausalSubsampling.bands(config.mels)
    head = config.width // config.heads
    states = {"seen": f"batch,{config.left}", "past_0": f"batch,1,1,{bands[0]}"}
    states |= {f"past_{i}": f"batch,{config.channels},1,{bands[i]}" for i in (1, 2)}
    for i in range(config.layers):
        states |= {f"{kind}_{i}": f"batch,{config.heads},{config.left},{head}" for kind in ("key", "value")}
        states[f"tail_{i}"] = f"batch,{config.width},1,{config.kernel - 1}"
    return states


def build(config: StatefulConformer, name: str, chunks: int) -> TorchModel:
    """Parts, links and rollout; `chunks` of the rollout."""
    net = Network(config).eval()
    states = state_shapes(config)
    cells = [f"{kind}_{i}" for i in range(config.prediction_layers) for kind in ("hidden", "memory")]
    batches = [{"batch": 1}, {"batch": 3}]

    def some_seen(shape: tuple[int, ...]) -> np.ndarray:
        import numpy as np

        return np.broadcast_to(np.arange(shape[1]) >= shape[1] // 2, shape).astype(np.float32)

    parts = {
        "encoder": torch_part(
            Encoder(net), f"mels:float32[batch=2,{FACTOR * config.chunk},{config.mels}]",
            *(f"{state}:float32[{shape}]" for state, shape in states.items()),
            outputs=["encoded", *(f"next_{state}" for state in states)],
            where=name, size_sets=batches, fixed={"seen": some_seen},
        ),
        "ctc": torch_part(
            CTC(net), f"encoded:float32[batch=2,{config.chunk},{config.width}]",
            outputs=["scores"], where=name, size_sets=batches,
        ),
        "prediction": torch_part(
            Predict(net), "token:int64[batch=2]",
            *(f"{cell}:float32[batch,{config.prediction}]" for cell in cells),
            outputs=["predicted", *(f"next_{cell}" for cell in cells)],
            where=name, size_sets=batches, upper={"token": config.vocabulary},
        ),
        "joint": torch_part(
            net.joint, f"frame:float32[batch=2,{config.width}]",
            f"prediction:float32[batch,{config.prediction}]",
            outputs=["scores"], where=name, size_sets=batches,
        ),
    }  # fmt: skip
    links = [StateLink("encoder", f"next_{state}", "encoder", state) for state in states]
    links += [StateLink("encoder", "encoded", "ctc", "encoded")]
    links += [StateLink("prediction", f"next_{cell}", "prediction", cell) for cell in cells]
    links += [StateLink("prediction", "predicted", "joint", "prediction")]
    return TorchModel(
        parts, facts(name, net, "automatic-speech-recognition"), links=tuple(links),
        rollout=lambda: rollout(net, chunks),
    )  # fmt: skip


def rollout(net: Network, chunks: int) -> list[Call]:
    """Chunks of one stream and both decoders, with what the whole sequence at once gives."""
    import numpy as np

    config = net.config
    rng = np.random.default_rng(7)
    ghosts = FACTOR - 1
    mels = rng.standard_normal((1, FACTOR * config.chunk * chunks, config.mels), np.float32)
    tokens = np.concatenate(
        [np.full((1, 1), config.vocabulary - 1), rng.integers(0, config.vocabulary - 1, (chunks - 1, 1))]
    )
    calls = []
    with torch.no_grad():
        whole = net(torch.from_numpy(mels[:, ghosts:]))
        scores = net.ctc(whole)
        states = [torch.zeros(1, config.prediction)] * (2 * config.prediction_layers)
        for index in range(chunks):
            part = slice(index * config.chunk, (index + 1) * config.chunk)
            frames = mels[:, FACTOR * part.start : FACTOR * part.stop]
            calls.append(Call("encoder", {"mels": frames}, {"encoded": whole[:, part].numpy()}))
            calls.append(Call("ctc", {}, {"scores": scores[:, part].numpy()}))
            predicted, *states = net.prediction(torch.from_numpy(tokens[index]), states)
            calls.append(Call("prediction", {"token": tokens[index]}, {"predicted": predicted.numpy()}))
            frame = whole[:, part.start]
            joined = net.joint(frame, predicted).numpy()
            calls.append(Call("joint", {"frame": frame.numpy()}, {"scores": joined}))
    return calls
