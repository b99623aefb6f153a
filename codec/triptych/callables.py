"""Modules that can be called.

`triptych.fit` is a package, `triptych.verify` and `triptych.warmup` are modules, and all are functions of the
public face.
Importing a submodule sets its name in the package, so a function of the same name would be lost; a module
that passes calls on to its function is both.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_callable(function: Callable[..., Any]) -> None:
    """Let calls of the module that defines a function be calls of the function."""
    module = sys.modules[function.__module__]
    module.__class__ = type("CallableModule", (ModuleType,), {"__call__": staticmethod(function)})
