"""Where faces are: a detector takes uint8 RGB pixels (height, width, 3) and gives boxes inside them.

OpenCV is loaded only where its cascade classifier is asked for. Its stubs come with the package, and the
package is optional: `import_module` has the same type with and without it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from triptych.images import Pixels

from faces.cropping import Box, central_square

Detector = Callable[[Pixels], list[Box]]

_SCALE_STEP = 1.1
_MIN_NEIGHBORS = 5
"""OpenCV's own example for faces: fewer boxes that are no faces than its defaults give."""


class DetectorMissing(Exception):
    """There is no cascade classifier, or the file holds none; the text is the cause."""


class DetectionFailed(Exception):
    """The classifier refused a picture; the text is the cause."""


def whole_picture(pixels: Pixels) -> list[Box]:
    """Take the central square of a picture as its face."""
    height, width, _ = pixels.shape
    return [central_square(width, height)]


def load_cascade(path: Path, min_face: int) -> Detector:
    """Give the detector of a cascade file of OpenCV, for faces of at least `min_face` pixels.

    Boxes are sorted: top, then left.
    """
    try:
        cv2: Any = import_module("cv2")
    except ImportError as error:
        raise DetectorMissing(
            "needs OpenCV: pip install 'opencv-python-headless<5', or use --whole"
        ) from error
    if not hasattr(cv2, "CascadeClassifier"):
        raise DetectorMissing(
            f"OpenCV {cv2.__version__} has no cascade classifier: pip install 'opencv-python-headless<5'"
        )
    with path.open("rb"):  # the classifier does not say why it cannot read a file
        pass
    try:
        classifier = cv2.CascadeClassifier(str(path))
    except (cv2.error, SystemError):  # the latter is what its wrapper makes of the former
        classifier = None
    if classifier is None or classifier.empty():
        raise DetectorMissing("not a cascade file that OpenCV reads")
    cv2.setNumThreads(1)  # the machine's other cores are not ours, and the order of work is always the same

    def detect(pixels: Pixels) -> list[Box]:
        try:
            luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
            found = classifier.detectMultiScale(
                luma, scaleFactor=_SCALE_STEP, minNeighbors=_MIN_NEIGHBORS, minSize=(min_face, min_face)
            )
        except cv2.error as error:
            raise DetectionFailed(f"OpenCV: {error}") from error
        boxes = [Box(*(int(value) for value in box)) for box in found]
        return sorted(boxes, key=lambda box: (box.top, box.left, box.width))

    return detect
