"""tritonclient over HTTP with asyncio."""

import asyncio

import tritonclient.http.aio as http
from tritonclient.utils import InferenceServerException

from common import DATATYPES, HTTP, same, values


async def main():
    async with http.InferenceServerClient(HTTP) as client:
        assert await client.is_server_live() and await client.is_server_ready()
        assert (await client.get_model_metadata("FP32"))["versions"] == ["1"]

        async def infer(datatype, sent, binary=True, **options):
            tensor = http.InferInput("x", list(sent.shape), datatype)
            tensor.set_data_from_numpy(sent, binary_data=binary)
            same((await client.infer(datatype, [tensor], **options)).as_numpy("y"), sent)

        await asyncio.gather(*(infer(datatype, values(datatype)) for datatype in DATATYPES))
        await asyncio.gather(*(infer("INT64", values("INT64", count), binary=False) for count in range(2, 18)))
        for algorithm in ("gzip", "deflate"):
            options = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
            await infer("FP32", values("FP32", 5_000), **options)
        try:
            await client.get_model_metadata("nothing")
        except InferenceServerException as error:
            assert "model 'nothing' is not found" in str(error), error
        else:
            raise AssertionError("not refused")


asyncio.run(main())
