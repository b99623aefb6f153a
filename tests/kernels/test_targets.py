"""The coding kernels compiled for another target, with every index checked, and in another process.

`NUMBA_DISABLE_JIT=1` is no such target: the mixing core is LLVM IR (intrinsics), which Python cannot run.
A decoder without a compiler is `tools/minidecode.py`.
"""

import pytest
import targetreport
from elsewhere import on_plain_cpu, python
from targetreport import CODING_KERNELS, pca_report, report

ELSEWHERE = on_plain_cpu(targetreport.__file__)
"""The report of a process whose kernels are compiled anew for a plain CPU, and check every index.

One process for both, as compiling takes most of its time. The checks stand in all that is Python; the places
that the intrinsics read and write are computed there, but for those of `ranklanes`, which come from indices,
groups, lanes and tables that are.
"""


@pytest.fixture(scope="module")
def here():
    return report()


@pytest.fixture(scope="module")
def pca_here():
    return pca_report()


def test_all_plans_round_trip(here):
    assert all(frame["maps"] == frame["expected"] for frame in here.values())


def test_damage_is_mostly_seen(here):
    """A changed byte changes all that follows, and the end is checked."""
    assert sum(frame["refused"] for frame in here.values()) > 30 * len(here)


def test_the_same_bytes_twice_in_a_process(here):
    assert report() == here


@pytest.mark.slow
@pytest.mark.background(10, lambda folder: python(targetreport.__file__))
def test_the_same_bytes_in_a_fresh_process(here, pca_here, background):
    there = background.json()
    assert there["report"] == here
    assert there["pca"] == pca_here


@pytest.mark.slow
@pytest.mark.background(110, ELSEWHERE)
def test_another_target_gives_the_same_bytes_and_no_index_is_out_of_bounds(here, pca_here, background):
    there = background.json()
    assert there["report"] == here
    assert there["pca"] == pca_here


@pytest.mark.slow
@pytest.mark.background(110, ELSEWHERE)
def test_no_float_in_a_coding_kernel_nor_out_of_it(background):
    """In the LLVM IR of the whole kernel, inlined functions included."""
    compiled = background.json()["compiled"]
    assert {name.split()[0] for name in compiled} > {kernel.__name__ for kernel in CODING_KERNELS}
    for name, code in compiled.items():
        assert code["functions"], f"{name}: nothing to look at"
        assert code["floats"] == [], name
        assert code["returns"] in ("int64", "none"), name
