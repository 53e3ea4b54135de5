"""A farm on a real Ray cluster of this machine: a worker is killed in the middle, and nothing is lost or doubled."""

from __future__ import annotations

import csv
import ipaddress
import json
import os
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from edgepack.toolchain import api
from edgepack.toolchain.errors import ToolchainMissingError, UnknownNameError, UsageError
from edgepack.toolchain.farm.store import Store
from tests.runtime.devices.sshd import server
from tests.toolchain.farm.test_run import bundle

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed (extra farm-ray)")
LIMIT_S = 240


def two_bundles(tmp_path, devices):
    for title, layers in (("one", 1), ("two", 2)):
        bundle(tmp_path / title, layers)
    text = f"bundles: {{one: one, two: two}}\npreset: quick\ndevices: {{{devices}}}\n"
    (tmp_path / "devices.yaml").write_text(text)


def started(tmp_path, *words):
    command = [
        sys.executable,
        "-m",
        "edgepack",
        "farm",
        "devices.yaml",
        "--out",
        "out",
        "--executor",
        "ray",
        *words,
    ]
    environment = {**os.environ, "HOME": str(tmp_path)}
    with (tmp_path / "said").open("wb") as said:
        return subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=subprocess.STDOUT, env=environment)


def workers(driver):
    """Processes of Ray that do a task of ours now; Ray names each by its function."""
    found = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        try:
            if process.cmdline()[:1] == ["ray::_measured"]:
                found.append(process)
        except psutil.Error:
            continue
    return found


def reaches_out(worker):
    """Whether it talks over ssh."""
    try:
        return any(child.name() == "ssh" for child in worker.children())
    except psutil.Error:
        return False


def listening(driver):
    """Programs of the cluster with the addresses at which they listen."""
    found = set()
    for process in psutil.Process(driver.pid).children(recursive=True):
        try:
            name = " ".join(process.cmdline()[:3])[-80:]
            found |= {
                (name, one.laddr.ip) for one in process.net_connections("tcp") if one.status == "LISTEN"
            }
        except psutil.Error:
            continue
    return found


def is_loopback(text):
    """127.0.0.1 in an IPv6 socket too ("::ffff:127.0.0.1")."""
    address = ipaddress.ip_address(text)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def until(reached, driver, said):
    deadline = time.monotonic() + LIMIT_S
    while not (found := reached()):
        assert driver.poll() is None, said.read_text()
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.05)
    return found


@needs_ray
@pytest.mark.slow
@pytest.mark.system("openssh-server")
def test_a_worker_is_killed_in_the_middle(tmp_path):
    """Two devices, two bundles: the run that the dead worker had begun is taken from the device and done again."""
    with server(tmp_path) as sshd:
        there = f"there: {{address: '{sshd.address}', ssh_config: {sshd.config}, python: {sys.executable}"
        two_bundles(
            tmp_path,
            f"{there}, workdir: {tmp_path}/far}}, here: {{address: local, workdir: {tmp_path}/near}}",
        )
        driver = started(tmp_path)
        said = tmp_path / "said"
        try:
            running = until(lambda: list(tmp_path.glob("far/runs/*/started")), driver, said)
            addresses = listening(driver)
            victims = until(lambda: [one for one in workers(driver) if reaches_out(one)], driver, said)
            begun = running[0].parent
            for one in victims:
                one.kill()
            assert driver.wait(LIMIT_S) == 0, said.read_text()
        finally:
            if driver.poll() is None:
                driver.send_signal(signal.SIGINT)
                driver.wait(60)
    text = said.read_text()
    assert "the worker died" in text
    rows = list(csv.DictReader((tmp_path / "out" / "farm.csv").read_text().splitlines()))
    every = [("there", "one"), ("there", "two"), ("here", "one"), ("here", "two")]
    assert [(row["device"], row["bundle"]) for row in rows] == every
    assert all(row["verdict"] == "first" and float(row["p50_ms"]) > 0 for row in rows)
    with Store(f"sqlite:///{tmp_path / 'farm.db'}") as store:
        assert store.last_run() == 1
        kept = store._rows(store._sql.select(store._results.c.device, store._results.c.bundle))
        assert sorted(tuple(row) for row in kept) == sorted(every), "each once"
    assert not begun.exists()
    assert not [*tmp_path.glob("far/runs/*"), *tmp_path.glob("near/runs/*")]
    assert addresses
    assert [one for one in addresses if not is_loopback(one[1])] == []
    assert not (tmp_path / ".ray").exists(), "no token is left in the home folder"


@needs_ray
@pytest.mark.slow
def test_workers_that_always_die_are_a_figure_that_is_missing(tmp_path):
    """Three of them, and then the other bundle's turn comes; the exit code says that a device gave no figure."""
    two_bundles(tmp_path, f"here: {{address: local, workdir: {tmp_path}/near}}")
    driver = started(tmp_path, "--json")
    said = tmp_path / "said"
    killed: set[int] = set()
    stop = threading.Event()

    def kill():
        while not stop.is_set() and len(killed) < 3:
            for one in workers(driver):
                killed.add(one.pid)
                one.kill()
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    try:
        killer.start()
        assert driver.wait(LIMIT_S) == 4, said.read_text()
    finally:
        stop.set()
        killer.join()
        if driver.poll() is None:
            driver.send_signal(signal.SIGINT)
            driver.wait(60)
    (report,) = [json.loads(line) for line in said.read_text().splitlines() if line.startswith("{")]
    first, second = report["results"]
    assert (first["bundle"], first["verdict"]) == ("one", "no figure")
    assert "3 workers died" in first["error"]
    assert (second["bundle"], second["verdict"]) == ("two", "first")


def test_an_executor_that_there_is_not_and_a_cluster_for_none(tmp_path):
    two_bundles(tmp_path, "here: {address: local}")
    with pytest.raises(UnknownNameError, match="slurm"):
        api.farm(tmp_path / "devices.yaml", executor="slurm")
    with pytest.raises(UsageError, match=r"--cluster 1\.2\.3\.4:5.*--executor ray"):
        api.farm(tmp_path / "devices.yaml", cluster="1.2.3.4:5")
    assert not Path(tmp_path / "farm.db").exists()


def test_without_ray(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    two_bundles(tmp_path, "here: {address: local}")
    with pytest.raises(ToolchainMissingError, match=r"pip install 'edgepack\[farm-ray\]'"):
        api.farm(tmp_path / "devices.yaml", executor="ray")
