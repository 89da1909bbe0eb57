"""Libraries by the distributions that provide them, the versions installed here, and the GPU."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata

from hpo.errors import UserError, raise_all


@dataclass(frozen=True)
class Library:
    """A library and the distributions that provide it, the usual one first.

    XGBoost, for example, comes as `xgboost` or as `xgboost-cpu`.
    """

    distributions: tuple[str, ...]

    @classmethod
    def of(cls, names: str | Sequence[str]) -> Library:
        """The library of one distribution, or of several of which any one is enough."""
        return cls((names,) if isinstance(names, str) else tuple(names))

    @property
    def name(self) -> str:
        """The usual distribution, whichever one is installed."""
        return self.distributions[0]

    def installed(self) -> tuple[str, str] | None:
        """The first distribution that is installed and its version; None if there is none."""
        for distribution in self.distributions:
            try:
                return distribution, metadata.version(distribution)
            except metadata.PackageNotFoundError:
                continue
        return None


# The libraries that every study uses, and those that every logged model needs.
# Each model family declares its own in its YAML file.
STUDY_LIBRARIES = tuple(map(Library.of, ("mlflow", "hyperopt", "scikit-learn", "pandas", "numpy")))
SERVING_LIBRARIES = tuple(map(Library.of, ("mlflow", "numpy", "pandas")))


def installed_versions(libraries: Iterable[Library]) -> dict[str, str]:
    """The versions by library name; libraries that are not installed are left out."""
    versions = {}
    for library in libraries:
        if installed := library.installed():
            versions[library.name] = installed[1]
    return versions


def check_installed(libraries: Iterable[Library]) -> None:
    """Check that some distribution of every library is installed.

    Raises:
        UserError: names what to install.
    """
    raise_all(UserError, (_missing(each) for each in libraries if each.installed() is None))


def cuda_devices() -> int:
    """The number of GPUs that CUDA finds on this machine; no library is imported for it."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    found = cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0
    return count.value if found else 0


def requirement(library: Library) -> str:
    """The pip requirement for the installed distribution at its public version.

    A local label is dropped (`torch 2.13.0+cpu` becomes `torch==2.13.0`): the same version for
    another accelerator serves as well, and no public index has the labelled one.

    Raises:
        UserError: if the library is not installed.
    """
    installed = library.installed()
    if installed is None:
        raise UserError(_missing(library))
    distribution, version = installed
    return f"{distribution}=={version.partition('+')[0]}"


def _missing(library: Library) -> str:
    commands = " or ".join(f"`pip install {name}`" for name in library.distributions)
    return f"{library.name} is not installed, but the model needs it; run {commands}"
