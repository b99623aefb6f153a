"""What is said where a verb is called wrongly: one line, with the option as it was typed and the way out."""

import re

import click
import numpy as np
import pytest
import triptych as tp
from smallbook import photograph
from triptych.cli import group
from triptych.cli.usage import as_typed
from triptych.options import OPTION_NAMES

VERBS = {name: group.get_command(None, name) for name in group.list_commands(None)}

# What each verb needs besides: a picture of 2 colours, a photograph, a stream of one picture.
CALLS = {
    "encode": ["pic.png", "-o", "x.tych"],
    "decode": ["one.tych", "-o", "x.png"],
    "info": ["one.tych"],
    "verify": ["one.tych"],
    "cat": ["one.tych", "-o", "x.tych"],
    "index": ["one.tych"],
    "extract": ["one.tych", "--only=0", "-o", "x.tych"],
    "fit": ["kmeans", "pic.png", "-o", "x.tych"],
    "demo": [],
    "warmup": [],
}
INTEGER = "is not an integer (from|of at least)"
SIZE = "sizes look like 20000, 20k, 1M or 64Ki"
DICTIONARY = "shipped: 'ae-faces', 'ae-photo', 'photo'.* a path has a separator"
NOT_FOUND = "no such file or directory"
# By option: a wrong value, and what the message says besides the option.
EVERYWHERE = {
    "--max-pixels": [("many", SIZE), ("0", SIZE), ("9" * 500, SIZE)],
    "--threads": [("-1", INTEGER), ("two", INTEGER)],
    "--dictionary": [("nosuch", DICTIONARY)],
    "--only": [("nix", "no image has this key"), ("7", "the stream holds 1")],
    "--quality": [("101", "from 0 to 100"), ("-1", "from 0 to 100"), ("high", "from 0 to 100")],
    "--colors": [("0", "1 to 256"), ("300", "1 to 256"), ("many", "1 to 256 nor auto")],
    "--keep": [("red", "'#ff8000'")],
    "--components": [("0", INTEGER), ("x", INTEGER)],
    "--effort": [("slow", "'fast', 'default', 'max'")],
    "--target-psnr": [("0", "above 0"), ("nan", "above 0"), ("inf", "above 0"), ("x", "above 0")],
    "--seed": [("-1", INTEGER)],
    "--shard": [("5/4", "1/4, 2/4"), ("x", "1/4, 2/4")],
    "--engine": [("ray://head:1", "dask://HOST:PORT")],
}
OF_ONE = {
    "encode": {
        "--dictionary": [("nosuch", DICTIONARY), ("./nosuch", NOT_FOUND)],
        "--mode": [("kmean", "must be one of 'auto', 'kmeans'")],
        "--tune": [("ssim", "'visual', 'psnr'")],
        "--target-size": [("big", SIZE), ("0", SIZE), ("10", "bytes without any pixels")],
        "--frame-images": [("0", INTEGER)],
    },
    "decode": {
        "--format": [("nosuch", "png, webp, tiff")],
        "--components": [("0", INTEGER), ("3", "a k-means image has no components")],
        "--realism": [("2", "from 0 to 1"), ("nan", "from 0 to 1"), ("0.5", "without a GAN")],
    },
    "verify": {"--level": [("full", "'structure', 'decode'")]},
    "fit": {
        "--dictionary": [("nosuch", "only with ae or gan, not with kmeans")],
        "--components": [("0", INTEGER), ("3", "only with pca, not with kmeans")],
        "--variance": [("2", "above 0 and at most 1"), ("0.5", "only with pca, not with kmeans")],
        "--core-seconds": [("0", "above 0"), ("9", "only with ae or gan, not with kmeans")],
        "--checkpoint": [("x", "only with ae or gan, not with kmeans")],
        "--shard": [("5/4", "1/4, 2/4"), ("1/2", "only with --stats-only")],
    },
    "warmup": {"--processes": [("-1", INTEGER)]},
}
# Names of files: any text may be one.
FILES = {"--output", "--filelist", "--save"}


def options_of(verb):
    return [each for each in VERBS[verb].params if isinstance(each, click.Option)]


def wrong_values(verb, option):
    flag = option.opts[-1]
    return OF_ONE.get(verb, {}).get(flag) or EVERYWHERE.get(flag, [])


