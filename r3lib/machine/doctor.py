"""What can this machine run? Its facts, and for each profile whether it runs here and what is in the way.

Nothing is downloaded, loaded or changed. Memory and time are the profile's measured figures where there are any, else
`families.estimate` and `families.hours`, and the table says which.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import huggingface_hub
import psutil
import torch

from r3lib import record
from r3lib.config import Profile
from r3lib.files import HOME, ROOT
from r3lib.machine import families, terminal
from r3lib.machine.profiles import PROFILES
from r3lib.record import PACKAGES

GB = 2**30
SPARE = 0.9  # of a card's free memory: the rest is CUDA's own and lost to fragments


class Machine(NamedTuple):
    """Memory and disk in GB. `gpu`: the first card's name, None if torch sees none."""

    cores: int
    memory: float
    disk: float  # free, where models are downloaded to
    gpu: str | None = None
    gpu_memory: float = 0.0  # free now
    bf16: bool = False
    driver: bool = False  # an NVIDIA driver is installed, whether or not torch can use it
    cuda: str | None = None  # what torch was built for
    token: bool = False  # signed in to the hub


def machine() -> Machine:
    """The machine this runs on."""
    cache = Path(huggingface_hub.constants.HF_HUB_CACHE)
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    here = torch.cuda.is_available()
    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=psutil.virtual_memory().total / GB,
        disk=shutil.disk_usage(there).free / GB,
        gpu=torch.cuda.get_device_name() if here else None,
        gpu_memory=torch.cuda.mem_get_info()[0] / GB if here else 0.0,
        bf16=here and torch.cuda.is_bf16_supported(including_emulation=False),
        driver=shutil.which("nvidia-smi") is not None,
        cuda=torch.version.cuda,
        token=huggingface_hub.get_token() is not None,
    )


def downloaded(model: str) -> bool:
    """Whether a model's weights are in the hub's cache, or it is a folder."""
    weights = ("model.safetensors", "model.safetensors.index.json")
    return Path(model).is_dir() or any(
        isinstance(huggingface_hub.try_to_load_from_cache(model, name), str) for name in weights
    )


def needs(profile: Profile) -> float:
    """GB that the profile needs: of the GPU, or of main memory if it wants none."""
    return profile.memory_gb or families.estimate(profile)


def in_the_way(profile: Profile, here: Machine) -> list[str]:
    """What keeps the profile from running, each with what to do about it; empty if it runs as it is."""
    out = obstacles(profile, here)
    if here.gpu and not downloaded(profile.model):
        out.append(f"weights not here yet: `hf download {profile.model}` ({download_gb(profile.model):.1f} GB)")
    return out


def download_gb(model: str) -> float:
    """GB of a known model's weights in 16 bits."""
    return families.size(model).all * 2 / GB


def obstacles(profile: Profile, here: Machine) -> list[str]:
    """What is in the way apart from weights that need only be fetched."""
    need, out = needs(profile), []
    if profile.gpu is None:
        if here.memory < need:
            out.append(
                f"needs {need:.1f} GB of memory, {here.memory:.1f} are here: lower `rollout_batch_size` and "
                "`micro_batch`"
            )
        if not (Path(profile.model) / "config.json").exists():
            out.append("its model is not here yet: `r3 fetch smollm2`")
        return out
    if here.gpu is None:
        if here.driver and here.cuda is None:
            out.append("torch is the CPU build, but there is an NVIDIA driver: install a CUDA build of torch")
        elif here.driver:
            out.append(
                f"torch (CUDA {here.cuda}) cannot use the NVIDIA driver here: update the driver, or choose "
                "a torch built for its CUDA"
            )
        else:
            out.append("no GPU")
        return out
    if here.gpu_memory * SPARE < need:
        out.append(
            f"{here.gpu_memory:.1f} GB of the GPU are free, too little: lower `rollout_batch_size`, `micro_batch` "
            "or the lengths, or take a smaller model"
        )
    if profile.dtype == "bfloat16" and not here.bf16:
        out.append("the GPU has no bfloat16: use the profile t4, or dtype float16")
    if not downloaded(profile.model):
        size = download_gb(profile.model)
        if here.disk < size * 1.1:
            out.append(f"the weights take {size:.0f} GB of disk, {here.disk:.0f} are free: set HF_HOME elsewhere")
        if families.known()[profile.model].gated and not here.token:
            out.append(f"gated: accept the licence at https://huggingface.co/{profile.model}, then `hf auth login`")
    return out


def best(here: Machine) -> Profile:
    """The largest profile (they stand in that order) that only wants its weights fetched, else nano."""
    fits = [p for p in PROFILES.values() if not p.name.endswith(("smol", "paper", "-long")) and not obstacles(p, here)]
    return fits[-1] if fits else PROFILES["nano"]


def kit() -> str:
    """Where this code is from, a checkout or an installed package, and where its data are, if elsewhere."""
    code = Path(__file__).resolve().parents[2]
    if (code / "pyproject.toml").exists():
        own = f"checkout {code}, commit {record.commit()}"
    else:
        own = f"installed package, r3lib {importlib.metadata.version('r3lib')} in {code}"
    return own if code == ROOT else f"{own}; data and results in {ROOT}"


def text(here: Machine) -> str:
    """The report that `r3 doctor` prints."""
    gpu = f"{here.gpu}, {here.gpu_memory:.1f} GB free" if here.gpu else "no GPU that torch can use"
    lines = [
        f"machine   {here.cores} cores, {here.memory:.1f} GB of memory, {gpu}, {here.disk:.0f} GB of disk",
        f"software  python {platform.python_version()}, "
        + ", ".join(f"{name} {importlib.metadata.version(name)}" for name in (*PACKAGES, "accelerate")),
        f"kit       {kit()}; writes to {HOME}",
        f"output    {terminal.kind()}, encoding {sys.stdout.encoding}",
        "",
    ]
    for profile in PROFILES.values():
        reasons = in_the_way(profile, here)
        lines.append(
            f"{profile.name:11} {Path(profile.model).name}: {'GPU ' * bool(profile.gpu)}{families.fits(profile)}. "
            + ("Runs here." if not reasons else "In the way:")
        )
        lines += [f"{'':12}- {reason}" for reason in reasons]
    chosen = best(here)
    choice = "" if chosen.name == "nano" else f" --profile {chosen.name}"
    lines += [
        "",
        "The sums are in r3lib/machine/families.py; nothing estimated was measured.",
        f"Use the profile {chosen.name}: r3 reproduce{choice}",
    ]
    return "\n".join(lines)
