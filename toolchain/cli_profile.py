"""`edgepack profile`: parse, call, print. Hooked into the command line by `add_to`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepack.toolchain import cli_options as opt
from edgepack.toolchain.cli_shared import errors_shown

if TYPE_CHECKING:
    from edgepack.toolchain.devices.results import DeviceProfile


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("profile")(profile)


def profile(  # noqa: PLR0913 - options of a command
    subject: Annotated[
        str, typer.Argument(metavar="BUNDLE|MODEL", help="A folder that export wrote, or a model.")
    ],
    device: Annotated[
        str,
        typer.Option(
            "--device",
            "-d",
            help="local, ssh://[user@]host[:port], adb://SERIAL, adb://host:port or board://NAME.",
        ),
    ],
    target: Annotated[str | None, typer.Option("--target", "-t", help="Only this target.")] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", "-p", help="Of a MODEL [default: fp32].")
    ] = None,
    preset: Annotated[str, typer.Option(help="quick, single-stream or sustained.")] = "quick",
    scenario: Annotated[
        str | None,
        typer.Option(
            help="single-stream or offline: MLPerf's rules, by its LoadGen where the device has it."
        ),
    ] = None,
    sustain: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Measure each for so long, with a plot over time.")
    ] = None,
    sweep: Annotated[  # noqa: FBT002 - typer
        bool, typer.Option("--sweep", help="On one big core, all big, little and all cores, too.")
    ] = False,
    threads: Annotated[int, typer.Option(help="Threads within one operator.")] = 1,
    prepare: Annotated[  # noqa: FBT002 - typer
        bool, typer.Option("--prepare", help="Fix the device's clocks before, and restore them afterwards.")
    ] = False,
    python: Annotated[str | None, typer.Option(help="The device's Python [default: python3].")] = None,
    runner: Annotated[
        str, typer.Option(help="python, native (needs no Python there), or auto: Python where it is.")
    ] = "auto",
    onnxruntime: Annotated[
        Path | None,
        typer.Option(help="For native: the device's libonnxruntime.so, or a wheel or archive that holds it."),
    ] = None,
    ndk: Annotated[Path | None, typer.Option(help="For native on Android: the NDK's folder.")] = None,
    benchmark_model: Annotated[
        Path | None, typer.Option(help="LiteRT's tool, built for the device: measures .tflite files.")
    ] = None,
    executor_runner: Annotated[
        Path | None, typer.Option(help="ExecuTorch's tool, built for the device: measures .pte files.")
    ] = None,
    workdir: Annotated[str | None, typer.Option(help="edgepack's folder on the device.")] = None,
    ssh_config: Annotated[
        Path | None, typer.Option(help="A configuration for ssh instead of your own.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of profile.json and profile.html [default: BUNDLE-profile]."
        ),
    ] = None,
    trust_pickle: opt.TrustPickle = False,  # noqa: FBT002 - typer
    trust_remote_code: opt.TrustRemoteCode = False,  # noqa: FBT002 - typer
    json_: opt.Json = False,  # noqa: FBT002 - typer
    quiet: opt.Quiet = False,  # noqa: FBT002 - typer
    debug: opt.Debug = False,  # noqa: FBT002 - typer
) -> None:
    """Measure a bundle's artifacts on a device, after checking their outputs there."""
    with errors_shown(debug=debug):
        from edgepack.toolchain import api

        folder = _folder(out, subject)
        found = api.profile(
            subject, device, target=target, precision=precision, preset=preset, scenario=scenario,
            sustain_s=sustain, sweep=sweep, threads=threads, prepare=prepare, runner=runner,
            python=python, onnxruntime=onnxruntime, ndk=ndk,
            tools=_given(benchmark_model=benchmark_model, executor_runner=executor_runner),
            workdir=workdir, ssh_config=ssh_config, out=folder,
            tell=(lambda _: None) if quiet else (lambda text: typer.echo(text, err=True)),
            **opt.given(trust_pickle=trust_pickle or None, trust_remote_code=trust_remote_code or None),
        )  # fmt: skip
        if json_:
            from edgepack.toolchain.devices import page

            typer.echo(page.machine(found).rstrip())
        elif not quiet:
            _print(found, folder)


def _given(**tools: Path | None) -> dict[str, Path]:
    return {name: path for name, path in tools.items() if path is not None}


def _folder(out: Path | None, subject: str) -> Path:
    from edgepack.toolchain.devices.opening import is_bundle
    from edgepack.toolchain.errors import UsageError

    if not is_bundle(subject):
        return out or Path("profile")
    bundle = Path(subject)
    folder = out or bundle.with_name(f"{bundle.resolve().name}-profile")
    if folder.resolve().is_relative_to(bundle.resolve()):
        raise UsageError(
            "A bundle holds what its manifest names and nothing else",
            where=f"--out {folder}",
            todo="Name a folder outside of it",
        )
    return folder


def _print(found: DeviceProfile, folder: Path) -> None:
    from rich.console import Console

    from edgepack.toolchain.devices import page, shown
    from edgepack.toolchain.report.text import cleaned

    console = Console()
    console.print(shown.terminal(cleaned(found)))
    console.print(f"Page: {folder / page.PAGE_FILE}", soft_wrap=True, highlight=False, markup=False)
