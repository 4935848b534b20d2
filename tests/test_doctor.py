"""What the doctor says of machines that are described to it, and of this one; and how a run that cannot go on ends."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from r3lib import models
from r3lib.__main__ import main
from r3lib.files import ROOT, R3Error
from r3lib.machine import doctor, families, terminal
from r3lib.machine.doctor import Machine, best, in_the_way
from r3lib.machine.profiles import PROFILES

LAPTOP = Machine(cores=2, memory=8, disk=50)
T4 = Machine(cores=2, memory=13, disk=70, gpu="Tesla T4", gpu_memory=14.6, driver=True, cuda="12.8")
BIG = Machine(cores=16, memory=64, disk=500, gpu="RTX 4090", gpu_memory=23.5, bf16=True, driver=True, cuda="12.8")


@pytest.fixture(autouse=True)
def nothing_downloaded(monkeypatch):
    monkeypatch.setattr(doctor, "downloaded", lambda model: False)


def test_each_machine_gets_the_largest_profile_that_it_can_run():
    assert best(LAPTOP).name == "nano"
    assert best(T4).name == "t4"
    assert best(BIG).name == "rtx24"
    assert best(BIG._replace(gpu_memory=10.0)).name == "rtx12"


@pytest.mark.parametrize(
    "profile, here, says",
    [
        ("nano", LAPTOP._replace(memory=1.0), "1.0 are here"),
        ("t4", LAPTOP, "no GPU"),
        ("t4", LAPTOP._replace(driver=True), "CPU build"),
        ("t4", LAPTOP._replace(driver=True, cuda="13.0"), "update the driver"),
        ("rtx12", T4, "no bfloat16: use the profile t4"),
        ("rtx24", BIG._replace(gpu_memory=9.5), "9.5 GB of the GPU are free"),
        ("rtx24", BIG._replace(disk=3.0), "set HF_HOME"),
        ("rtx24", BIG, "hf download Qwen/Qwen2.5-3B-Instruct"),
    ],
)
def test_what_is_in_the_way_comes_with_what_to_do(profile, here, says):
    assert says in " ".join(in_the_way(PROFILES[profile], here))


def test_a_gated_model_wants_a_token():
    gated = replace(PROFILES["rtx24"], model="meta-llama/Llama-3.2-3B-Instruct")
    assert families.known()[gated.model].gated
    assert "hf auth login" in " ".join(in_the_way(gated, BIG))
    assert "hf auth login" not in " ".join(in_the_way(gated, BIG._replace(token=True)))


def test_nothing_is_in_the_way_once_the_weights_are_there(monkeypatch):
    monkeypatch.setattr(doctor, "downloaded", lambda model: True)
    assert in_the_way(PROFILES["rtx24"], BIG) == []
    assert in_the_way(PROFILES["nano"], LAPTOP) == []


def test_the_command_describes_this_machine(capsys, monkeypatch):
    for name in ("COLAB_RELEASE_TAG", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n{name} " in said for name in PROFILES)
    assert torch.__version__ in said and f"Use the profile {best(doctor.machine()).name}: r3 reproduce" in said
    assert f"checkout {ROOT}, commit " in said
    assert "no terminal, but a file or a pipe, encoding " in said
    assert f"({families.ESTIMATED})" in said and "(measured)" in said and "nothing estimated was measured" in said


def test_an_installed_package_is_told_from_a_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "__file__", str(tmp_path / "site-packages" / "r3lib" / "machine" / "doctor.py"))
    assert re.fullmatch(r"installed package, r3lib [\d.]+ in .*site-packages; data and results in .*", doctor.kit())


def test_what_shows_the_output_is_told(monkeypatch):
    """A kernel's environment goes to the commands that a notebook starts."""
    for name in ("COLAB_RELEASE_TAG", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True))
    assert terminal.kind() == "a terminal"
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    assert terminal.kind() == "Jupyter"
    monkeypatch.setenv("COLAB_RELEASE_TAG", "x")
    assert terminal.kind() == "Colab"


def test_out_of_memory_names_the_settings_to_lower():
    with pytest.raises(R3Error, match=r"micro_batch \(4\)"), models.memory_explained(PROFILES["rtx12"]):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_a_card_without_bfloat16_is_told_of_the_t4_profile(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda emulated: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    with pytest.raises(R3Error, match="Tesla T4 has no bfloat16.*profile t4"):
        models.load(PROFILES["rtx12"])
