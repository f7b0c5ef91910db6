"""Compiled kernels: arrays and NamedTuples in, arrays out; mm, µs, MHz. They know no anatomy."""

from injectplan.kernels._jit import CACHE_FOLDER, set_threads

__all__ = ["CACHE_FOLDER", "set_threads"]
