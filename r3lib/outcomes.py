"""What an evaluation found, problem by problem, and its file. No torch: tables and plots read this module alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from r3lib.files import R3Error, read_json
from r3lib.tasks import Verdict

RETRIES = ("second", "blind", "again", "generic", "shuffled", "redacted")
METRICS = {  # the last three: `r3lib.measure.controls`
    "first_try": "first",
    "second_try": "second",
    "blind_retry": "blind",
    "again_retry": "again",
    "generic_retry": "generic",
    "shuffled_retry": "shuffled",
    "redacted_retry": "redacted",
    "leak_rate": "leak",
    "lenient_first": "lenient",
    "forced_retry": "forced",
    "plan_first": "plan",
    "resampled": "resampled",
}


@dataclass
class Outcomes:
    """Per-problem outcomes of one run, in the order of the problems.

    right: arm -> one 0 or 1 a problem (retries cumulative); "lenient": the first try, if a right answer anywhere in its
    text is enough. kinds: "first" and "second" -> the verifier's kind.
    leak: 1 where the own reflection gave a right answer away, 0 where not, None where the first try was right.
    reflection_tokens: length, None where none was written. tokens: arm -> tokens sampled for it in all problems, the
    first tries apart (a retry after words that were put there costs the retry alone). examples: a few whole
    conversations, as text.
    """

    right: dict[str, list[int]] = field(default_factory=lambda: {arm: [] for arm in ("first", "lenient", *RETRIES)})
    kinds: dict[str, list[str]] = field(default_factory=lambda: {"first": [], "second": []})
    leak: list[int | None] = field(default_factory=list)
    reflection_tokens: list[int | None] = field(default_factory=list)
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("first", *RETRIES), 0))
    examples: list[dict[str, str]] = field(default_factory=list)

    def add(
        self,
        first: Verdict,
        retries: dict[str, Verdict],
        leak: int | None = None,
        reflection_tokens: int | None = None,
        tokens: dict[str, int] | None = None,
        lenient: bool = False,
    ) -> None:
        """Append one problem: the verdict on its first try and, if that failed, on every retry."""
        self.right["first"].append(int(first.ok))
        self.right["lenient"].append(int(first.ok or lenient))
        for arm in RETRIES:
            self.right[arm].append(int(first.ok or retries[arm].ok))
        self.kinds["first"].append(first.kind)
        self.kinds["second"].append((first if first.ok else retries["second"]).kind)
        self.leak.append(leak)
        self.reflection_tokens.append(reflection_tokens)
        for arm, count in (tokens or {}).items():
            self.tokens[arm] += count

    def rate(self, arm: str) -> float:
        return float(np.mean(self.right[arm]))

    def to_json(self) -> dict:
        """Compact: 0 and 1 as one string an arm, kinds as whole numbers that point into a legend."""
        legend = sorted({k for kinds in self.kinds.values() for k in kinds})
        number = {kind: i for i, kind in enumerate(legend)}
        return {
            **asdict(self),
            "right": {arm: "".join(map(str, bits)) for arm, bits in self.right.items()},
            "legend": legend,
            "kinds": {when: [number[k] for k in kinds] for when, kinds in self.kinds.items()},
            "leak": "".join("-" if x is None else str(x) for x in self.leak),
        }

    @classmethod
    def from_json(cls, value: dict) -> Outcomes:
        """Raises ValueError if the columns differ in length. Files of the first edition have a hex digit a kind."""
        legend = value["legend"]
        kinds = {w: [int(c, 16) for c in x] if isinstance(x, str) else x for w, x in value["kinds"].items()}
        out = cls(
            right={arm: [int(c) for c in bits] for arm, bits in value["right"].items()},
            kinds={when: [legend[i] for i in column] for when, column in kinds.items()},
            leak=[None if c == "-" else int(c) for c in value["leak"]],
            reflection_tokens=value["reflection_tokens"],
            tokens=value["tokens"],
            examples=value["examples"],
        )
        columns = [*out.right.values(), *out.kinds.values(), out.leak, out.reflection_tokens]
        if len(set(map(len, columns))) != 1:
            raise ValueError(f"columns of {sorted(set(map(len, columns)))} problems")
        return out


def outcomes_path(out: Path, trained: bool, temperature: float) -> Path:
    return out / f"{'trained' if trained else 'vanilla'}-T{temperature:g}.json"


def load_outcomes(path: Path) -> tuple[dict, Outcomes]:
    """The whole record and its outcomes; raises R3Error if the file is missing, damaged or cut short."""
    record = read_json(path)
    try:
        found = Outcomes.from_json(record["outcomes"])
        if len(found.leak) != record["n"]:
            raise ValueError(f"outcomes of {len(found.leak)} problems instead of {record['n']}")
        return record, found
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise R3Error(
            f"{path} is not a whole results file of this kit ({error!r}); delete it and run the experiment again."
        ) from error
