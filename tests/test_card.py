"""The card of a trained adapter says what its run's results say, and nothing is pushed unless it is asked for."""

from __future__ import annotations

import copy
import dataclasses

import huggingface_hub
import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import LocalTokenNotFoundError
from peft import get_peft_model

from r3lib import models
from r3lib.files import RESULTS, R3Error
from r3lib.machine.profiles import PARTNERS, PROFILES, profile
from r3lib.pages import card, report

TASKS = ("countdown", "function_calling")


# the small model that is set beside nano's, once it has runs
SMALL = [name for name in [PARTNERS["nano"]] if (RESULTS / "countdown" / profile(name).name).is_dir()]


@pytest.fixture(params=TASKS)
def stored(request):
    """(profile, runs of the stored seed 0, its task)."""
    return profile("nano", request.param), report.collect(RESULTS / request.param / "nano" / "seed0"), request.param


def test_the_card_holds_the_tables_of_the_results(stored):
    chosen, runs, task = stored
    text = card.card(chosen, runs, f"someone/r3-{task}")
    for temperature in (chosen.temperature, 0.0):
        assert report.table(runs, temperature) in text
    record = next(r.record for r in runs if r.record["trained"])
    for word in (record["commit"], record["packages"]["trl"], record["machine"], f"seed {record['seed']}"):
        assert word in text
    group = "num_generations" if "num_generations" in record["settings"] else "group"  # as the oldest files have it
    for name in ("learning_rate", "beta", group, "steps"):
        assert f"| {name} | {record['settings'][name]} |" in text


def test_the_hub_can_read_the_card(stored, tmp_path):
    chosen, runs, task = stored
    card.write_card(tmp_path, chosen, runs)
    data = ModelCard.load(tmp_path / "README.md").data.to_dict()
    assert data["library_name"] == "peft" and data["license"] == "apache-2.0" and "arXiv:2505.24726" in data["tags"]
    assert "base_model" not in data  # r3-nano is in this repository, not on the hub


def test_the_hub_gets_every_figure_of_the_trained_model(stored, tmp_path):
    chosen, runs, task = stored
    card.write_card(tmp_path, chosen, runs, "someone/adapter")
    data = ModelCard.load(tmp_path / "README.md").data
    rows = [row for row in report.summary_rows(runs) if row["trained"] and row["seed"] == 0]
    assert data.model_name == "adapter" and len(data.eval_results) == len(rows) >= 20
    for found, row in zip(data.eval_results, rows):
        assert found.metric_value == pytest.approx(row["mean"], abs=1e-4) and found.dataset_type == task
        assert found.metric_args == {"temperature": row["temperature"], "n": row["n"]}
    names = {found.metric_name for found in data.eval_results}
    assert len(names) == len(rows) and "first try, temperature 0" in names


@pytest.mark.parametrize("name", ["nano", *SMALL])
def test_the_code_on_the_card_names_a_profile_that_there_is(name):
    chosen = profile(name)
    text = card.card(chosen, report.collect(RESULTS / "countdown" / chosen.name / "seed0"), "a/b")
    assert f'models.load(profile("{name}", "countdown"))' in text
    assert ModelCard(text).data.license == "apache-2.0"


def test_a_real_model_is_named_with_its_licence(stored, monkeypatch):
    _, runs, _ = stored
    monkeypatch.setattr(report, "table", lambda runs, temperature: "")
    named = {
        name: card.card(dataclasses.replace(PROFILES["rtx24"], model=name), runs, "a/b")
        for name in ("Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-3B-Instruct", "meta-llama/Llama-3.2-1B-Instruct")
    }
    found = {name: ModelCard(text).data.to_dict() for name, text in named.items()}
    assert all(data["base_model"] == name for name, data in found.items())
    assert [data["license"] for data in found.values()] == ["apache-2.0", "other", "llama3.2"]
    assert found["Qwen/Qwen2.5-3B-Instruct"]["license_name"] == "qwen-research"


def test_a_model_whose_weights_were_all_trained_is_no_adapter(stored):
    chosen, runs, _ = stored
    text = card.card(dataclasses.replace(chosen, four_bit=False, lora_rank=None), runs, "a/b")
    assert "all weights trained with the R3 kit" in text and 'from_pretrained("a/b")' in text
    assert "LoRA" not in text and "PeftModel" not in text
    data = ModelCard(text).data.to_dict()
    assert data["library_name"] == "transformers" and "lora" not in data["tags"]


