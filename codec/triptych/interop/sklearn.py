"""`PaletteQuantizer` and `PCACodec`: what the k-means and PCA panels learn, as estimators of scikit-learn.

Rows of X are pixels for the one and images for the other; codes are what streams hold: indices into a
palette, and quantised scores of components. A fitted estimator is a `Dictionary` with scikit-learn's methods:
`to_dictionary` gives it for `Writer` and for a file, `from_dictionary` takes it back. The codec is for
samples of 8 bits, so X of another dtype than uint8 is scaled from the range of its values to 0 to 255 and
rounded, with one scale for all features.
"""

from triptych.interop.pcacodec import PCACodec
from triptych.interop.quantizer import PaletteQuantizer

__all__ = ["PCACodec", "PaletteQuantizer"]
