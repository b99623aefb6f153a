"""`python tools/bench`: what Triptych achieves beside its peers, measured in one run.

A *section* measures one claim and returns a `results.Section`: tables, and goals with what was measured.
Every figure is computed from pictures, streams and clocks of this run; nothing is remembered from another
and nothing is written by hand. A peer that is not here is a row that says so. A losing row stays.

The clock is CPU time of all threads (user and system), so load on the machine and threads help nobody; each
time is a median of rounds in which the competitors take turns. Bytes are those of whole streams and files,
or the table says what is left out. Every lossless stream, ours and theirs, is decoded and compared.
"""