WITH_VALUES = [
    (verb, option)
    for verb in VERBS
    for option in options_of(verb)
    if not option.is_flag and option.opts[-1] not in FILES
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a picture of 2 colours, a photograph and a stream."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("usage")
    pixels = np.eye(12, dtype=np.uint8) * 200
    Image.fromarray(pixels).save(folder / "pic.png")
    Image.fromarray(photograph(40, 50, 3)).save(folder / "photo.png")
    (folder / "one.tych").write_bytes(tp.encode(pixels))
    return folder


@pytest.fixture
def complain(place, run, monkeypatch):
    """Call a verb that fails; give the one line that it says."""
    monkeypatch.chdir(place)

    def call(*args, code=2):
        before = sorted(place.iterdir())
        result = run(*args, code=code)
        assert sorted(place.iterdir()) == before
        (line,) = [text for text in result.stderr.splitlines() if "compiling kernels" not in text]
        assert line.startswith("triptych: ")
        assert result.stdout == ""
        return line.removeprefix("triptych: ")

    return call


def in_python(text):
    """Give the names of options of Python in a message that cannot be words of English."""
    return set(re.findall(r"\b[a-z]+_[a-z_]+\b", text)) & set(OPTION_NAMES)


@pytest.mark.parametrize(
    ("verb", "option"), WITH_VALUES, ids=[f"{verb} {option.opts[-1]}" for verb, option in WITH_VALUES]
)
def test_wrong_values(complain, verb, option):
    """Every option that takes a value, in each of its forms."""
    cases = wrong_values(verb, option)
    assert cases, "a new option: say what is wrong for it, and what is said then"
    for value, remedy in cases:
        for form in option.opts:
            glued = f"{form}={value}" if form.startswith("--") else f"{form}{value}"
            for typed in ([form, value], [glued]):
                code = {"./nosuch": 1, "nix": 1, "7": 1, "10": 1}.get(value, 2)
                needed = [each for each in CALLS[verb] if not each.startswith(option.opts[-1])]
                line = complain(verb, *needed, *typed, code=code)
                assert re.search(rf"(^|[\s]){re.escape(form)}(?![\w-])", line), line
                assert re.search(remedy, line), line
                others = set(option.opts) - {form}
                assert not any(re.search(rf"(^|\s){other}(?![\w-])", line) for other in others), line
                assert not in_python(line), line


@pytest.mark.parametrize("verb", VERBS)
def test_missing_and_needless_values(complain, verb):
    for option in options_of(verb):
        if option.name in ("help", "version"):
            continue
        for form in (*option.opts, *option.secondary_opts):
            if not option.is_flag:
                line = complain(verb, *CALLS[verb], form)
                assert line == f"a value is missing: {form} {option.metavar or 'VALUE'}"
            elif form.startswith("--"):
                assert complain(verb, *CALLS[verb], f"{form}=3") == f"{form} takes no value"


@pytest.mark.parametrize("verb", VERBS)
def test_options_that_there_are_not(complain, verb):
    assert (
        complain(verb, "--nosuchthing") == f"there is no option --nosuchthing; see `triptych {verb} --help`"
    )
    if verb in ("encode", "fit"):
        assert complain(verb, "--colours=3") == "there is no option --colours; is it --colors?"


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in ("demo", "warmup")])
def test_names_that_are_missing(complain, verb):
    """Each is called by the name that the help gives it."""
    if verb == "encode":  # a list of names may be in a file
        assert complain(verb) == "IMAGE is missing; see `triptych encode --help`"
        return
    line = complain(verb)
    assert re.fullmatch(rf"[^;]+ is missing; see `triptych {verb} --help`", line)
    assert line.split(" is missing")[0] in [
        f"{param.opts[0]} {param.metavar}" if isinstance(param, click.Option) else param.metavar
        for param in VERBS[verb].params
        if param.required
    ]


