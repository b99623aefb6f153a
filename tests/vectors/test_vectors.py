"""Every vector is read by triptych and by minidecode as its JSON says; see README.md here."""

import re
from pathlib import Path

import pytest
import triptych as tp
import vectors

GOOD = sorted(path.stem for path in vectors.GOOD.glob("*.tych"))
BAD = sorted(path.stem for path in vectors.BAD.glob("*.tych"))


@pytest.fixture(autouse=True)
def installed(request):
    """Skip what needs packages that may be missing."""
    name = request.node.name
    if "[latents-" in name or "[network-" in name or name == "test_all_vectors_are_made":
        for package in ("torch", "safetensors"):
            pytest.importorskip(package, reason="networks need it")


@pytest.mark.parametrize("name", GOOD)
def test_a_good_vector_is_read_by_both_decoders(name):
    assert vectors.check_good(vectors.GOOD / f"{name}.tych") == []


@pytest.mark.parametrize("name", GOOD)
def test_a_good_vector_is_verified(name):
    path = vectors.GOOD / f"{name}.tych"
    expected = vectors.read_expected(path)
    with vectors.shelf_of(expected):
        report = tp.verify(path, dictionary=vectors.book_files(expected))
    assert (report.images, report.damage) == (len(expected["images"]), [])


@pytest.mark.parametrize("name", BAD)
def test_a_bad_vector_is_refused_by_both_decoders(name):
    assert vectors.check_bad(vectors.BAD / f"{name}.tych") == []


def test_all_vectors_are_made():
    assert {name for name, _ in vectors.good_vectors()} <= set(GOOD)
    assert {name for name, _ in vectors.bad_vectors()} <= set(BAD)


def test_every_error_of_a_stream_has_a_bad_vector():
    named = {vectors.read_expected(vectors.BAD / f"{name}.tych")["error"] for name in BAD}
    assert named == {
        *("NotTriptych", "Truncated", "ChecksumMismatch", "UnsupportedVersion", "UnsupportedFeature"),
        *("InvalidFrame", "LimitExceeded", "DictionaryMissing", "DictionaryMismatch"),
    }


@pytest.mark.parametrize(("name", "begins"), [("pixel", 0), ("book", 0), ("pair", 32)])
def test_the_worked_examples_are_the_bytes_of_their_vectors(name, begins):
    text = (Path(vectors.FOLDER).parents[1] / "codec" / "FORMAT.md").read_text()
    data = (vectors.GOOD / f"{name}.tych").read_bytes()[begins:]
    example = text.split(f"`tests/vectors/v0/{name}.tych`")[1].split("\n\n")[1]
    rows = re.findall(r"^\| (\d+) \| `([0-9A-F ]+)`", example, re.MULTILINE)
    assert len(rows) > 5
    for offset, digits in rows:
        assert data[int(offset) :].startswith(bytes.fromhex(digits)), offset
