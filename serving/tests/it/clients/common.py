"""What the checks of all clients share: the models that `clients.rs` serves, and how a refusal is asserted."""

import sys

import ml_dtypes
import numpy as np

HTTP, GRPC = sys.argv[1:3]
"""Where the server listens, without a scheme."""

DATATYPES = {
    "FP32": np.float32,
    "FP64": np.float64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
    "FP16": np.float16,
    "BF16": ml_dtypes.bfloat16,
}
"""A model of each name takes `x`, any number of values, and answers them reversed as `y`."""


HALF = ("FP16", "BF16")
"""Datatypes without a JSON form."""


def values(datatype, count=3):
    """Values that are no palindrome."""
    numbers = [7] + [i % 5 for i in range(1, count)]
    if datatype == "BOOL":
        numbers = [1] + [0] * (count - 1)
    return np.array(numbers).astype(DATATYPES[datatype])


def same(found, sent):
    """Asserts that `found` is `sent` reversed, bit for bit."""
    wanted = sent[::-1]
    assert found.dtype == wanted.dtype, (found.dtype, wanted.dtype)
    assert found.tobytes() == wanted.tobytes(), (found, wanted)


def refused(kind, words, call):
    """Asserts that `call` raises `kind` with `words` in its message."""
    try:
        answer = call()
    except kind as error:
        assert words in str(error), f"{error}\nshould say: {words}"
    else:
        raise AssertionError(f"not refused: {answer}\nshould say: {words}")
