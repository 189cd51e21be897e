"""tritonclient over gRPC, synchronous."""

import queue

import tritonclient.grpc as grpc
from tritonclient.utils import InferenceServerException

from common import DATATYPES, GRPC, refused, same, values


def tensor(sent, datatype):
    found = grpc.InferInput("x", list(sent.shape), datatype)
    found.set_data_from_numpy(sent)
    return found


def infer(client, model, sent, datatype=None, **options):
    return client.infer(model, [tensor(sent, datatype or model)], **options)


with grpc.InferenceServerClient(GRPC) as client:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("FP32") and not client.is_model_ready("FP32", "2")
    assert "binary_tensor_data" in client.get_server_metadata().extensions
    metadata = client.get_model_metadata("FP32", as_json=True)
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1"]}], metadata
    config = client.get_model_config("FP32").config
    assert (config.name, config.input[0].data_type, list(config.input[0].dims)) == ("FP32", 11, [-1]), config
    index = client.get_model_repository_index().models
    assert ("FP32", "1", "READY") in [(entry.name, entry.version, entry.state) for entry in index], index

    for datatype in DATATYPES:
        sent = values(datatype)
        same(infer(client, datatype, sent).as_numpy("y"), sent)

    answer = infer(
        client, "FP32", values("FP32"), request_id="7", model_version="1", priority=1, timeout=30_000_000,
        parameters={"mine": 1}, outputs=[grpc.InferRequestedOutput("y")],
    ).get_response()
    assert (answer.id, answer.model_version) == ("7", "1"), answer

    sent = values("FP32", 5_000)
    for algorithm in ("gzip", "deflate"):
        same(infer(client, "FP32", sent, compression_algorithm=algorithm).as_numpy("y"), sent)

    answers = queue.Queue()
    for count in range(2, 34):
        client.async_infer(
            "INT64", [tensor(values("INT64", count), "INT64")],
            lambda result, error, count=count: answers.put((count, result, error)),
        )
    for _ in range(2, 34):
        count, result, error = answers.get(timeout=60)
        assert error is None, error
        same(result.as_numpy("y"), values("INT64", count))

    stats = client.get_inference_statistics("INT64").model_stats
    assert stats[0].inference_stats.success.count >= 32, stats

    def fails(words, call):
        refused(InferenceServerException, words, call)

    fails("model 'nothing' is not found", lambda: infer(client, "nothing", sent, datatype="FP32"))
    fails("datatype is FP64, but the model has FP32", lambda: infer(client, "FP32", values("FP64"), datatype="FP64"))
    fails("no output 'q', it has: 'y'", lambda: infer(client, "FP32", values("FP32"), outputs=[grpc.InferRequestedOutput("q")]))
    fails("'classification' is not supported", lambda: infer(client, "FP32", values("FP32"), outputs=[grpc.InferRequestedOutput("y", class_count=2)]))
    fails("is not supported: this server keeps no state", lambda: infer(client, "FP32", values("FP32"), sequence_id=3))
    fails("within the request's timeout of 1 microseconds", lambda: infer(client, "FP32", values("FP32"), timeout=1))
    fails("is not enabled on this server", lambda: client.load_model("FP32"))
    fails("UNIMPLEMENTED", lambda: client.get_system_shared_memory_status())
