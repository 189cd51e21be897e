"""The clients of KServe's SDK, REST and gRPC."""

import asyncio

from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

from common import DATATYPES, GRPC, HTTP, same, values

SERVED = [datatype for datatype in DATATYPES if datatype != "BF16"]
"""BF16 is Triton's own; the SDK does not know it."""


def request(model, sent, binary, **options):
    tensor = InferInput("x", list(sent.shape), model)
    tensor.set_data_from_numpy(sent, binary_data=binary)
    return InferRequest(model_name=model, infer_inputs=[tensor], **options)


async def rest():
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    base = f"http://{HTTP}"
    assert await client.is_server_live(base) and await client.is_server_ready(base)
    assert await client.is_model_ready(base, "FP32")
    assert not await client.is_model_ready(base, "nothing")
    for datatype in SERVED:
        sent = values(datatype)
        # The SDK sends FP16 as binary data only.
        for binary in (True,) if datatype == "FP16" else (True, False):
            options = {"parameters": {"binary_data_output": True}} if binary else {}
            sending = request(datatype, sent, binary, request_id="7", **options)
            answer = await client.infer(base, sending, model_name=datatype)
            same(answer.outputs[0].as_numpy(), sent)
            assert (answer.id, answer.model_name) == ("7", datatype), answer
    sent = values("FP32", 5_000)
    answer = await client.infer(base, request("FP32", sent, False), model_name="FP32")
    same(answer.outputs[0].as_numpy(), sent)


async def grpc():
    client = InferenceGRPCClient(GRPC)
    assert await client.is_server_live() and await client.is_server_ready()
    assert await client.is_model_ready("FP32")
    for datatype in SERVED:
        sent = values(datatype)
        for binary in (True,) if datatype == "FP16" else (True, False):
            answer = await client.infer(request(datatype, sent, binary, request_id="7"))
            same(answer.outputs[0].as_numpy(), sent)
    await client.close()


asyncio.run(rest())
asyncio.run(grpc())
