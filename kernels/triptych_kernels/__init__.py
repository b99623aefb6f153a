"""Numba kernels of Triptych: arrays and integers in, arrays and integers out.

Nothing here opens a file, raises for bad data or keeps state between calls: a kernel returns a status
code (`triptych_kernels.status`) and writes into arrays that its caller owns. Only `triptych.modes` and
`triptych.fit` call them. Imports numpy and numba, nothing else.
"""
