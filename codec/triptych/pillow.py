"""`triptych.pillow.register()`: Pillow opens and saves .tych files from then on."""

from triptych.interop.pillow import register

__all__ = ["register"]
