"""An emulated board as a device: this machine's shell moves its files, and the emulator runs its programs."""

from __future__ import annotations

from pathlib import Path

from edgepack.runtime.devices import client
from edgepack.runtime.devices.address import Address
from edgepack.runtime.devices.base import transports
from edgepack.runtime.devices.board import boards, programs, userland
from edgepack.runtime.devices.transports.local import LocalTransport
from edgepack.toolchain.errors import DeviceError
from edgepack.toolchain.results import Tool


@transports.register("board")
class BoardTransport(LocalTransport):
    """A board that `edgepack board start` switched on.

    Raises:
        UsageError: There is no such board.
    """

    def __init__(self, address: Address, *, config: Path | None = None) -> None:
        super().__init__(address, config=config)
        self._board = boards.get(address.serial or "")
        self._started = boards.started(self._board)
        self.default_workdir = str(self._board.folder / "home")
        self.root = str(self._board.root)
        self.onnxruntime = self._board.library

    def open(self) -> None:
        started = boards.started(self._board)
        if started is None:
            raise DeviceError(
                "The board is not switched on",
                where=str(self.address),
                todo=f"Switch it on with: edgepack board start {self._board.name}",
            )
        self._started = started
        self.emulator = Tool(name=Path(started.emulator).name, version=started.version)
        self.emulated = f"QEMU {started.version} plays a {self._board.processor}"
        self.uncounted = started.uncounted

    def speak(self, script: bytes, limit_s: float) -> client.Spoken:
        spoken = client.call(["/bin/sh", "-s"], given=script, limit_s=limit_s, env=self._environment())
        if spoken.code is None:
            raise self.lost(f"The shell did not answer within {limit_s:g} s")
        return spoken

    def _environment(self) -> dict[str, str]:
        """Nothing of the user's own: two users' boards are alike."""
        if self._started is None or boards.started(self._board) is None:
            raise DeviceError("The board was switched off", where=str(self.address))
        board = self._board
        tools = board.folder / "bin"
        return {
            "PATH": str(tools),
            "HOME": self.default_workdir,
            "LANG": "C.UTF-8",
            "EDGEPACK_EMULATOR": str(tools / programs.EMULATE),
            "EDGEPACK_QEMU": self._started.emulator,
            "EDGEPACK_CPU": board.processor,
            "EDGEPACK_USERLAND": str(board.root),
            "EDGEPACK_PLUGIN": self._started.plugin,
            "EDGEPACK_PACKAGES": str(board.folder / "packages"),
            "EDGEPACK_PYTHON": str(board.root / userland.interpreter()),
        }
