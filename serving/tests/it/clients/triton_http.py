"""tritonclient over HTTP, synchronous."""

import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

from common import DATATYPES, HALF, HTTP, refused, same, values


def infer(client, model, sent, binary=True, datatype=None, outputs=None, **options):
    tensor = http.InferInput("x", list(sent.shape), datatype or model)
    tensor.set_data_from_numpy(sent, binary_data=binary)
    return client.infer(model, [tensor], outputs=outputs, **options)


with http.InferenceServerClient(HTTP, concurrency=4) as client:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("FP32") and client.is_model_ready("FP32", "1")
    assert not client.is_model_ready("FP32", "2") and not client.is_model_ready("nothing")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("FP32")
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1]}], metadata
    config = client.get_model_config("FP32", "1")
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1]}], config
    assert {"name": "FP32", "version": "1", "state": "READY", "reason": ""} in client.get_model_repository_index()

    json_output = [http.InferRequestedOutput("y", binary_data=False)]
    for datatype in DATATYPES:
        sent = values(datatype)
        same(infer(client, datatype, sent).as_numpy("y"), sent)
        if datatype not in HALF:
            same(infer(client, datatype, sent, binary=False).as_numpy("y"), sent)
            same(infer(client, datatype, sent, binary=False, outputs=json_output).as_numpy("y"), sent)
            same(infer(client, datatype, sent, outputs=json_output).as_numpy("y"), sent)

    # Identifiers, versions, parameters of its own and of the protocol.
    answer = infer(
        client, "FP32", values("FP32"), request_id="7", model_version="1", priority=1, timeout=30_000_000,
        parameters={"mine": "x"}, outputs=[http.InferRequestedOutput("y")],
    ).get_response()
    assert (answer["id"], answer["model_version"]) == ("7", "1"), answer

    # Compression, of tensors that are worth it.
    sent = values("FP32", 5_000)
    for request in (None, "gzip", "deflate"):
        for response in (None, "gzip", "deflate"):
            for binary in (True, False):
                options = {"request_compression_algorithm": request, "response_compression_algorithm": response}
                same(infer(client, "FP32", sent, binary=binary, **options).as_numpy("y"), sent)

    # Many at once.
    sent = [values("INT64", count) for count in range(2, 34)]
    pending = []
    for array in sent:
        tensor = http.InferInput("x", list(array.shape), "INT64")
        tensor.set_data_from_numpy(array)
        pending.append(client.async_infer("INT64", [tensor]))
    for array, answer in zip(sent, pending):
        same(answer.get_result().as_numpy("y"), array)

    # Two inputs, in another order than the model's, one binary and one not.
    a = http.InferInput("a", [2], "FP32").set_data_from_numpy(np.array([1, 2], np.float32), binary_data=False)
    z = http.InferInput("z", [2], "FP32").set_data_from_numpy(np.array([5, 8], np.float32))
    found = client.infer("difference", [a, z]).as_numpy("y")
    assert found.tolist() == [4, 6], found

    stats = client.get_inference_statistics("difference", "1")["model_stats"]
    assert stats[0]["inference_stats"]["success"]["count"] == 1, stats

    def fails(words, call):
        refused(InferenceServerException, words, call)

    fails("model 'nothing' is not found", lambda: infer(client, "nothing", sent[0], datatype="INT64"))
    fails("datatype is FP64, but the model has FP32", lambda: infer(client, "FP32", values("FP64"), datatype="FP64"))
    fails("no output 'q', it has: 'y'", lambda: infer(client, "FP32", values("FP32"), outputs=[http.InferRequestedOutput("q")]))
    fails("it is FP16, which has no JSON form", lambda: infer(client, "FP16", values("FP16"), outputs=json_output))
    fails("'classification' is not supported", lambda: infer(client, "FP32", values("FP32"), outputs=[http.InferRequestedOutput("y", class_count=2)]))
    fails("'sequence_id' is not supported", lambda: infer(client, "FP32", values("FP32"), sequence_id=3, sequence_start=True))
    fails("within the request's timeout of 1 microseconds", lambda: infer(client, "FP32", values("FP32"), timeout=1))
    fails("is not enabled on this server", lambda: client.load_model("FP32"))
    fails("is not enabled on this server", lambda: client.unload_model("FP32"))
    fails("is not part of the Open Inference Protocol", lambda: client.get_trace_settings())
    shared = http.InferInput("x", [3], "FP32")
    shared.set_shared_memory("region", 12)
    fails("'shared_memory_region' is not supported", lambda: client.infer("FP32", [shared]))