def test_a_run_that_is_not_finished_has_no_card(stored):
    chosen, runs, _ = stored
    with pytest.raises(R3Error, match="run the experiment to its end"):
        card.card(chosen, [run for run in runs if not run.record["trained"]], "a/b")


def test_what_is_kept_loads_and_names_nothing_of_this_machine(stored, nano, small, tmp_path):
    chosen, runs, task = stored
    get_peft_model(copy.deepcopy(nano[0]), models.lora(small)).save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / "training_args.bin").write_bytes(b"of this machine")
    (tmp_path / "adapter" / "record.json").write_text("{}", encoding="utf-8")
    card.write_card(tmp_path / "adapter", chosen, runs)
    card.keep(tmp_path / "adapter", tmp_path / "kept")
    names = {"adapter_config.json", "README.md", "adapter_model.safetensors", "record.json"}
    assert {path.name for path in (tmp_path / "kept").iterdir()} == names
    loaded = models.with_adapter(copy.deepcopy(nano[0]), tmp_path / "kept")
    assert any("lora_" in name for name, _ in loaded.named_parameters())


@pytest.mark.parametrize("name, task", [*((name, "countdown") for name in ("nano", *SMALL)), ("nano", TASKS[1])])
def test_stored_cards_are_what_the_results_say(name, task, tmp_path):
    chosen = profile(name, task)
    for folder in sorted((RESULTS / task / chosen.name).glob("seed*/adapter")):
        card.write_card(tmp_path, chosen, report.collect(folder.parent))
        stored, made = ((place / "README.md").read_text(encoding="utf-8") for place in (folder, tmp_path))
        assert stored == made


@pytest.mark.parametrize("task", TASKS)
def test_stored_adapters_load(task):
    folders = sorted((RESULTS / task / "nano").glob("seed*/adapter"))
    for folder in folders:
        model, _ = models.load(profile("nano", task), folder)
        moved = [p for name, p in model.named_parameters() if "lora_B" in name]
        assert moved and all(p.abs().max() > 0 for p in moved)
        config = (folder / "adapter_config.json").read_text(encoding="utf-8")
        assert "/" not in config.split("base_model_name_or_path")[1].split(",")[0]


class FakeHub:
    """Stands in for the hub's client; remembers what it was asked."""

    def __init__(self, error: Exception | None = None):
        self.error, self.asked = error, []

    def create_repo(self, name, **options):
        if self.error:
            raise self.error
        self.asked.append(("create_repo", name, options))

    def upload_folder(self, **options):
        self.asked.append(("upload_folder", options))


def test_push_uploads_the_folder_without_what_names_this_machine(tmp_path, monkeypatch):
    fake = FakeHub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: fake)
    assert card.push(tmp_path, "someone/adapter") == "https://huggingface.co/someone/adapter"
    (_, name, made), (_, sent) = fake.asked
    assert name == sent["repo_id"] == "someone/adapter" and made == {"exist_ok": True}
    assert sent["folder_path"] == tmp_path and sent["ignore_patterns"] == ["training_args.bin"]


@pytest.mark.parametrize("error", [LocalTokenNotFoundError("Token is required"), ConnectionError("no network"), None])
def test_a_push_that_fails_says_what_to_do_and_where_the_adapter_is(tmp_path, monkeypatch, error):
    """None: the hub's own client, where nothing answers."""
    away = huggingface_hub.HfApi(endpoint="http://127.0.0.1:9", token="hf_x")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: FakeHub(error) if error else away)
    with pytest.raises(R3Error, match="kept in .* `hf auth login`") as caught:
        card.push(tmp_path, "someone/adapter")
    assert f'repeat with `hf upload someone/adapter "{tmp_path}" . --exclude training_args.bin`.' in str(caught.value)
    assert error or "ConnectError" in str(caught.value)


def test_a_name_that_is_none_is_told(tmp_path):
    with pytest.raises(R3Error, match="OWNER/NAME"):
        card.push(tmp_path, "no/such/name")
