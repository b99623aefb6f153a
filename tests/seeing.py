"""What shows of images, in floats: the twin of `triptych.psnr`."""

import math


def seen(image):
    """Give what shows of an image (height, width, channels): colours count as far as alpha lets them."""
    samples = image.astype(float)
    if image.ndim == 3 and image.shape[2] in (2, 4):
        samples[:, :, :-1] *= samples[:, :, -1:] / 255
    return samples


def psnr(image, shown):
    """Give the PSNR in dB of an image as it is shown."""
    error = float(((seen(image) - seen(shown.reshape(image.shape))) ** 2).mean())
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)