def test_what_is_no_verb(complain):
    assert complain("nosuch").startswith("there is no verb 'nosuch'; the verbs are encode, decode, info")
    assert complain("--nosuch") == "there is no option --nosuch; see `triptych --help`"
    assert complain("warmup", "foo") == "got unexpected extra argument (foo); see `triptych warmup --help`"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "encode pic.png -o x -q5 --target-psnr 9",
            "only one of -q, --target-size and --target-psnr, not -q and --target-psnr",
        ),
        (
            "encode pic.png -o x --quality=5 --target-size 9k",
            "only one of --quality, --target-size and --target-psnr, not --quality and --target-size",
        ),
        ("encode pic.png -o x --lossless -q 5", "--lossless does not go with -q"),
        ("encode pic.png -o x --lossless --dither", "--lossless does not go with --dither"),
        ("encode pic.png -o x -k1 --keep #ff0000 --keep #ff0001", "--keep holds 2 colours, and -k is 1"),
        ("encode pic.png -o x -fk 1 --keep #ff0000 --keep #ff0001", "--keep holds 2 colours, and -k is 1"),
        ("encode pic.png -o x --mode pca --colors 5", "--colors belongs to mode 'kmeans'"),
        ("encode pic.png -o x --mode pca -vk5", "-k belongs to mode 'kmeans'"),
        ("encode pic.png -o x --mode pca --dither", "--dither belongs to mode 'kmeans'"),
        (
            "encode pic.png -o x --mode kmeans --components 5",
            "--components belongs to mode 'pca', with a dictionary of components",
        ),
        (
            "encode pic.png -o x --mode pca --components 5",
            "--components belongs to fit, and to images with a dictionary of components",
        ),
        (
            "encode pic.png -o x --mode kmeans -D photo",
            "x: -D: k-means needs a palette dictionary, not one of kind blocks",
        ),
        (
            "encode pic.png -o x --mode pca --dictionary=ae-faces",
            "pic.png: --dictionary: PCA needs a dictionary of blocks or components, or a spectral one, "
            "not one of kind network",
        ),
        ("encode pic.png -o - --json", "--json and -o - both write to stdout"),
        ("encode pic.png --output=- --json", "--json and --output - both write to stdout"),
        ("encode pic.png -o x --quiet -v", "--quiet and -v contradict each other"),
        ("encode pic.png -o x --resume -f", "--resume continues the stream at OUT, and does not go with -f"),
        (
            "encode pic.png -o x --resume --append",
            "--resume continues the stream at OUT, and does not go with --append",
        ),
        (
            "encode pic.png -o x --mode kmean",
            "--mode must be one of 'auto', 'kmeans', 'pca', 'ae', 'gan', 'raw', not 'kmean'",
        ),
        ("encode pic.png -o one.tych -q 5 --lossless", "--lossless does not go with -q"),
        ("decode one.tych --output - --json", "--json and --output - both write to stdout"),
        ("fit pca pic.png -o x -k5", "-k: only with kmeans, not with pca"),
        ("fit pca pic.png -o x --components 3 --variance 0.5", "only one of --variance and --components"),
        (
            "fit pca pic.png -o x --components 30000",
            "--components is 30,000, and images (12, 12, 1) have at most 144",
        ),
        ("fit kmeans pic.png -o x -k 1 --keep #ff0000 --keep #ff0001", "--keep holds 2 colours, and -k is 1"),
        (
            "fit kmeans pic.png -o x --stats-only --colors 4",
            "--stats-only: --colors goes with --merge, where they are used",
        ),
        ("extract one.tych -o x", "say which images: --only KEY or --only INDEX"),
    ],
    ids=lambda text: text if "-o" in text else "",
)
def test_options_that_contradict_each_other(complain, call, message):
    assert complain(*call.split()) == message


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "encode photo.png -o x --lossless",
            "photo.png: the picture has .* without --lossless it is reduced",
        ),
        (
            "encode photo.png -o x --target-size 38 -k 16",
            "photo.png: no quality of k-means fits into --target-size: raise it",
        ),
        (
            "encode photo.png -o x --target-size 60 --mode pca",
            "photo.png: no quality of PCA fits into --target-size: raise it",
        ),
        (
            "encode photo.png -o x --target-psnr 400 --mode pca",
            "photo.png: no quality of PCA reaches the --target-psnr of 400 dB: lower it",
        ),
        ("encode photo.png -o x --max-pixels=1k", "photo.png: .*--max-pixels allows more"),
        (
            "fit pca pic.png -o x --components 3",
            "x: fewer images than components: --components is 3, and images are 1",
        ),
    ],
    ids=lambda text: text if "-o" in text else "",
)
def test_images_that_options_do_not_suit(complain, call, message):
    line = complain(*call.split(), code=5 if "--max" in call else 1)
    assert re.match(message, line), line
    assert not in_python(line)


def test_outside_the_command_line_names_are_those_of_python():
    assert as_typed("n_colors") == "n_colors"
    with pytest.raises(tp.InvalidOption, match=r"^n_colors must be") as caught:
        tp.encode(np.zeros((2, 2), np.uint8), n_colors=300)
    assert caught.value.options == ("n_colors",)
