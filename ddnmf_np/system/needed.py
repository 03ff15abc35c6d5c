"""Optional packages: import one, or say what needs it and how to install it."""

from importlib import import_module
from typing import Any

from ddnmf_np.errors import BackendError, DDNMFError


def needed(module: str, what: str, remedy: str, kind: type[DDNMFError] = BackendError) -> Any:
    """Return the module, or raise an error that says what needs it, what is wrong, and a remedy."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        why = f"cannot be imported ({error}); install it again"
        if error.name == package:
            why = "is not installed"
        raise kind(f"{what} needs {package}, which {why}; {remedy}") from error
