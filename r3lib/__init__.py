"""The R3 kit: Reflect, Retry, Reward (arXiv 2505.24726) as a slim library, driven by the notebooks beside it."""

import logging
import warnings

# without ipywidgets tqdm draws its bars as text, which needs no warning
warnings.filterwarnings("ignore", message="IProgress not found")
# bitsandbytes asks for a package of kernels that the kit does not use (see r3lib.models.load)
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

__version__ = "0.1.0"
