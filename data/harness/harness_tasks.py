"""What the harness's task files name: documents from committed data, and the verifiers' verdicts.

The harness hands each function that makes documents its metadata; `model` is the folder or hub name of the model that
is judged, whose tokenizer renders the prompts.
"""

from functools import cache
from pathlib import Path

from datasets import Dataset

from r3lib import models
from r3lib.conversation import prompt_ids
from r3lib.files import DATA, read_jsonl
from r3lib.problems import splits


@cache
def problems(task_name):
    return splits.problems(splits.TASKS[task_name], "test")


def first_tries(task_name, model):
    """Test problems as rendered prompts: chat template, tools and all."""
    task, tokenizer = splits.TASKS[task_name], models.load_tokenizer(model)
    ids = [prompt_ids(tokenizer, task.messages(p), task.tools(p)) for p in problems(task_name)]
    return {"test": Dataset.from_list([{"number": i, "prompt": tokenizer.decode(one)} for i, one in enumerate(ids)])}


def countdown(model, **_):
    return first_tries("countdown", model)


def function_calling(model, **_):
    return first_tries("function_calling", model)


def text(model, **_):
    return {"test": Dataset.from_list(read_jsonl(DATA / "harness" / f"held_out-{Path(model).name}.jsonl"))}


def judge(task_name, doc, results):
    return {"acc": int(splits.TASKS[task_name].verify(problems(task_name)[doc["number"]], results[0]).ok)}


def judge_countdown(doc, results):
    return judge("countdown", doc, results)


def judge_function_calling(doc, results):
    return judge("function_calling", doc, results)
