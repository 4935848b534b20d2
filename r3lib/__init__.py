"""The R3 kit: Reflect, Retry, Reward (arXiv 2505.24726) as a slim library, driven by the notebooks beside it."""

__version__ = "0.1.0"
