"""Run the tests at one end of pyproject.toml's ranges and write down what passed with which versions: make test-lowest.

    python .ci/bounds.py lowest     in an environment of its own, in which uv has put the lowest version of each range
    python .ci/bounds.py locked     in this environment, that of the locks

Writes benchmarks/results/bounds.json and the table in docs/installing.md; a test holds pyproject.toml to both.
"""

import datetime
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import xml.etree.ElementTree as tree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULT, PAGE = ROOT / "benchmarks/results/bounds.json", ROOT / "docs/installing.md"
TESTS = ("loss", "grpo", "conversation", "families::test_a_size_without_torch_is_the_size_that_torch_counts")
EXTRAS = ("notebooks", "test", "forgetting")  # vLLM has a torch, and the site an environment, of its own
VERSIONS = (
    "import importlib.metadata as m, json;"
    "print(json.dumps({d.name.lower().replace('_', '-'): d.version for d in m.distributions()}))"
)


def ranges() -> dict[str, str]:
    """The ranges of the library and of those extras, by the package's name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(one for name in extras if name in EXTRAS for one in extras[name])]
    return dict(re.match(r"([\w-]+)(.*)", one).groups() for one in wanted)


def lowest(folder: str) -> str:
    """The Python of a new environment with the lowest versions."""
    python = f"{folder}/bin/python"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, folder], check=True)
    command = [*uv, "pip", "install", "-q", "--no-config", "--python", python, "--resolution", "lowest-direct"]
    subprocess.run([*command, "-e", f"{ROOT}[{','.join(EXTRAS)}]"], check=True)
    return python


def run(python: str, folder: str) -> dict:
    """What ran, with which versions, and how it went."""
    told = subprocess.run([python, "-c", VERSIONS], capture_output=True, encoding="utf-8", check=True).stdout
    here = json.loads(told)
    files = ["tests/test_{}.py{}".format(*re.match(r"(\w+)(.*)", name).groups()) for name in TESTS]
    report = Path(folder) / "report.xml"
    command = [python, "-m", "pytest", "-n", os.environ.get("JOBS", "2"), "--dist", "loadfile", f"--junitxml={report}"]
    subprocess.run([*command, "-p", "no:cacheprovider", *files], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    suite = next(tree.parse(report).iter("testsuite")).attrib
    return {
        "date": datetime.date.today().isoformat(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "ran": f"pytest {' '.join(files)}",
        **{kind: int(suite[kind]) for kind in ("tests", "failures", "errors", "skipped")},
        "versions": {name: here[name] for name in sorted(ranges())},
    }


def table(found: dict[str, dict]) -> str:
    """Each range with the versions at both ends that the tests passed with, and what they were."""
    ends = [end for end in ("lowest", "locked") if end in found]
    rows = [["package", "range", *ends], ["---"] * (2 + len(ends))]
    rows += [
        [f"`{name}`", wanted or "any", *(found[end]["versions"].get(name, "") for end in ends)]
        for name, wanted in ranges().items()
    ]
    told = "".join(
        f"*{end}*: {one['date']}, Python {one['python']}, {one['tests']} tests, of them {one['skipped']} skipped and "
        f"{one['failures'] + one['errors']} failed: `{one['ran']}`.\n"
        for end, one in found.items()
    )
    return "".join(f"| {' | '.join(row)} |\n" for row in rows) + f"\n{told}"


def main(end: str) -> None:
    """Raises SystemExit if a test failed: then nothing is written."""
    with tempfile.TemporaryDirectory() as folder:
        one = run(lowest(f"{folder}/lowest") if end == "lowest" else sys.executable, folder)
    if one["failures"] or one["errors"]:
        sys.exit(f"{one['failures'] + one['errors']} tests failed with {json.dumps(one['versions'], indent=1)}")
    found = (json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}) | {end: one}
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    before, start, rest = PAGE.read_text(encoding="utf-8").partition("<!-- bounds:start -->\n")
    _, stop, after = rest.partition("<!-- bounds:end -->")
    PAGE.write_text(before + start + table(found) + stop + after, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
