"""What an evaluation found, problem by problem, and its file. No torch: tables and plots read this module alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from r3lib.files import R3Error, read_json

RETRIES = ("second", "blind", "again", "generic", "shuffled", "redacted")
METRICS = {
    "first_try": "first",
    "second_try": "second",
    "blind_retry": "blind",
    "again_retry": "again",
    "generic_retry": "generic",
    "shuffled_retry": "shuffled",
    "redacted_retry": "redacted",
    "leak_rate": "leak",
}


@dataclass
class Outcomes:
    """Per-problem outcomes of one run, in the order of the problems.

    right: arm -> one 0 or 1 a problem (retries cumulative). kinds: "first" and "second" -> the verifier's kind.
    leak: 1 where the own reflection gave a right answer away, 0 where not, None where the first try was right.
    reflection_tokens: length, None where none was written. tokens: arm -> tokens sampled for it in all problems, the
    first tries apart (a retry after words that were put there costs the retry alone). examples: a few whole
    conversations, as text.
    """

    right: dict[str, list[int]] = field(default_factory=lambda: {arm: [] for arm in ("first", *RETRIES)})
    kinds: dict[str, list[str]] = field(default_factory=lambda: {"first": [], "second": []})
    leak: list[int | None] = field(default_factory=list)
    reflection_tokens: list[int | None] = field(default_factory=list)
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("first", *RETRIES), 0))
    examples: list[dict[str, str]] = field(default_factory=list)

    def __iadd__(self, other: Outcomes) -> Outcomes:
        """Append the outcomes of further problems."""
        for arm, bits in other.right.items():
            self.right[arm] += bits
        for when, kinds in other.kinds.items():
            self.kinds[when] += kinds
        self.leak += other.leak
        self.reflection_tokens += other.reflection_tokens
        for arm, count in other.tokens.items():
            self.tokens[arm] += count
        self.examples += other.examples
        return self

    def rate(self, arm: str) -> float:
        return float(np.mean(self.right[arm]))

    def to_json(self) -> dict:
        """Compact: 0 and 1 as one string an arm, kinds as counts per problem in a legend."""
        legend = sorted({k for kinds in self.kinds.values() for k in kinds})
        digit = {kind: format(i, "x") for i, kind in enumerate(legend)}
        return {
            **asdict(self),
            "right": {arm: "".join(map(str, bits)) for arm, bits in self.right.items()},
            "legend": legend,
            "kinds": {w: "".join(digit[k] for k in kinds) for w, kinds in self.kinds.items()},
            "leak": "".join("-" if x is None else str(x) for x in self.leak),
        }

    @classmethod
    def from_json(cls, value: dict) -> Outcomes:
        legend = value["legend"]
        return cls(
            right={arm: [int(c) for c in bits] for arm, bits in value["right"].items()},
            kinds={w: [legend[int(c, 16)] for c in text] for w, text in value["kinds"].items()},
            leak=[None if c == "-" else int(c) for c in value["leak"]],
            reflection_tokens=value["reflection_tokens"],
            tokens=value["tokens"],
            examples=value["examples"],
        )


def outcomes_path(out: Path, trained: bool, temperature: float) -> Path:
    return out / f"{'trained' if trained else 'vanilla'}-T{temperature:g}.json"


def load_outcomes(path: Path) -> tuple[dict, Outcomes]:
    """The whole record and its outcomes; raises R3Error if the file is missing or damaged."""
    record = read_json(path)
    try:
        return record, Outcomes.from_json(record["outcomes"])
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise R3Error(
            f"{path} is not a results file of this kit ({error!r}); delete it and run the experiment again."
        ) from error
