"""tritonclient over gRPC with asyncio."""

import asyncio

import tritonclient.grpc.aio as grpc

from common import DATATYPES, GRPC, same, values


async def main():
    async with grpc.InferenceServerClient(GRPC) as client:
        assert await client.is_server_live() and await client.is_server_ready()

        async def infer(datatype, sent, **options):
            tensor = grpc.InferInput("x", list(sent.shape), datatype)
            tensor.set_data_from_numpy(sent)
            same((await client.infer(datatype, [tensor], **options)).as_numpy("y"), sent)

        await asyncio.gather(*(infer(datatype, values(datatype)) for datatype in DATATYPES))
        await asyncio.gather(*(infer("INT64", values("INT64", count)) for count in range(2, 18)))
        await infer("FP32", values("FP32", 5_000), compression_algorithm="gzip")


asyncio.run(main())
